import { describe, expect, it } from 'vitest';
import {
  type BreakerSettings,
  type BreakerState,
  CircuitBreaker,
  type Outcome,
  type Permit,
} from '../../src/attempt/circuit-breaker.ts';

const settings: BreakerSettings = {
  windowMs: 30_000,
  minCalls: 10,
  failureRatio: 0.5,
  slowCallRatio: 0.8,
  openForMs: 5_000,
  maxOpenForMs: 120_000,
  halfOpenCalls: 3,
  trialMs: 60_000,
};

const success: Outcome = { kind: 'success', slow: false };
const slow: Outcome = { kind: 'success', slow: true };
const failure: Outcome = { kind: 'failure', reason: 'provider_timeout', unreachable: false };
const unreachable: Outcome = { kind: 'failure', reason: 'provider_unavailable', unreachable: true };

/** A breaker, its clock, and what it told of itself. Without further word its jitter is 1. */
function closedBreaker(changes: Partial<BreakerSettings> = {}) {
  const clock = { ms: 1_000, random: 0.5 };
  const told: [BreakerState, string][] = [];
  const breaker = new CircuitBreaker(
    { ...settings, ...changes },
    { now: () => clock.ms, wall: () => 1_700_000_000_000 + clock.ms, random: () => clock.random },
    (state, reason) => told.push([state, reason]),
  );
  const enter = (): Permit => {
    const permit = breaker.enter();
    if (!permit) throw new Error(`the breaker is ${breaker.state}`);
    return permit;
  };
  const calls = (count: number, outcome: Outcome) => {
    for (let call = 0; call < count; call++) enter().settle(outcome);
  };
  return { breaker, clock, told, enter, calls };
}

/** A breaker that has just opened, for 5 s. */
function openBreaker() {
  const opened = closedBreaker();
  opened.calls(10, failure);
  return opened;
}

/** A breaker whose first trial may begin. */
function halfOpenBreaker() {
  const opened = openBreaker();
  opened.clock.ms += 5_000;
  return opened;
}

describe('a closed circuit breaker', () => {
  it('opens when the share of failures is reached, and says what failed last', () => {
    const { breaker, calls, told } = closedBreaker();

    calls(5, success);
    calls(4, failure);
    expect(breaker.state).toBe('closed');

    calls(1, { kind: 'failure', reason: 'provider_protocol', unreachable: false });
    expect(breaker.state).toBe('open');
    expect(breaker.snapshot().reason).toBe('provider_protocol');
    expect(told).toEqual([['open', 'provider_protocol']]);
  });

  it('stays closed below that share, however many calls fail', () => {
    const { breaker, enter, calls } = closedBreaker();

    calls(10, success);
    for (let call = 0; call < 100; call++) {
      enter().settle(failure);
      enter().settle(success);
    }

    expect(breaker.state).toBe('closed');
  });

  it('does not judge by fewer calls than the least, but by that many, even if the last one went well', () => {
    const { breaker, calls } = closedBreaker();

    calls(9, failure);
    expect(breaker.state).toBe('closed');

    calls(1, success);
    expect(breaker.state).toBe('open');
    expect(breaker.snapshot().reason).toBe('provider_timeout');
  });

  it('does not count what has left the window', () => {
    const { breaker, clock, calls } = closedBreaker();

    calls(9, failure);
    clock.ms += 30_000;
    calls(9, failure);

    expect(breaker.state).toBe('closed');
    expect(breaker.snapshot().window).toEqual({ successes: 0, failures: 9, slow: 0 });
  });

  it('opens when the share of slow calls among all judged ones is reached', () => {
    const { breaker, calls } = closedBreaker();

    calls(1, success);
    calls(2, failure);
    calls(11, slow);
    expect(breaker.state).toBe('closed');

    calls(1, slow);
    expect(breaker.state).toBe('open');
    expect(breaker.snapshot().reason).toBe('slow_calls');
  });

  it('opens after five failures in a row to reach the target, however few calls there were', () => {
    const { breaker, calls } = closedBreaker({ minCalls: 1_000 });

    for (const outcome of [success, failure, slow]) {
      calls(4, unreachable);
      calls(1, outcome);
    }
    expect(breaker.state).toBe('closed');

    calls(5, unreachable);
    expect(breaker.state).toBe('open');
    expect(breaker.snapshot().reason).toBe('provider_unavailable');
  });

  it('learns nothing from a caller who leaves', () => {
    const { breaker, enter, calls } = closedBreaker();

    calls(9, failure);
    for (let call = 0; call < 100; call++) enter().release();

    expect(breaker.state).toBe('closed');
    expect(breaker.snapshot()).toMatchObject({ totals: { calls: 9 }, window: { failures: 9, successes: 0 } });
  });

  it('counts only the first that is said of a call', () => {
    const { breaker, enter } = closedBreaker();

    const [settled, released] = [enter(), enter()];
    settled.settle(success);
    settled.settle(failure);
    settled.release();
    released.release();
    released.settle(failure);

    expect(breaker.snapshot().totals).toEqual({ calls: 1, successes: 1, failures: 0 });
  });
});

describe('an open circuit breaker', () => {
  it('lets no call pass until its time is over', () => {
    const { breaker, clock } = openBreaker();

    expect(breaker.retryAfterMs).toBe(5_000);
    clock.ms += 4_999;
    expect(breaker.enter()).toBeUndefined();
    expect([breaker.state, breaker.admits, breaker.retryAfterMs]).toEqual(['open', false, 1]);

    clock.ms += 1;
    expect([breaker.state, breaker.admits, breaker.retryAfterMs]).toEqual(['half_open', true, 0]);
    expect(breaker.enter()).toBeDefined();
  });

  it.each([
    [0, 4_000],
    [0.25, 4_500],
    [0.999_999, 6_000],
  ])('stays open for its time by a jitter of a fifth: random %d gives %d ms', (random, waitMs) => {
    const { breaker, clock, calls } = closedBreaker();

    clock.random = random;
    calls(10, failure);

    expect(breaker.retryAfterMs).toBe(waitMs);
    expect(breaker.snapshot().recoveryTimeoutMs).toBe(5_000);
  });

  it('stays open twice as long each time it opens again, up to the bound', () => {
    const { breaker, clock, calls } = openBreaker();

    const waits = [];
    for (let round = 0; round < 7; round++) {
      waits.push(breaker.retryAfterMs);
      clock.ms += breaker.retryAfterMs ?? 0;
      calls(1, failure);
    }

    expect(waits).toEqual([5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 120_000]);
  });

  it('also stays open longer if it had closed for a moment in between', () => {
    const { breaker, calls } = halfOpenBreaker();

    calls(3, success);
    calls(10, failure);

    expect(breaker.retryAfterMs).toBe(10_000);
  });

  it('ignores results of calls that began before it opened, but adds them to the totals', () => {
    const { breaker, clock, enter, calls, told } = closedBreaker();

    const early = Array.from({ length: 20 }, enter);
    calls(10, failure);
    for (const permit of early.slice(0, 10)) permit.settle(success);
    clock.ms += 5_000;
    const trial = enter();
    for (const permit of early.slice(10)) permit.settle(failure);
    expect(breaker.state).toBe('half_open');
    expect(breaker.snapshot()).toMatchObject({
      totals: { calls: 30, successes: 10, failures: 20 },
      window: { successes: 0, failures: 10 },
    });

    trial.settle(success);
    calls(2, success);
    expect(told.map(([state]) => state)).toEqual(['open', 'half_open', 'closed']);
  });

  it.each([
    [29_999, 20_000],
    [30_000, 10_000],
    [59_999, 10_000],
    [60_000, 5_000],
    [1e12, 5_000],
  ])(
    'takes a doubling back for each full window without trouble: after %d ms it stays open for %d ms',
    (ms, waitMs) => {
      const { breaker, clock, calls } = halfOpenBreaker();
      calls(1, failure);
      clock.ms += 10_000;
      calls(3, success);

      clock.ms += ms;
      expect(breaker.snapshot().recoveryTimeoutMs).toBe(waitMs);
      calls(10, failure);

      expect(breaker.retryAfterMs).toBe(waitMs);
    },
  );

  it('takes doublings back even if the first call after a long time opens it', () => {
    const { breaker, clock, calls } = closedBreaker({ minCalls: 1 });
    calls(1, failure);
    clock.ms += 5_000;
    calls(3, success);

    clock.ms += 30_000;
    calls(1, failure);

    expect(breaker.retryAfterMs).toBe(5_000);
  });

  it('takes none back for a window in which calls failed, though they were too few to open it', () => {
    const { breaker, clock, calls } = halfOpenBreaker();
    calls(3, success);

    for (let window = 0; window < 10; window++) {
      clock.ms += 29_000;
      calls(1, failure);
    }
    clock.ms += 29_000;
    calls(10, failure);

    expect(breaker.retryAfterMs).toBe(10_000);
  });

  it('is down to its first time soon after a long outage', () => {
    const { breaker, clock, calls } = openBreaker();
    for (let round = 0; round < 1_000; round++) {
      clock.ms += breaker.retryAfterMs ?? 0;
      calls(1, failure);
    }
    clock.ms += 120_000;
    calls(3, success);

    clock.ms += 5 * 30_000;
    expect(breaker.snapshot().recoveryTimeoutMs).toBe(5_000);
  });
});

describe('a half-open circuit breaker', () => {
  it('gives a thousand callers of one moment as many permits as it has trials', () => {
    const { breaker } = halfOpenBreaker();

    const permits = Array.from({ length: 1_000 }, () => breaker.enter());

    expect(permits.filter(Boolean)).toHaveLength(3);
    expect(breaker.admits).toBe(false);
  });

  it('closes when all trials have succeeded, with a fresh window', () => {
    const { breaker, enter, calls } = halfOpenBreaker();

    const [first, second, third] = [enter(), enter(), enter()];
    second.settle(success);
    first.settle(success);
    expect(breaker.state).toBe('half_open');
    expect(breaker.enter()).toBeUndefined();

    third.settle(success);
    expect(breaker.state).toBe('closed');
    expect(breaker.snapshot()).toMatchObject({ window: { successes: 0, failures: 0 }, reason: '' });
    calls(1, failure);
    expect(breaker.state).toBe('closed');
  });

  it.each([
    ['failure', failure, 'provider_timeout'],
    ['slow success', slow, 'slow_calls'],
  ])('opens again at the first %s', (_, outcome, reason) => {
    const { breaker, enter, calls } = halfOpenBreaker();

    calls(2, success);
    const last = enter();
    last.settle(outcome);

    expect(breaker.state).toBe('open');
    expect(breaker.snapshot().reason).toBe(reason);
  });

  it('takes the place of a trial back when its caller leaves', () => {
    const { breaker, enter } = halfOpenBreaker();

    const [first] = [enter(), enter(), enter()];
    expect(breaker.enter()).toBeUndefined();
    first.release();
    first.release();

    expect(breaker.enter()).toBeDefined();
    expect(breaker.enter()).toBeUndefined();
    expect(breaker.state).toBe('half_open');
  });

  it('takes the place of a trial back that takes too long', () => {
    const { breaker, clock, enter } = halfOpenBreaker();

    const [late] = [enter(), enter(), enter()];
    clock.ms += 59_999;
    expect(breaker.enter()).toBeUndefined();
    clock.ms += 1;
    const trials = [enter(), enter(), enter()];
    expect(breaker.enter()).toBeUndefined();

    late.release();
    expect(breaker.enter()).toBeUndefined();
    for (const trial of trials) trial.settle(success);
    expect(breaker.state).toBe('closed');
  });

  // With streams of 90 s it stayed half-open for ever: each was done after its place had been given away, and did not count.
  it('judges by a trial all the same that comes to its end after that', () => {
    const { breaker, clock, enter } = halfOpenBreaker();
    const late = [enter(), enter(), enter()];
    clock.ms += 90_000;
    for (const trial of late) trial.settle(success);
    expect(breaker.state).toBe('closed');

    const other = halfOpenBreaker();
    const hanging = other.enter();
    other.clock.ms += 120_000;
    hanging.settle(failure);
    expect(other.breaker.state).toBe('open');
  });

  it('tells callers to come back in a second while its trials are out, or when the oldest loses its permit', () => {
    const { breaker, clock, enter } = halfOpenBreaker();

    for (let trial = 0; trial < 3; trial++) enter();
    expect(breaker.retryAfterMs).toBe(1_000);

    clock.ms += 59_400;
    expect(breaker.retryAfterMs).toBe(600);
    clock.ms += 600;
    expect(breaker.retryAfterMs).toBe(0);
    expect(breaker.admits).toBe(true);
  });

  it('tells them to come at once only when they would get a permit, however the clock rounds', () => {
    const { breaker, clock, enter } = halfOpenBreaker();

    clock.ms = 6_345.285_714_285_715;
    for (let trial = 0; trial < 3; trial++) enter();
    clock.ms += 60_000;

    expect(breaker.retryAfterMs === 0).toBe(breaker.admits);
  });
});

describe('an operator', () => {
  it('holds a breaker open, and lets it go to trials', () => {
    const { breaker, clock, told, calls } = closedBreaker();

    breaker.setHold('open');
    breaker.setHold('open');
    clock.ms += 1e9;
    expect(breaker.enter()).toBeUndefined();
    expect([breaker.state, breaker.hold, breaker.admits, breaker.retryAfterMs]).toEqual([
      'open',
      'open',
      false,
      undefined,
    ]);
    expect(breaker.snapshot()).toMatchObject({
      openedAt: 1_700_000_001_000,
      nextTrialAt: undefined,
      reason: 'operator',
    });

    breaker.setHold(undefined);
    expect([breaker.state, breaker.hold]).toEqual(['half_open', undefined]);
    calls(3, success);
    expect(told).toEqual([
      ['open', 'operator'],
      ['half_open', 'operator'],
      ['closed', ''],
    ]);
  });

  it('holds a breaker closed whatever fails, and lets it go with a fresh window', () => {
    const { breaker, calls, told, enter } = openBreaker();

    breaker.setHold('closed');
    const held = enter();
    calls(100, unreachable);
    expect([breaker.state, breaker.hold]).toEqual(['closed', 'closed']);
    expect(breaker.snapshot()).toMatchObject({ totals: { failures: 110 }, window: { failures: 110 }, reason: '' });

    breaker.setHold(undefined);
    held.settle(failure);
    calls(4, unreachable);
    expect([breaker.state, breaker.hold]).toEqual(['closed', undefined]);
    expect(breaker.snapshot().window.failures).toBe(4);
    expect(told.slice(1)).toEqual([
      ['closed', 'operator'],
      ['closed', 'operator'],
    ]);
  });

  it('finds a doubling taken back that was earned before the hold', () => {
    const { breaker, clock, calls } = halfOpenBreaker();
    calls(3, success);
    clock.ms += 30_000;

    breaker.setHold('open');
    breaker.setHold(undefined);
    calls(1, failure);

    expect(breaker.retryAfterMs).toBe(5_000);
  });

  it('changes one hold for the other', () => {
    const { breaker } = closedBreaker();

    breaker.setHold('closed');
    breaker.setHold('open');
    expect([breaker.state, breaker.hold]).toEqual(['open', 'open']);
    breaker.setHold('closed');
    expect([breaker.state, breaker.hold]).toEqual(['closed', 'closed']);
  });

  it('changes nothing by letting go of a breaker that nobody holds', () => {
    const { breaker, told } = openBreaker();

    breaker.setHold(undefined);

    expect(breaker.state).toBe('open');
    expect(told).toHaveLength(1);
  });

  it('resets a breaker, which forgets its counts, its history, its doublings and its hold', () => {
    const { breaker, clock, enter, calls, told } = closedBreaker();
    const early = enter();
    calls(10, failure);
    clock.ms += 5_000;
    calls(1, failure);
    breaker.setHold('open');

    breaker.reset();
    expect(breaker.snapshot()).toEqual({
      state: 'closed',
      hold: undefined,
      totals: { calls: 0, successes: 0, failures: 0 },
      window: { successes: 0, failures: 0, slow: 0 },
      failureRate: 0,
      lastFailureAt: 1_700_000_006_000,
      lastSuccessAt: undefined,
      recoveryTimeoutMs: 5_000,
      openedAt: undefined,
      nextTrialAt: undefined,
      reason: '',
      timesOpened: 2,
      history: [],
    });
    expect(told.at(-1)).toEqual(['closed', 'operator']);

    early.settle(unreachable);
    calls(4, unreachable);
    expect(breaker.state).toBe('closed');
  });

  it('tells nobody of a reset that changes no state', () => {
    const { breaker, told, calls } = closedBreaker();

    calls(5, failure);
    breaker.reset();

    expect(told).toEqual([]);
    expect(breaker.snapshot().window.failures).toBe(0);
  });
});

describe('a circuit breaker', () => {
  it('tells people when it opened, when it will try again, and how things went', () => {
    const { breaker, clock, calls } = closedBreaker();

    calls(4, success);
    clock.ms += 1_000;
    calls(4, failure);
    calls(2, slow);
    clock.ms += 1_000;
    clock.random = 0;
    calls(2, failure);

    clock.ms += 500;
    expect(breaker.snapshot()).toMatchObject({
      state: 'open',
      totals: { calls: 12, successes: 6, failures: 6 },
      window: { successes: 6, failures: 6, slow: 2 },
      failureRate: 0.5,
      lastSuccessAt: 1_700_000_002_000,
      lastFailureAt: 1_700_000_003_000,
      recoveryTimeoutMs: 5_000,
      openedAt: 1_700_000_003_000,
      nextTrialAt: 1_700_000_007_000,
      reason: 'provider_timeout',
      timesOpened: 1,
    });

    clock.ms += 4_000;
    expect(breaker.snapshot()).toMatchObject({
      state: 'half_open',
      recoveryTimeoutMs: 10_000,
      openedAt: undefined,
      nextTrialAt: undefined,
      reason: 'provider_timeout',
      timesOpened: 1,
    });
  });

  it('remembers the last hundred things that happened, oldest first', () => {
    const { breaker, clock, calls } = closedBreaker();

    calls(60, success);
    clock.ms += 1;
    calls(60, failure);
    clock.ms += 5_000;
    calls(1, slow);

    const { history } = breaker.snapshot();
    expect(history).toHaveLength(100);
    expect(history.slice(0, 36).every(({ outcome }) => outcome === 'success')).toBe(true);
    expect(history.slice(36, 96).every(({ outcome }) => outcome === 'failure')).toBe(true);
    expect(history.slice(-5)).toEqual([
      { at: 1_700_000_001_001, outcome: 'failure', state: undefined, reason: 'provider_timeout' },
      { at: 1_700_000_001_001, outcome: undefined, state: 'open', reason: 'provider_timeout' },
      { at: 1_700_000_006_001, outcome: undefined, state: 'half_open', reason: '' },
      { at: 1_700_000_006_001, outcome: 'slow', state: undefined, reason: '' },
      { at: 1_700_000_006_001, outcome: undefined, state: 'open', reason: 'slow_calls' },
    ]);
  });

  it('begins a new history when it is reset', () => {
    const { breaker, clock, calls } = closedBreaker();

    calls(130, success);
    breaker.reset();
    for (let call = 0; call < 40; call++) {
      clock.ms++;
      calls(1, success);
    }

    const times = breaker.snapshot().history.map(({ at }) => at - 1_700_000_000_000);
    expect(times).toEqual(Array.from({ length: 40 }, (_, call) => 1_001 + call));
  });

  it('keeps its state and its counts when its settings change', () => {
    const { breaker, calls } = closedBreaker();

    calls(4, failure);
    breaker.configure({ ...settings, minCalls: 5 });
    calls(1, failure);
    expect(breaker.state).toBe('open');

    breaker.configure(settings);
    expect([breaker.state, breaker.retryAfterMs]).toEqual(['open', 5_000]);
  });

  it('begins an empty window when that changes its length', () => {
    const { breaker, calls } = closedBreaker();

    calls(9, failure);
    breaker.configure({ ...settings, windowMs: 10_000 });

    calls(9, failure);
    expect(breaker.state).toBe('closed');
  });

  it('closes at once if as many trials as are now wanted have succeeded', () => {
    const { breaker, calls } = halfOpenBreaker();

    calls(2, success);
    breaker.configure({ ...settings, halfOpenCalls: 2 });

    expect(breaker.state).toBe('closed');
  });
});
