import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { PackedSketch } from './sketch.ts';

/**
 * How a call or an attempt ended, as far as somebody is to blame.
 *
 * - `error`: the gateway's or a provider's fault.
 * - `refused`: what was asked cannot be done, or the caller asks too much.
 * - `cancelled`: the caller left.
 */
export type Outcome = 'ok' | 'error' | 'refused' | 'cancelled';

/** What the windows are told of a call or an attempt that is over. */
export interface Ending {
  readonly outcome: Outcome;
  /** Why it did not succeed: a word of the error table. */
  readonly reason?: string | undefined;
  readonly durationMs: number;
  /** Time to the first content, for streams only. */
  readonly firstTokenMs?: number | undefined;
  readonly usage?: Usage | undefined;
  /** Undefined: unknown. */
  readonly costUsd?: number | undefined;
  /** Whether the answer came from the response cache; undefined: it was not asked. */
  readonly cached?: boolean | undefined;
}

/** Least, most and sum of some values. */
export class Spread {
  count = 0;
  sum = 0;
  least = Number.POSITIVE_INFINITY;
  most = 0;

  add(value: number): void {
    this.count++;
    this.sum += value;
    if (value < this.least) this.least = value;
    if (value > this.most) this.most = value;
  }

  merge({ count, sum, least, most }: Spread): void {
    this.count += count;
    this.sum += sum;
    if (least < this.least) this.least = least;
    if (most > this.most) this.most = most;
  }
}

/** What is counted, beside how often what was the matter. */
const counted = [
  'requests',
  'succeeded',
  'failed',
  'refused',
  'cancelled',
  'promptTokens',
  'completionTokens',
  'cachedPromptTokens',
  'reasoningTokens',
  'costUsd',
  'unpriced',
  'cacheHits',
  'cacheMisses',
  'savedUsd',
  'circuitsOpened',
] as const;

/** What happened within a stretch of time: counts, and how long it took. */
export class Tally {
  requests = 0;
  succeeded = 0;
  failed = 0;
  refused = 0;
  cancelled = 0;
  promptTokens = 0;
  completionTokens = 0;
  cachedPromptTokens = 0;
  reasoningTokens = 0;
  costUsd = 0;
  /** Successes whose cost is unknown. */
  unpriced = 0;
  cacheHits = 0;
  cacheMisses = 0;
  savedUsd = 0;
  circuitsOpened = 0;
  /** How often which word of the error table. */
  readonly reasons = new Map<string, number>();
  /** Durations of what succeeded, in milliseconds. */
  readonly duration = new Spread();
  readonly firstToken = new Spread();
  durations: PackedSketch | undefined;
  firstTokens: PackedSketch | undefined;

  /** Count what is over; the sketches are filled by who keeps them. */
  add({ outcome, reason, durationMs, firstTokenMs, usage, costUsd, cached }: Ending): void {
    this.requests++;
    if (outcome === 'ok') {
      this.succeeded++;
      this.duration.add(durationMs);
      if (cached) this.savedUsd += costUsd ?? 0;
      else if (costUsd === undefined) this.unpriced++;
    } else if (outcome === 'error') this.failed++;
    else if (outcome === 'refused') this.refused++;
    else this.cancelled++;
    if (reason !== undefined) this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
    if (firstTokenMs !== undefined) this.firstToken.add(firstTokenMs);
    if (cached !== undefined) cached ? this.cacheHits++ : this.cacheMisses++;
    if (cached) return;
    if (costUsd !== undefined) this.costUsd += costUsd;
    if (usage) {
      this.promptTokens += usage.promptTokens;
      this.completionTokens += usage.completionTokens;
      this.cachedPromptTokens += usage.cachedPromptTokens ?? 0;
      this.reasoningTokens += usage.reasoningTokens ?? 0;
    }
  }

  /** Add the counts of another one; the sketches are added up by who reads them. */
  merge(other: Tally): void {
    for (const name of counted) this[name] += other[name];
    for (const [reason, count] of other.reasons) this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + count);
    this.duration.merge(other.duration);
    this.firstToken.merge(other.firstToken);
  }
}
