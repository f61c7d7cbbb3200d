import type { GatewayError } from '../errors.ts';
import { backoffMs } from './backoff.ts';
import type { Refusal } from './target-guard.ts';

/** How often, and after which waits, a call is tried. */
export interface RetryPolicy {
  /** Attempts at one target. */
  readonly attemptsPerTarget: number;
  /** Attempts in all. */
  readonly attempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** Whether to wait for a limited target rather than to go on to the next one. */
  readonly waitWhenLimited: boolean;
}

/** What the course of a call has to know of a target. */
export interface Stage {
  readonly contextWindow: number | undefined;
  /** Takes a retry from the target's budget, if one is left. */
  readonly spend: () => boolean;
  /** How long no call may go there, in milliseconds; 0: one may now; undefined: until an operator says so. */
  readonly closedMs: () => number | undefined;
}

/** What to do next: try a target, wait for a place at one of some, or give up. */
export type Step =
  | { readonly kind: 'try'; readonly at: number; readonly afterMs: number; readonly retry: boolean }
  | { readonly kind: 'queue'; readonly among: readonly number[] }
  | { readonly kind: 'end' };

/** A limited provider is not waited for any longer than this. */
const LONGEST_WAIT_MS = 5_000;
/** Not to wake up just before the time that was named. */
const MARGIN_MS = 5;

/**
 * Decides where a call goes next, from how its attempts have ended so far. Pure but for the budgets it spends.
 *
 * - A target that failed by itself (5xx, a reset, an answer that makes no sense) is asked once more after a backoff, but never in
 *   place of one that has not been asked yet.
 * - Everything else that may be tried elsewhere goes to the next target at once: nothing is waited for while somebody is left.
 * - When all have been asked, those that may recover soon are asked again: after a backoff, or after the wait they named if it is
 *   at most 5 s. Never after a timeout: what was silent once is not waited for twice; nor where nothing would be different. One
 *   that was closed is asked once it lets calls pass again, if that takes no longer than the longest backoff.
 * - Asking a target again takes from its budget; going on to another one takes nothing.
 */
export class Course {
  readonly #stages: readonly Stage[];
  readonly #policy: RetryPolicy;
  readonly #random: () => number;
  readonly #untried: number[];
  readonly #tries: number[];
  readonly #errors: (GatewayError | undefined)[] = [];
  /** Targets at which only a place was missing. */
  readonly #busy: number[] = [];
  /** Targets that did not let the call pass, and how often they were waited for. */
  readonly #closed = new Map<number, number>();
  /** Targets that were found limited, and waited for, once each. */
  readonly #waited = new Set<number>();
  #limited: { readonly at: number; readonly afterMs: number } | undefined;
  #made = 0;
  #last: number | undefined;
  #refusedWindow: number | undefined;
  /** Whether a retry was left out because its budget was spent. */
  retriesSpent = false;

  constructor(stages: readonly Stage[], policy: RetryPolicy, random: () => number) {
    this.#stages = stages;
    this.#policy = policy;
    this.#random = random;
    this.#untried = stages.map((_, at) => at);
    this.#tries = stages.map(() => 0);
  }

  /** Whether another attempt may be made at all. */
  get exhausted(): boolean {
    return this.#made >= this.#policy.attempts;
  }

  /** How many other targets may still be asked after the present one. */
  get spares(): number {
    return Math.min(this.#untried.length, this.#policy.attempts - this.#made);
  }

  /** An attempt at a target has begun. */
  begun(at: number): void {
    this.#made++;
    this.#closed.delete(at);
    this.#tries[at] = (this.#tries[at] ?? 0) + 1;
  }

  /** An attempt at a target has failed. */
  failed(at: number, error: GatewayError): void {
    this.#last = at;
    this.#errors[at] = error;
    if (error.unsupported) this.#made--;
    if (error.reason !== 'context_length') return;
    this.#refusedWindow = Math.max(this.#refusedWindow ?? 0, this.#stages[at]?.contextWindow ?? 0);
  }

  /** A target could not be asked. */
  passedOver(at: number, { why, busy, retryAfterMs }: Refusal): void {
    this.#last = undefined;
    const waitMs =
      why === 'rate_limited' && !busy && this.#policy.waitWhenLimited ? this.#namedMs(retryAfterMs) : undefined;
    if (waitMs !== undefined && !this.#waited.has(at)) {
      this.#waited.add(at);
      this.#limited = { at, afterMs: waitMs };
      return;
    }
    const waits = this.#closed.get(at);
    if (busy && waits === undefined) this.#busy.push(at);
    this.#closed.set(at, waits ?? 0);
  }

  /** The next target that has not been asked, to be asked beside the present one; undefined: there is none. */
  takeHedge(): number | undefined {
    return this.exhausted ? undefined : this.#takeUntried();
  }

  /** Give back what `takeHedge` took and could not be used. */
  untake(at: number): void {
    this.#untried.unshift(at);
  }

  /** What to do next, with so many milliseconds left for the whole call. */
  next(leftMs: number): Step {
    if (this.exhausted) return { kind: 'end' };
    const again = this.#sameAgain(leftMs) ?? this.#onceFilled(leftMs);
    if (again) return again;
    const at = this.#takeUntried();
    if (at !== undefined) return tryAt(at, 0);
    return this.#queue(leftMs) ?? this.#secondRound(leftMs) ?? { kind: 'end' };
  }

  #takeUntried(): number | undefined {
    let at = this.#untried.shift();
    while (at !== undefined && !this.#mayFit(at)) at = this.#untried.shift();
    return at;
  }

  #sameAgain(leftMs: number): Step | undefined {
    const at = this.#last;
    const error = at === undefined ? undefined : this.#errors[at];
    if (at === undefined || error === undefined) return undefined;
    const afterMs = this.#soonMs(at, error);
    const roomMs = afterMs === undefined ? 0 : leftMs - afterMs;
    // A retry never takes the place of a target that has not been asked, nor keeps the call from it for longer than one backoff.
    const hasRoom = this.#policy.attempts - this.#made > this.#untried.length;
    if (error.anotherKey && hasRoom) return { kind: 'try', at, afterMs: 0, retry: true };
    const isFirstRetry = this.#tries[at] === 1 || this.#untried.length === 0;
    if (afterMs === undefined || roomMs <= 0 || !hasRoom || !isFirstRetry) return undefined;
    return this.#retry(at, afterMs);
  }

  /** Wait for a target that was found limited, if that is how it shall be. */
  #onceFilled(leftMs: number): Step | undefined {
    const limited = this.#limited;
    this.#limited = undefined;
    if (limited === undefined || limited.afterMs >= leftMs) return undefined;
    // A retry that was found limited has been paid for, and is one still.
    return { kind: 'try', ...limited, retry: this.#errors[limited.at] !== undefined };
  }

  #secondRound(leftMs: number): Step | undefined {
    const hopes: { at: number; afterMs: number }[] = [];
    for (const at of this.#stages.keys()) {
      const error = this.#errors[at];
      const afterMs = this.#closed.has(at) ? this.#reopensMs(at) : error && this.#laterMs(at, error);
      if (afterMs !== undefined && afterMs < leftMs) hopes.push({ at, afterMs });
    }
    for (const { at, afterMs } of hopes.sort((a, b) => a.afterMs - b.afterMs)) {
      const step = this.#tries[at] === 0 ? tryAt(at, afterMs) : this.#retry(at, afterMs);
      if (!step) continue;
      const waits = this.#closed.get(at);
      if (waits !== undefined) this.#closed.set(at, waits + 1);
      return step;
    }
    return undefined;
  }

  /**
   * After which wait a closed target may let the call pass; undefined: it is not waited for.
   *
   * Nobody waits at closed doors only: a call that has asked nobody yet is told at once when to come back.
   */
  #reopensMs(at: number): number | undefined {
    const closedMs = this.#stages[at]?.closedMs();
    const { maxDelayMs, attemptsPerTarget } = this.#policy;
    if (this.#made === 0 || closedMs === undefined || closedMs > maxDelayMs || !this.#mayFit(at)) return undefined;
    return (this.#closed.get(at) ?? 0) < attemptsPerTarget ? this.#namedMs(closedMs) : undefined;
  }

  #retry(at: number, afterMs: number): Step | undefined {
    if ((this.#tries[at] ?? 0) >= this.#policy.attemptsPerTarget) return undefined;
    if (this.#stages[at]?.spend()) return { kind: 'try', at, afterMs, retry: true };
    this.retriesSpent = true;
    return undefined;
  }

  /** One wait for a call, however many targets are busy. */
  #queue(leftMs: number): Step | undefined {
    const among = this.#busy.splice(0);
    return leftMs > 0 && among.length > 0 ? { kind: 'queue', among } : undefined;
  }

  /** An unknown window may be large enough. */
  #mayFit(at: number): boolean {
    const window = this.#stages[at]?.contextWindow;
    return this.#refusedWindow === undefined || window === undefined || window > this.#refusedWindow;
  }

  /** After which wait the same target is asked before the others; undefined: it is not. */
  #soonMs(at: number, { reason, unsent, retryAfterMs }: GatewayError): number | undefined {
    if (reason === 'provider_protocol') return this.#backoffMs(at);
    if (reason === 'provider_unavailable' && !unsent && retryAfterMs === undefined) return this.#backoffMs(at);
    return reason === 'provider_rate_limited' && this.#policy.waitWhenLimited ? this.#namedMs(retryAfterMs) : undefined;
  }

  /** After which wait a target is asked again once all have been; undefined: it is not. */
  #laterMs(at: number, { reason, lasting, retryAfterMs, anotherKey }: GatewayError): number | undefined {
    if (lasting) return undefined;
    if (anotherKey) return 0;
    if (reason === 'provider_protocol') return this.#backoffMs(at);
    if (reason === 'provider_unavailable') {
      return retryAfterMs === undefined ? this.#backoffMs(at) : this.#namedMs(retryAfterMs);
    }
    return reason === 'provider_rate_limited' ? this.#namedMs(retryAfterMs) : undefined;
  }

  #backoffMs(at: number): number {
    const { baseDelayMs, maxDelayMs } = this.#policy;
    return backoffMs((this.#tries[at] ?? 1) - 1, { baseMs: baseDelayMs, maxMs: maxDelayMs }, this.#random);
  }

  /** The wait that a provider named, and up to a tenth more, so that those who wait do not come all at once. */
  #namedMs(retryAfterMs = 1_000): number | undefined {
    if (retryAfterMs > LONGEST_WAIT_MS) return undefined;
    return retryAfterMs * (1 + 0.1 * this.#random()) + MARGIN_MS;
  }
}

/** A first attempt. */
function tryAt(at: number, afterMs: number): Step {
  return { kind: 'try', at, afterMs, retry: false };
}
