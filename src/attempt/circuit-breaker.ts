import type { Reason } from '../errors.ts';
import { BreakerRecord, type BreakerTotals, type HistoryEntry } from './breaker-record.ts';
import { SlidingCounts } from './sliding-counts.ts';

/** When a target is left alone, and for how long. */
export interface BreakerSettings {
  /** The time that calls are judged over. */
  readonly windowMs: number;
  /** The least calls within the window to judge by. */
  readonly minCalls: number;
  /** The share of failures that opens it, above 0. */
  readonly failureRatio: number;
  /** The share of slow calls that opens it, above 0. */
  readonly slowCallRatio: number;
  /** How long it stays open at first. */
  readonly openForMs: number;
  /** How long it stays open at most, before the jitter. */
  readonly maxOpenForMs: number;
  /** Trials that must succeed before it closes. */
  readonly halfOpenCalls: number;
  /** How long a trial may keep its permit. */
  readonly trialMs: number;
}

/** How a call ended, as far as it tells of the target. */
export type Outcome =
  | { readonly kind: 'success'; readonly slow: boolean }
  | {
      readonly kind: 'failure';
      readonly reason: Reason;
      /** No connection could be made. */
      readonly unreachable: boolean;
    };

/** Leave to make one call, which must be settled or released however the call ends; the first of the two counts. */
export interface Permit {
  /** How the call ended. */
  settle(outcome: Outcome): void;
  /** It says nothing of the target: the caller left, its deadline passed, or the call was never sent. */
  release(): void;
}

/** What a breaker takes from outside. */
export interface BreakerClock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Milliseconds since 1970, for people. */
  wall(): number;
  /** From 0 to below 1. */
  random(): number;
}

/** Whether calls pass, do not, or do on trial. */
export type BreakerState = NonNullable<HistoryEntry['state']>;

/** What an operator has decided: no call passes, or every call does, until they decide otherwise. */
export type Hold = 'open' | 'closed';

/** A breaker as it is now, for people. Times are milliseconds since 1970. */
export interface BreakerSnapshot {
  readonly state: BreakerState;
  readonly hold: Hold | undefined;
  /** Since the start or the last reset. */
  readonly totals: BreakerTotals;
  /** Within the window; slow calls are successes too. */
  readonly window: { readonly successes: number; readonly failures: number; readonly slow: number };
  /** Share of failures within the window, 0 to 1. */
  readonly failureRate: number;
  readonly lastFailureAt: number | undefined;
  readonly lastSuccessAt: number | undefined;
  /** How long it stays open, without the jitter: this time if it is open, else the next time. */
  readonly recoveryTimeoutMs: number;
  /** Undefined: it is not open. */
  readonly openedAt: number | undefined;
  /** Undefined: it is not open, or an operator holds it. */
  readonly nextTrialAt: number | undefined;
  /** Why it opened: a word of the error table, `slow_calls` or `operator`. Empty: it is closed. */
  readonly reason: string;
  /** How often it has opened since the start. */
  readonly timesOpened: number;
  /** The last outcomes and changes of state, oldest first. */
  readonly history: readonly HistoryEntry[];
}

interface Closed {
  readonly kind: 'closed';
  /** Since when nothing has looked bad, less the time that has been credited already. */
  healthySince: number;
  /** Failures in a row that found nobody at the address. */
  unreachable: number;
  lastReason: string;
}

interface Open {
  readonly kind: 'open';
  readonly openedAt: number;
  readonly reason: string;
  readonly until: number;
  readonly recoveryTimeoutMs: number;
}

interface HalfOpen {
  readonly kind: 'half_open';
  readonly reason: string;
  /** Trials that succeeded. */
  passed: number;
  /** Trials still out, oldest first. */
  readonly out: Set<HandedPermit>;
}

interface HeldOpen {
  readonly kind: 'held_open';
  readonly openedAt: number;
}

interface HeldClosed {
  readonly kind: 'held_closed';
}

type State = Closed | Open | HalfOpen | HeldOpen | HeldClosed;

/** A dead address is certain, so this many failures in a row to reach it are enough, however few calls there were. */
const unreachableInARow = 5;

/** What a caller is told when every trial is taken. */
const trialsTakenMs = 1_000;

/** Kinds of the window's counts. */
const success = 0;
const failure = 1;
const slow = 2;

/**
 * Keeps calls away from a target that fails, or is slow, until a few calls on trial have shown that it is well again.
 *
 * - Closed, it judges the calls of a sliding window, and opens when too many failed or were slow.
 * - Open, it lets no call pass. Each time it opens it stays open for twice as long, up to a bound; each full window without
 *   trouble takes one doubling back.
 * - Half-open, it lets a few calls pass, and never makes one wait. If all succeed it closes; the first failure, or slow success,
 *   opens it again. Trials that tell nothing give their place back, and so do those that take too long.
 *
 * An operator may hold it open or closed. A result counts for the state only if the call began in that same state: what began
 * before the breaker opened, closed or was reset tells of another time, and only adds to the totals and the history.
 *
 * Nothing here runs by a timer: an open breaker whose time is over is half-open to all who look, and its history notes the change
 * when the first call passes.
 */
export class CircuitBreaker {
  #settings: BreakerSettings;
  readonly #clock: BreakerClock;
  readonly #onChange: ((state: BreakerState, reason: string) => void) | undefined;
  readonly #record: BreakerRecord;
  #window: SlidingCounts;
  #state: State;
  /** How often the time it stays open has doubled, for the next time. */
  #doublings = 0;
  #timesOpened = 0;

  /** Whoever listens is told of each change of state or hold. */
  constructor(
    settings: BreakerSettings,
    clock: BreakerClock,
    onChange?: (state: BreakerState, reason: string) => void,
  ) {
    this.#settings = settings;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#record = new BreakerRecord(() => clock.wall());
    this.#window = this.#openWindow();
    this.#state = this.#closed();
  }

  /** As it is now: an open one whose time is over is half-open. */
  get state(): BreakerState {
    switch (this.#state.kind) {
      case 'open':
        return this.#isOver(this.#state) ? 'half_open' : 'open';
      case 'held_open':
        return 'open';
      case 'held_closed':
        return 'closed';
      default:
        return this.#state.kind;
    }
  }

  get hold(): Hold | undefined {
    if (this.#state.kind === 'held_open') return 'open';
    return this.#state.kind === 'held_closed' ? 'closed' : undefined;
  }

  /** A permit if a call may pass now. */
  enter(): Permit | undefined {
    if (!this.admits) return undefined;
    if (this.#state.kind === 'open') this.#become(this.#halfOpen(this.#state.reason), '');
    const permit = new HandedPermit(this.#state, this.#end);
    if (this.#state.kind === 'half_open') {
      permit.since = this.#clock.now();
      this.#state.out.add(permit);
    }
    return permit;
  }

  /** Whether `enter` would give a permit, without taking it. */
  get admits(): boolean {
    switch (this.#state.kind) {
      case 'open':
        return this.#isOver(this.#state);
      case 'half_open':
        return this.#hasPlace(this.#state);
      case 'held_open':
        return false;
      default:
        return true;
    }
  }

  /**
   * Milliseconds until a call may pass; 0: now; undefined: an operator holds it open.
   *
   * Nobody knows when a trial ends. While all are out a caller is told to come back in a second, which is about what a call takes,
   * or sooner if by then a trial loses its permit.
   */
  get retryAfterMs(): number | undefined {
    if (this.admits) return 0;
    if (this.#state.kind === 'open') return Math.ceil(this.#state.until - this.#clock.now());
    if (this.#state.kind !== 'half_open') return undefined;
    const [oldest] = this.#state.out;
    const leftMs = oldest ? this.#settings.trialMs - (this.#clock.now() - oldest.since) : trialsTakenMs;
    return Math.ceil(Math.min(trialsTakenMs, leftMs));
  }

  /** Hold it open or closed, or let it go: one held open then begins with trials, one held closed with a fresh window. */
  setHold(hold: Hold | undefined): void {
    if (hold === this.hold) return;
    if (hold === 'open') this.#become({ kind: 'held_open', openedAt: this.#clock.wall() }, 'operator');
    else if (hold === 'closed') this.#become({ kind: 'held_closed' }, 'operator');
    else if (this.#state.kind === 'held_open') this.#become(this.#halfOpen('operator'), 'operator');
    else this.#close('operator');
  }

  /** Close it, and forget what it has counted and every hold. */
  reset(): void {
    const before = { state: this.state, hold: this.hold };
    this.#doublings = 0;
    this.#window.clear();
    this.#record.clear();
    this.#state = this.#closed();
    if (before.state !== 'closed' || before.hold) this.#onChange?.('closed', 'operator');
  }

  /** Go on by other settings. The state is kept; a window of another length begins empty. */
  configure(settings: BreakerSettings): void {
    if (this.#state.kind === 'closed') this.#creditHealth(this.#state);
    const resized = settings.windowMs !== this.#settings.windowMs;
    this.#settings = settings;
    if (resized) this.#window = this.#openWindow();
    if (this.#state.kind === 'half_open' && this.#state.passed >= settings.halfOpenCalls) this.#close('');
  }

  snapshot(): BreakerSnapshot {
    const state = this.#state;
    const visible = this.state;
    if (state.kind === 'closed') this.#creditHealth(state);
    const failures = this.#window.total(failure);
    const successes = this.#window.total(success);
    const openNow = state.kind === 'open' && visible === 'open' ? state : undefined;
    return {
      state: visible,
      hold: this.hold,
      totals: this.#record.totals,
      window: { successes, failures, slow: this.#window.total(slow) },
      failureRate: failures === 0 ? 0 : failures / (failures + successes),
      lastFailureAt: this.#record.lastFailureAt,
      lastSuccessAt: this.#record.lastSuccessAt,
      recoveryTimeoutMs: openNow?.recoveryTimeoutMs ?? this.#nextRecoveryTimeoutMs(),
      openedAt: state.kind === 'held_open' ? state.openedAt : openNow?.openedAt,
      nextTrialAt: openNow && this.#clock.wall() + openNow.until - this.#clock.now(),
      reason: 'reason' in state ? state.reason : state.kind === 'held_open' ? 'operator' : '',
      timesOpened: this.#timesOpened,
      history: this.#record.history(),
    };
  }

  /** A permit comes back; without an outcome its call tells nothing. */
  readonly #end = (permit: HandedPermit, outcome: Outcome | undefined): void => {
    if (outcome?.kind === 'success') this.#record.judged(outcome.slow ? 'slow' : 'success', '');
    else if (outcome) this.#record.judged('failure', outcome.reason);
    const state = this.#state;
    if (permit.state !== state) return;
    if (state.kind === 'half_open') {
      // One that took so long that its place was given to another is judged all the same: else only quick calls could end a trial.
      state.out.delete(permit);
      if (outcome) this.#judgeTrial(state, outcome);
    } else if (outcome) {
      this.#count(outcome);
      if (state.kind === 'closed') this.#judge(state, outcome);
    }
  };

  #count(outcome: Outcome): void {
    this.#window.add(outcome.kind === 'success' ? success : failure);
    if (outcome.kind === 'success' && outcome.slow) this.#window.add(slow);
  }

  #judge(state: Closed, outcome: Outcome): void {
    if (outcome.kind === 'failure') state.lastReason = outcome.reason;
    state.unreachable = outcome.kind === 'failure' && outcome.unreachable ? state.unreachable + 1 : 0;
    if (state.unreachable >= unreachableInARow) {
      this.#open(state.lastReason);
      return;
    }
    const failures = this.#window.total(failure);
    const calls = failures + this.#window.total(success);
    const failing = failures / calls >= this.#settings.failureRatio;
    if (!failing && this.#window.total(slow) / calls < this.#settings.slowCallRatio) return;
    if (calls >= this.#settings.minCalls) {
      this.#open(failing ? state.lastReason : 'slow_calls');
      return;
    }
    // Too few calls to open it, but nothing to take a doubling back for either.
    this.#creditHealth(state);
    state.healthySince = this.#clock.now();
  }

  #judgeTrial(state: HalfOpen, outcome: Outcome): void {
    this.#count(outcome);
    if (outcome.kind === 'failure') this.#open(outcome.reason);
    else if (outcome.slow) this.#open('slow_calls');
    else if (++state.passed >= this.#settings.halfOpenCalls) this.#close('');
  }

  #open(reason: string): void {
    if (this.#state.kind === 'closed') this.#creditHealth(this.#state);
    const recoveryTimeoutMs = this.#nextRecoveryTimeoutMs();
    // Not beyond the bound: after a day of failures it would take a day of health to get down again.
    if (recoveryTimeoutMs < this.#settings.maxOpenForMs) this.#doublings++;
    const jitter = 0.8 + 0.4 * this.#clock.random();
    const until = this.#clock.now() + recoveryTimeoutMs * jitter;
    this.#become({ kind: 'open', openedAt: this.#clock.wall(), reason, until, recoveryTimeoutMs }, reason);
  }

  #close(reason: string): void {
    this.#window.clear();
    this.#become(this.#closed(), reason);
  }

  #become(state: State, reason: string): void {
    if (this.#state.kind === 'closed') this.#creditHealth(this.#state);
    const before = this.state;
    this.#state = state;
    const after = this.state;
    if (after === 'open' && before !== 'open') this.#timesOpened++;
    this.#record.changed(after, reason);
    this.#onChange?.(after, reason);
  }

  /** Take a doubling back for each full window that was healthy. One without calls counts too: nothing spoke against the target. */
  #creditHealth(state: Closed): void {
    const windows = Math.floor((this.#clock.now() - state.healthySince) / this.#settings.windowMs);
    if (windows === 0) return;
    this.#doublings = Math.max(0, this.#doublings - windows);
    state.healthySince += windows * this.#settings.windowMs;
  }

  #nextRecoveryTimeoutMs(): number {
    return Math.min(this.#settings.openForMs * 2 ** this.#doublings, this.#settings.maxOpenForMs);
  }

  #hasPlace(state: HalfOpen): boolean {
    for (const permit of state.out) {
      if (!this.#isExpired(permit)) break;
      state.out.delete(permit);
    }
    return state.passed + state.out.size < this.#settings.halfOpenCalls;
  }

  #isExpired(permit: HandedPermit): boolean {
    return this.#clock.now() - permit.since >= this.#settings.trialMs;
  }

  #isOver(state: Open): boolean {
    return this.#clock.now() >= state.until;
  }

  #openWindow(): SlidingCounts {
    return new SlidingCounts(3, this.#settings.windowMs, () => this.#clock.now());
  }

  #closed(): Closed {
    return { kind: 'closed', healthySince: this.#clock.now(), unreachable: 0, lastReason: '' };
  }

  #halfOpen(reason: string): HalfOpen {
    return { kind: 'half_open', reason, passed: 0, out: new Set() };
  }
}

/** A permit that knows the very state it was given in; another one of the same kind is another time. */
class HandedPermit implements Permit {
  readonly state: State;
  /** When it was given, if on trial. */
  since = 0;
  #end: ((permit: HandedPermit, outcome: Outcome | undefined) => void) | undefined;

  constructor(state: State, end: (permit: HandedPermit, outcome: Outcome | undefined) => void) {
    this.state = state;
    this.#end = end;
  }

  settle(outcome: Outcome): void {
    const end = this.#end;
    this.#end = undefined;
    end?.(this, outcome);
  }

  release(): void {
    const end = this.#end;
    this.#end = undefined;
    end?.(this, undefined);
  }
}
