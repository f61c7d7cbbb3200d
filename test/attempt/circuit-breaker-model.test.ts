import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type BreakerState,
  CircuitBreaker,
  type Hold,
  type Outcome,
  type Permit,
} from '../../src/attempt/circuit-breaker.ts';

const settings = {
  windowMs: 1_000,
  minCalls: 4,
  failureRatio: 0.5,
  slowCallRatio: 0.8,
  openForMs: 500,
  maxOpenForMs: 5_000,
  halfOpenCalls: 3,
  trialMs: 700,
};

/** What a breaker may do by itself; to operators everything is open. */
const legal = ['closed>open', 'open>half_open', 'half_open>open', 'half_open>closed'];

interface Handed {
  readonly permit: Permit;
  readonly epoch: number;
  readonly onTrial: boolean;
  readonly at: number;
}

/** A breaker beside the plainest account of it: who holds permits, and every outcome of the present epoch. */
class Watched {
  nowMs = 0;
  /** Grows whenever the state changes, and with each reset. */
  epoch = 0;
  operating = false;
  handed: Handed[] = [];
  judged: { outcome: Outcome; bucket: number }[] = [];
  state: BreakerState = 'closed';
  readonly breaker: CircuitBreaker;

  constructor(random: number) {
    const clock = { now: () => this.nowMs, wall: () => this.nowMs, random: () => random };
    this.breaker = new CircuitBreaker(settings, clock, (state) => this.#changed(state));
  }

  #changed(state: BreakerState): void {
    if (!this.operating) expect(legal).toContain(`${this.state}>${state}`);
    this.state = state;
    this.#begin();
  }

  #begin(): void {
    this.epoch++;
    this.judged = [];
  }

  enter(): void {
    const admits = this.breaker.admits;
    const visible = this.breaker.state;
    const permit = this.breaker.enter();
    expect(permit !== undefined).toBe(admits);
    if (visible === 'open') expect(permit).toBeUndefined();
    if (!permit) return;
    this.handed.push({ permit, epoch: this.epoch, onTrial: this.state === 'half_open', at: this.nowMs });
  }

  end(at: number, outcome: Outcome | undefined): void {
    const [handed] = this.handed.splice(at % Math.max(1, this.handed.length), 1);
    if (!handed) return;
    const before = this.breaker.snapshot();
    const epoch = this.epoch;
    const counts = outcome !== undefined && handed.epoch === epoch;
    const judged = counts ? [...this.judged, { outcome, bucket: Math.floor(this.nowMs / 100) }] : this.judged;
    const expected = counts && !before.hold ? this.#judge(before.state, judged) : before.state;
    if (outcome) handed.permit.settle(outcome);
    else handed.permit.release();

    const after = this.breaker.snapshot();
    expect(after.state).toBe(expected);
    expect(this.epoch === epoch).toBe(expected === before.state);
    expect(after.totals.calls).toBe(before.totals.calls + (outcome ? 1 : 0));
    if (!outcome) expect(after).toEqual(before);
    if (!counts) expect(after.window).toEqual(before.window);
    if (this.epoch === epoch) this.judged = judged;
  }

  /** The state after these outcomes. */
  #judge(state: BreakerState, judged: typeof this.judged): BreakerState {
    const failed = (one: { outcome: Outcome }) => one.outcome.kind === 'failure';
    const slow = ({ outcome }: { outcome: Outcome }) => outcome.kind === 'success' && outcome.slow;
    if (state === 'half_open') {
      if (judged.some((one) => failed(one) || slow(one))) return 'open';
      return judged.length < settings.halfOpenCalls ? 'half_open' : 'closed';
    }
    const lastFive = judged.slice(-5);
    if (lastFive.length === 5 && lastFive.every(({ outcome }) => outcome.kind === 'failure' && outcome.unreachable))
      return 'open';
    const recent = judged.filter(({ bucket }) => bucket > Math.floor(this.nowMs / 100) - 10);
    const tooMany =
      recent.filter(failed).length / recent.length >= settings.failureRatio ||
      recent.filter(slow).length / recent.length >= settings.slowCallRatio;
    return recent.length >= settings.minCalls && tooMany ? 'open' : 'closed';
  }

  operate(what: Hold | 'let_go' | 'reset'): void {
    this.operating = true;
    if (what === 'reset') {
      this.breaker.reset();
      this.#begin();
    } else this.breaker.setHold(what === 'let_go' ? undefined : what);
    this.operating = false;
    if (what === 'reset') expect([this.breaker.state, this.breaker.hold]).toEqual(['closed', undefined]);
    else expect(this.breaker.hold).toBe(what === 'let_go' ? undefined : what);
  }

  check(): void {
    const { state, hold, admits, retryAfterMs } = this.breaker;
    if (state === 'open') expect(admits).toBe(false);
    if (state === 'closed') expect(admits).toBe(true);
    if (hold) expect(state).toBe(hold);
    if (hold === 'open') expect(retryAfterMs).toBeUndefined();
    else if (admits) expect(retryAfterMs).toBe(0);
    else expect(retryAfterMs).toBeGreaterThan(0);

    const trials = this.handed.filter(
      ({ epoch, onTrial, at }) => onTrial && epoch === this.epoch && this.nowMs - at < settings.trialMs,
    );
    expect(trials.length).toBeLessThanOrEqual(settings.halfOpenCalls);
    // Nobody is kept out without a reason.
    if (state === 'half_open' && this.state === 'half_open')
      expect(admits).toBe(trials.length + this.judged.length < settings.halfOpenCalls);
  }
}

const outcomes = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Outcome>({ kind: 'success', slow: false }) },
  { weight: 1, arbitrary: fc.constant<Outcome>({ kind: 'success', slow: true }) },
  { weight: 2, arbitrary: fc.constant<Outcome>({ kind: 'failure', reason: 'provider_timeout', unreachable: false }) },
  {
    weight: 2,
    arbitrary: fc.constant<Outcome>({ kind: 'failure', reason: 'provider_unavailable', unreachable: true }),
  },
);

const steps = fc.oneof(
  { weight: 10, arbitrary: fc.record({ enter: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 12, arbitrary: fc.record({ end: fc.nat(), outcome: fc.option(outcomes, { nil: undefined, freq: 5 }) }) },
  { weight: 4, arbitrary: fc.record({ passMs: fc.integer({ min: 1, max: 300 }) }) },
  { weight: 1, arbitrary: fc.record({ passMs: fc.constantFrom(700, 1_000, 6_000, 2 ** 31, 2 ** 45) }) },
  { weight: 2, arbitrary: fc.constant('wait' as const) },
  { weight: 1, arbitrary: fc.constantFrom('open' as const, 'closed' as const, 'let_go' as const, 'reset' as const) },
);

describe('a circuit breaker, over any history,', () => {
  it('changes its state by its rules only, and never has too many trials out', () => {
    const seen = new Set<BreakerState>();
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.array(steps, { maxLength: 120, size: 'max' }),
        (random, all) => {
          const watched = new Watched(random);
          for (const step of all) {
            if (step === 'wait') {
              const { retryAfterMs, state, hold } = watched.breaker;
              watched.nowMs += retryAfterMs ?? 0;
              if (state === 'open' && !hold) expect(watched.breaker.admits).toBe(true);
            } else if (typeof step === 'string') watched.operate(step);
            else if ('enter' in step) for (let call = 0; call < step.enter; call++) watched.enter();
            else if ('end' in step) watched.end(step.end, step.outcome);
            else watched.nowMs += step.passMs;
            watched.check();
            seen.add(watched.breaker.state);
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(seen.size).toBe(3);
  });
});
