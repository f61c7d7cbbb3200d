import { describe, expect, it } from 'vitest';
import { CircuitHold, CircuitState } from '../../gen/llmgateway/v1/provider_pb.ts';
import { Guards } from '../../src/attempt/guards.ts';
import { noLimits } from '../../src/attempt/provider-guard.ts';
import { Seat } from '../../src/attempt/target-guard.ts';
import { GatewayError, type Reason } from '../../src/errors.ts';

const limits = {
  unaryMs: 60_000,
  firstTokenMs: 30_000,
  idleMs: 30_000,
  slowFirstTokenMs: 15_000,
  slowUnaryMs: 30_000,
};

const silentRecord = { begin() {}, firstContent() {}, end() {} };

/** Guards of the provider `p` on a clock of their own, which judge from two calls on. */
function openGuards(providerLimits: Partial<typeof noLimits> = {}) {
  const clock = { ms: 0 };
  const guards = new Guards({
    settings: {
      breaker: {
        windowMs: 30_000,
        minCalls: 2,
        failureRatio: 0.5,
        slowCallRatio: 0.8,
        openForMs: 5_000,
        maxOpenForMs: 120_000,
        halfOpenCalls: 3,
        trialMs: 60_000,
      },
      budgetRatio: 0.2,
    },
    limitsOf: () => ({ ...noLimits, ...providerLimits }),
    recordOf: () => silentRecord,
    clock: { now: () => clock.ms, wall: () => 1_000_000 + clock.ms, random: () => 0.5 },
  });
  const enter = (model: string): Seat => {
    const seat = guards.of('p', model).enter(false, limits);
    if (!(seat instanceof Seat)) throw new Error(`${model} refuses: ${seat.words}`);
    return seat;
  };
  return {
    guards,
    clock,
    enter,
    fail: (model: string, reason: Reason = 'provider_unavailable', retryAfterMs?: number) =>
      enter(model).failed(new GatewayError(reason, 'it fails', { retryAfterMs })),
    succeed: (model: string) => enter(model).succeeded(),
    why: (model: string) => guards.of('p', model).refusal()?.why,
    whole: () => guards.breakersOf('p').whole,
  };
}

describe('a hold on a whole provider', () => {
  it('outlives the reset of one of its models', () => {
    const { guards } = openGuards();
    guards.of('p', 'a');
    guards.hold('p', '', 'open');
    guards.reset('p', 'a');
    expect(guards.of('p', 'a').refusal()?.why).toBe('circuit_open');
    guards.reset('p', '');
    expect(guards.of('p', 'a').refusal()).toBeUndefined();
  });

  it('keeps calls from every model, called before or not', () => {
    const { guards, succeed, why } = openGuards();
    succeed('a');

    guards.hold('p', '', 'open');

    expect([why('a'), why('never called')]).toEqual(['circuit_open', 'circuit_open']);
    expect(guards.of('p', 'a').refusal()?.retryAfterMs).toBeUndefined();
  });

  it('begins with trials once it is let go', () => {
    const { guards, succeed, enter, why } = openGuards();
    succeed('a');
    guards.hold('p', '', 'open');

    guards.hold('p', '', undefined);

    expect(guards.of('p', 'a').breaker.state).toBe('half_open');
    for (let trial = 0; trial < 3; trial++) enter('a');
    expect(why('a')).toBe('circuit_open');
  });

  it('lets calls pass whatever fails, and counts them', () => {
    const { guards, fail, whole } = openGuards();
    guards.hold('p', '', 'closed');

    for (let call = 0; call < 5; call++) fail('a');

    expect(whole()).toMatchObject({ state: CircuitState.CLOSED, hold: CircuitHold.CLOSED, totalFailures: 5 });
  });

  it('gives way to a later word about one model', () => {
    const { guards, succeed, why } = openGuards();
    succeed('a');
    guards.hold('p', '', 'open');

    guards.hold('p', 'a', undefined);

    expect([why('a'), why('b')]).toEqual([undefined, 'circuit_open']);
  });

  it('ends with a reset', () => {
    const { guards, why, whole } = openGuards();
    guards.hold('p', '', 'open');

    expect(guards.reset('p', '')).toBe(true);

    expect([why('a'), whole().hold, whole().state]).toEqual([undefined, CircuitHold.UNSPECIFIED, CircuitState.CLOSED]);
  });
});

describe('a reset', () => {
  it('of one model leaves the others as they are', () => {
    const { guards, fail, why } = openGuards();
    for (const model of ['a', 'b']) for (let call = 0; call < 2; call++) fail(model);
    expect([why('a'), why('b')]).toEqual(['circuit_open', 'circuit_open']);

    expect(guards.reset('p', 'a')).toBe(true);

    expect([why('a'), why('b')]).toEqual([undefined, 'circuit_open']);
  });

  it('of a model that nobody has called tells so', () => {
    expect(openGuards().guards.reset('p', 'a')).toBe(false);
  });

  it('ends a cool-down', () => {
    const { guards, fail, why } = openGuards();
    fail('a', 'provider_rate_limited', 60_000);
    expect(why('a')).toBe('rate_limited');

    guards.reset('p', '');

    expect(why('a')).toBeUndefined();
  });
});

describe('how a provider stands', () => {
  it('is how the worst of its models does', () => {
    const { guards, clock, fail, succeed } = openGuards();
    succeed('a');
    expect(guards.standingOf('p').circuitState).toBe(CircuitState.CLOSED);

    for (let call = 0; call < 2; call++) fail('b');
    expect(guards.standingOf('p').circuitState).toBe(CircuitState.OPEN);

    clock.ms = 6_000;
    expect(guards.standingOf('p').circuitState).toBe(CircuitState.HALF_OPEN);
  });

  it('is held open before anybody has called it', () => {
    const { guards } = openGuards();
    guards.hold('p', '', 'open');
    expect(guards.standingOf('p').circuitState).toBe(CircuitState.OPEN);
  });

  it('is limited once all its models are, until the first of them is free', () => {
    const { guards, fail, succeed } = openGuards();
    succeed('b');
    fail('a', 'provider_rate_limited', 9_000);
    expect(guards.standingOf('p').limitedForMs).toBe(0);

    fail('b', 'provider_rate_limited', 4_000);
    expect(guards.standingOf('p').limitedForMs).toBe(4_000);
  });

  it('is limited by our own limits, which say what is left while the provider does not', () => {
    const { guards, enter, clock } = openGuards({ requestsPerMinute: 3, requestsPerSecond: 2 });
    expect(guards.standingOf('p')).toMatchObject({ remaining: 2, limitedForMs: 0 });

    const seat = enter('a');
    enter('b');
    expect(guards.standingOf('p')).toMatchObject({ remaining: 0, limitedForMs: 1_000 });

    clock.ms = 1_000;
    expect(guards.standingOf('p')).toMatchObject({ remaining: 1, limitedForMs: 0 });
    seat.responded(42, undefined);
    expect(guards.standingOf('p').remaining).toBe(42);
  });

  it('knows of no limit where there is none', () => {
    expect(openGuards().guards.standingOf('p')).toEqual({
      circuitState: CircuitState.CLOSED,
      queueLength: 0,
      remaining: undefined,
      limitedForMs: 0,
    });
  });

  it('counts who waits for a place', async () => {
    const { guards, enter } = openGuards({ maxConcurrent: 1 });
    const seat = enter('a');
    const waiting = guards.of('p', 'b').enterWhenFree(false, limits, new AbortController().signal);
    expect(guards.standingOf('p').queueLength).toBe(1);

    seat.succeeded();

    await waiting;
    expect(guards.standingOf('p').queueLength).toBe(0);
  });
});

describe('a provider may be asked for its models', () => {
  it('unless a breaker of it is open, or held open', () => {
    const { guards, fail, clock } = openGuards();
    expect(guards.mayAsk('p')).toBe(true);
    for (let call = 0; call < 2; call++) fail('a');
    expect(guards.mayAsk('p')).toBe(false);

    clock.ms = 6_000;
    expect(guards.mayAsk('p')).toBe(true);
    guards.hold('p', '', 'open');
    expect(guards.mayAsk('p')).toBe(false);
  });

  it('unless it has asked to be left alone', () => {
    const { guards, fail, clock } = openGuards();
    fail('a', 'provider_rate_limited', 9_000);
    expect(guards.mayAsk('p')).toBe(false);
    clock.ms = 9_000;
    expect(guards.mayAsk('p')).toBe(true);
  });
});

describe('the guards of models that callers make up', () => {
  it('are forgotten above a thousand, the longest unused first, but not those that have something to remember', () => {
    const { guards, clock, enter, fail } = openGuards();
    fail('cooling', 'provider_rate_limited', 60_000);
    const busy = enter('busy');
    for (let model = 0; model < 998; model++) {
      clock.ms++;
      enter(`made-up-${model}`).succeeded();
    }
    clock.ms++;
    enter('made-up-0').succeeded();
    const [first, second] = [guards.of('p', 'made-up-0'), guards.of('p', 'made-up-1')];

    enter('one-more').succeeded();

    expect(guards.of('p', 'made-up-0')).toBe(first);
    expect(guards.of('p', 'cooling').coolMs).toBeGreaterThan(0);
    busy.succeeded();
    expect(guards.of('p', 'busy').breaker.snapshot().totals.successes).toBe(1);
    expect(guards.of('p', 'made-up-1')).not.toBe(second);
  });
});
