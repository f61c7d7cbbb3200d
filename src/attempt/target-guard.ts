import { errorTable, type GatewayError, type Reason } from '../errors.ts';
import type { AttemptLimits } from '../providers/target.ts';
import type { StopSignal } from '../stop.ts';
import {
  type BreakerClock,
  type BreakerSettings,
  type BreakerState,
  CircuitBreaker,
  type Permit,
} from './circuit-breaker.ts';
import type { ProviderGuard } from './provider-guard.ts';
import { RetryBudget } from './retry-budget.ts';

/** What an attempt says of its provider. */
export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: Reason } | 'nothing';

/** Who keeps an account of the attempts at a target, for people and for strategies. */
export interface AttemptRecord {
  begin(streaming: boolean): void;
  firstContent(afterMs: number, streaming: boolean): void;
  end(verdict: Verdict, afterMs: number, streaming: boolean): void;
}

/** Why no call may go to a target now. */
export interface Refusal {
  readonly why: 'circuit_open' | 'rate_limited' | 'unavailable';
  /** When one may, in milliseconds from now; undefined: when an operator says so. */
  readonly retryAfterMs: number | undefined;
  /** Whether only a place is missing, which somebody may give back at any moment. */
  readonly busy: boolean;
  /** For people: what stands in the way. */
  readonly words: string;
}

/** What guards are made with. */
export interface GuardSettings {
  readonly breaker: BreakerSettings;
  /** Retries for each first attempt. */
  readonly budgetRatio: number;
}

/** Nobody is left alone for longer, whatever it says. */
const LONGEST_COOL_DOWN_MS = 600_000;
/** How long a target that is limited and does not say for how long is left alone; doubled each time until it answers. */
const COOL_DOWN_MS = 1_000;
const LONGEST_GUESS_MS = 30_000;
const QUOTA_COOL_DOWN_MS = 60_000;

/** When a place may be free again: nobody knows. */
const BUSY_MS = 1_000;

/**
 * Decides whether a call may go to a target, and learns from each that did.
 *
 * It outlives calls and configurations. In its order: an operator's hold and the circuit breaker, the cool-down that a limited
 * provider asked for, our own limits on the provider.
 */
export class TargetGuard {
  readonly breaker: CircuitBreaker;
  readonly budget: RetryBudget;
  readonly provider: ProviderGuard;
  readonly #record: AttemptRecord;
  readonly #now: () => number;
  #coolUntil = 0;
  #coolsBecause: 'rate_limited' | 'unavailable' = 'rate_limited';
  /** Limits in a row for which the provider gave no time. */
  #guesses = 0;
  #active = 0;
  /** When it was last used, on the clock of the guard. */
  usedAt: number;

  constructor(
    settings: GuardSettings,
    provider: ProviderGuard,
    record: AttemptRecord,
    clock: BreakerClock,
    onChange?: (state: BreakerState) => void,
  ) {
    const { now } = clock;
    this.#now = now;
    this.provider = provider;
    this.#record = record;
    this.breaker = new CircuitBreaker(settings.breaker, clock, onChange);
    this.budget = new RetryBudget(settings.budgetRatio, now);
    this.usedAt = now();
  }

  /** Take a new configuration over; what it has learnt stays. */
  configure({ breaker, budgetRatio }: GuardSettings): void {
    this.breaker.configure(breaker);
    this.budget.configure(budgetRatio);
  }

  /** Whether nothing would be lost if it were forgotten. */
  get idle(): boolean {
    return (
      this.#active === 0 && this.breaker.state === 'closed' && this.breaker.hold === undefined && this.coolMs === 0
    );
  }

  /** How long the provider has asked to be left alone, in milliseconds; 0: it has not. */
  get coolMs(): number {
    return Math.max(0, this.#coolUntil - this.#now());
  }

  /** Leave the target alone for a while, because it is limited or because it is not there; a longer one stays. */
  coolDown(ms: number, why: 'rate_limited' | 'unavailable' = 'rate_limited'): void {
    const until = this.#now() + Math.min(ms, LONGEST_COOL_DOWN_MS);
    if (until <= this.#coolUntil) return;
    this.#coolUntil = until;
    this.#coolsBecause = why;
  }

  /** How long it is left alone because of a limit, in milliseconds; 0: it is not. */
  get limitedMs(): number {
    return this.#coolsBecause === 'rate_limited' ? this.coolMs : 0;
  }

  /** Forget the cool-down. */
  warmUp(): void {
    this.#coolUntil = 0;
    this.#guesses = 0;
  }

  /** Why no call may go there now; undefined: one may. Takes nothing. */
  refusal(): Refusal | undefined {
    const { provider, breaker } = this;
    if (!breaker.admits) {
      const { retryAfterMs, hold, state } = breaker;
      if (hold === 'open') return refusalOf('circuit_open', undefined, 'an operator holds its circuit breaker open');
      const words = state === 'half_open' ? 'is on trial, with as many calls as may be' : 'is open';
      return refusalOf('circuit_open', retryAfterMs, `its circuit breaker ${words}`);
    }
    const { coolMs } = this;
    if (coolMs > 0) return refusalOf(this.#coolsBecause, coolMs, 'the provider has asked to be left alone');
    const { freeInMs } = provider;
    if (freeInMs > 0) return refusalOf('rate_limited', freeInMs, 'the limit of calls to the provider is reached');
    return provider.places.free ? undefined : busy;
  }

  /** Let a call pass, or say why not. */
  enter(streaming: boolean, limits: AttemptLimits): Seat | Refusal {
    const refusal = this.refusal();
    if (refusal) return refusal;
    if (!this.provider.places.tryEnter()) return busy;
    return this.#sit(streaming, limits);
  }

  /** Let a call pass once there is a place for it, or say why not. Throws the signal's reason when that comes first. */
  async enterWhenFree(streaming: boolean, limits: AttemptLimits, signal: StopSignal): Promise<Seat | Refusal> {
    if (!(await this.provider.places.enter(signal))) return busy;
    // Much may have happened while it waited.
    const refusal = this.refusal();
    if (refusal === undefined || refusal.busy) return this.#sit(streaming, limits);
    this.provider.places.leave();
    return refusal;
  }

  #sit(streaming: boolean, limits: AttemptLimits): Seat | Refusal {
    const permit = this.breaker.enter();
    if (permit === undefined) {
      this.provider.places.leave();
      return this.refusal() ?? busy;
    }
    this.provider.take();
    this.usedAt = this.#now();
    this.#active++;
    this.#record.begin(streaming);
    return new Seat(this, permit, streaming, limits, this.#record, this.#now);
  }

  /** An attempt is over: give its place back, and take note of a limit that it met. For the seat. */
  left(error: GatewayError | undefined, answered: boolean): void {
    this.#active--;
    this.provider.places.leave();
    if (answered) this.#guesses = 0;
    if (error === undefined || error.anotherKey) return;
    const { reason, retryAfterMs } = error;
    const isLimit = errorTable[reason].blames === 'cools';
    if (retryAfterMs !== undefined && isLimit) this.coolDown(retryAfterMs);
    else if (retryAfterMs !== undefined && reason === 'provider_unavailable')
      this.coolDown(retryAfterMs, 'unavailable');
    else if (reason === 'provider_quota') this.coolDown(QUOTA_COOL_DOWN_MS);
    // Only once for all calls that met the same limit together.
    else if (isLimit && this.coolMs === 0) {
      this.coolDown(Math.min(COOL_DOWN_MS * 2 ** this.#guesses++, LONGEST_GUESS_MS));
    }
  }
}

function refusalOf(why: Refusal['why'], retryAfterMs: number | undefined, words: string): Refusal {
  return { why, retryAfterMs, busy: false, words };
}

const busy: Refusal = {
  why: 'rate_limited',
  retryAfterMs: BUSY_MS,
  busy: true,
  words: 'as many calls are at the provider as may be',
};

/** One attempt at a target, as its guard sees it: to be ended exactly once, by one of `succeeded`, `failed` and `abandoned`. */
export class Seat {
  readonly #guard: TargetGuard;
  readonly #permit: Permit;
  readonly #streaming: boolean;
  readonly #slowMs: number;
  readonly #record: AttemptRecord;
  readonly #now: () => number;
  readonly #began: number;
  #slow = false;

  constructor(
    guard: TargetGuard,
    permit: Permit,
    streaming: boolean,
    limits: AttemptLimits,
    record: AttemptRecord,
    now: () => number,
  ) {
    this.#guard = guard;
    this.#permit = permit;
    this.#streaming = streaming;
    this.#slowMs = streaming ? limits.slowFirstTokenMs : limits.slowUnaryMs;
    this.#record = record;
    this.#now = now;
    this.#began = now();
  }

  /** What the headers of the answer say of the provider's limits. */
  responded(remaining: number | undefined, exhaustedMs: number | undefined): void {
    if (remaining !== undefined) this.#guard.provider.remaining = remaining;
    if (exhaustedMs !== undefined) this.#guard.coolDown(exhaustedMs);
  }

  /** The first content is here. */
  firstContent(): void {
    const afterMs = this.#now() - this.#began;
    this.#slow = afterMs > this.#slowMs;
    this.#record.firstContent(afterMs, this.#streaming);
  }

  succeeded(): void {
    this.#permit.settle({ kind: 'success', slow: this.#slow });
    this.#end({ ok: true }, undefined);
  }

  /** It ended in this error, which may be nobody's fault but the request's. */
  failed(error: GatewayError): void {
    const { reason, unsent: unreachable } = error;
    const { blames } = errorTable[reason];
    if (blames === 'yes' && !error.excused) this.#permit.settle({ kind: 'failure', reason, unreachable });
    else this.#permit.release();
    this.#end(blames === 'no' || error.excused ? 'nothing' : { ok: false, reason }, error);
  }

  /** The caller left, its deadline passed, or another target was quicker: that says nothing of this one. */
  abandoned(): void {
    this.#permit.release();
    this.#end('nothing', undefined);
  }

  #end(verdict: Verdict, error: GatewayError | undefined): void {
    this.#record.end(verdict, this.#now() - this.#began, this.#streaming);
    this.#guard.left(error, verdict !== 'nothing' && verdict.ok);
  }
}
