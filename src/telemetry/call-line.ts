import { type Attempt, AttemptOutcome, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { triesIn } from '../completion.ts';
import type { Reason } from '../errors.ts';
import { millisecondsOf } from '../time.ts';
import { clipped } from './clipped.ts';
import type { EndedCall, Phases, phaseNames } from './ended-call.ts';

/**
 * What the log tells of a call. Nothing else about a call is ever logged: no header, no key, no address, and neither prompt nor
 * answer unless `telemetry.log_prompts` is on.
 */
export interface CallLine {
  readonly request_id: string;
  readonly trace_id?: string | undefined;
  readonly door: string;
  /** The name of the key. */
  readonly key: string;
  readonly tier: string;
  readonly operation: string;
  readonly streaming?: true | undefined;
  readonly user?: string | undefined;
  readonly asked: string;
  readonly route?: string | undefined;
  readonly strategy?: string | undefined;
  readonly provider?: string | undefined;
  readonly model?: string | undefined;
  readonly cache?: string | undefined;
  /** Whether it got what became of an earlier call with its idempotency key. */
  readonly replayed?: true | undefined;
  /** `ok`, or a word of the error table. */
  readonly outcome: string;
  readonly attempts: number;
  readonly tried?: readonly TriedLine[] | undefined;
  readonly first_ms?: number | undefined;
  readonly duration_ms: number;
  /** What the time of an answered call went into, in milliseconds. */
  readonly phases?: PhasesLine | undefined;
  readonly usage?: UsageLine | undefined;
  readonly cost_usd?: number | undefined;
  readonly error?: string | undefined;
  readonly cause?: string | undefined;
  readonly prompt?: string | undefined;
  readonly answer?: string | undefined;
}

/** In milliseconds; without those of less than a hundredth. */
export type PhasesLine = Readonly<Partial<Record<(typeof phaseNames)[number], number | undefined>>>;

/** An attempt, in the line of its call. */
export interface TriedLine {
  readonly provider: string;
  readonly model: string;
  /** `ok`, `cancelled`, `skipped`, or a word of the error table. */
  readonly outcome: string;
  /** Why it was skipped: a word of the error table. */
  readonly skipped?: string | undefined;
  readonly ms: number;
  readonly upstream_id?: string | undefined;
  readonly usage?: UsageLine | undefined;
}

/** Tokens, in the line of their call. */
export interface UsageLine {
  readonly prompt: number;
  readonly completion: number;
  readonly cached?: number | undefined;
  readonly cache_write?: number | undefined;
  readonly reasoning?: number | undefined;
  readonly estimated?: true | undefined;
}

/** Failures whose message may quote the prompt, or say nothing that the reason does not. */
const silent: ReadonlySet<Reason> = new Set(['invalid_request', 'provider_rejected', 'context_length', 'cancelled']);

/** Put a call into its line. */
export function lineOf(call: EndedCall): CallLine {
  const { context, notes, failure, attempts, content } = call;
  return {
    request_id: context.requestId,
    trace_id: notes.trace?.traceId,
    door: context.door,
    key: context.principal.name,
    tier: context.principal.tier,
    operation: call.operation,
    streaming: context.streaming || undefined,
    user: clipped(call.user) || undefined,
    asked: clipped(call.asked),
    route: notes.decision?.route,
    strategy: notes.decision?.strategy,
    provider: call.provider,
    model: call.model === undefined ? undefined : clipped(call.model),
    cache: notes.cache,
    replayed: context.account.repeated || undefined,
    outcome: call.reason ?? 'ok',
    attempts: triesIn(attempts),
    tried: attempts.length === 0 ? undefined : attempts.map(tried),
    first_ms: call.firstMs === undefined ? undefined : rounded(call.firstMs),
    duration_ms: rounded(call.durationMs),
    phases: call.phases && phasesLine(call.phases),
    usage: usageLine(call.usage),
    cost_usd: call.costUsd,
    error: failure && !silent.has(failure.reason) ? failure.message : undefined,
    cause: failure?.reason === 'internal' ? stackOf(failure.cause) : undefined,
    prompt: content?.prompt,
    answer: content?.answer,
  };
}

function tried({ provider, model, outcome, reason, duration, providerRequestId, usage }: Attempt): TriedLine {
  return {
    provider,
    model,
    outcome: outcomes[outcome] ?? reason,
    skipped: outcome === AttemptOutcome.SKIPPED ? reason : undefined,
    ms: duration ? rounded(millisecondsOf(duration)) : 0,
    upstream_id: clipped(providerRequestId) || undefined,
    usage: usageLine(usage),
  };
}

const outcomes: Readonly<Record<number, string>> = {
  [AttemptOutcome.UNSPECIFIED]: 'skipped',
  [AttemptOutcome.SUCCEEDED]: 'ok',
  [AttemptOutcome.SKIPPED]: 'skipped',
  [AttemptOutcome.CANCELLED]: 'cancelled',
};

function usageLine(usage: Usage | undefined): UsageLine | undefined {
  if (usage === undefined) return undefined;
  return {
    prompt: usage.promptTokens,
    completion: usage.completionTokens,
    cached: usage.cachedPromptTokens,
    cache_write: usage.cacheWritePromptTokens,
    reasoning: usage.reasoningTokens,
    estimated: usage.estimated || undefined,
  };
}

/** In the order of `phaseNames`. Of one shape, whichever there are: that is a fifth of what a line takes. */
function phasesLine({ each }: Phases): PhasesLine {
  const [auth, read, queue, route, cache, retry, connect, first_token, stream, overhead] = each;
  return {
    auth: ifLong(auth),
    read: ifLong(read),
    queue: ifLong(queue),
    route: ifLong(route),
    cache: ifLong(cache),
    retry: ifLong(retry),
    connect: ifLong(connect),
    first_token: ifLong(first_token),
    stream: ifLong(stream),
    overhead: ifLong(overhead),
  };
}

function ifLong(ms = 0): number | undefined {
  return ms >= 0.01 ? Math.round(ms * 100) / 100 : undefined;
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function stackOf(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
