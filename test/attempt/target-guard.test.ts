import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ProviderGuard, type ProviderLimits } from '../../src/attempt/provider-guard.ts';
import { type Refusal, Seat, TargetGuard, type Verdict } from '../../src/attempt/target-guard.ts';
import { errorTable, GatewayError, type GatewayErrorOptions, type Reason } from '../../src/errors.ts';
import { Stop } from '../../src/stop.ts';

const limits = {
  unaryMs: 60_000,
  firstTokenMs: 30_000,
  idleMs: 30_000,
  slowFirstTokenMs: 1_000,
  slowUnaryMs: 5_000,
};
const breaker = {
  windowMs: 30_000,
  minCalls: 10,
  failureRatio: 0.5,
  slowCallRatio: 0.8,
  openForMs: 5_000,
  maxOpenForMs: 120_000,
  halfOpenCalls: 3,
  trialMs: 60_000,
};
const settings = { breaker, budgetRatio: 0.2 };

/** The guards of two targets of one provider, on a clock of their own. */
function openGuard(providerLimits: Partial<ProviderLimits> = {}) {
  const clock = { ms: 0, now: () => clock.ms, wall: () => clock.ms, random: () => 0.5 };
  const provider = new ProviderGuard(
    { requestsPerMinute: 0, requestsPerSecond: 0, maxConcurrent: 0, ...providerLimits },
    clock,
  );
  const told: unknown[][] = [];
  const record = {
    begin: (streaming: boolean) => told.push(['begin', streaming]),
    firstContent: (afterMs: number) => told.push(['firstContent', afterMs]),
    end: (verdict: Verdict, afterMs: number) => told.push(['end', verdict, afterMs]),
  };
  const [guard, sibling] = [record, { begin() {}, firstContent() {}, end() {} }].map(
    (each) => new TargetGuard(settings, provider, each, clock),
  ) as [TargetGuard, TargetGuard];
  const enter = (of = guard, streaming = false): Seat => {
    const seat = of.enter(streaming, limits);
    if (!(seat instanceof Seat)) throw new Error(seat.words);
    return seat;
  };
  return {
    clock,
    provider,
    guard,
    sibling,
    told,
    enter,
    fail: (reason: Reason, options: GatewayErrorOptions & { anotherKey?: boolean } = {}) =>
      enter().failed(
        Object.assign(new GatewayError(reason, 'made up', options), { anotherKey: options.anotherKey ?? false }),
      ),
  };
}

const limited = (retryAfterMs: number) => expect.objectContaining({ why: 'rate_limited', retryAfterMs, busy: false });

describe('the guard of a target', () => {
  it('lets calls pass as long as nothing speaks against it', () => {
    const { guard, enter } = openGuard();
    for (let call = 0; call < 100; call++) enter().succeeded();
    expect(guard.refusal()).toBeUndefined();
  });

  it('lets no call pass while its breaker is open, and says for how long', () => {
    const { guard, clock, fail } = openGuard();
    for (let call = 0; call < 10; call++) fail('provider_unavailable');
    expect(guard.enter(false, limits)).toEqual({
      why: 'circuit_open',
      retryAfterMs: 5_000,
      busy: false,
      words: 'its circuit breaker is open',
    });
    clock.ms += 5_000;
    expect(guard.refusal()).toBeUndefined();
  });

  it('lets as many calls pass on trial as may be, and the others none', () => {
    const { guard, clock, fail } = openGuard();
    for (let call = 0; call < 10; call++) fail('provider_unavailable');
    clock.ms += 5_000;
    const entered = Array.from({ length: 1_000 }, () => guard.enter(false, limits));
    expect(entered.filter((seat) => seat instanceof Seat)).toHaveLength(3);
    expect(entered[3]).toMatchObject({ why: 'circuit_open', words: expect.stringContaining('on trial') });
    for (const seat of entered) if (seat instanceof Seat) seat.succeeded();
    expect(guard.breaker.state).toBe('closed');
  });

  it('waits for nobody where an operator holds it open', () => {
    const { guard } = openGuard();
    guard.breaker.setHold('open');
    expect(guard.refusal()).toMatchObject({ why: 'circuit_open', retryAfterMs: undefined });
  });

  it.each(Object.entries(errorTable))('judges %s by the error table', (reason, { blames }) => {
    const { guard, fail, told } = openGuard();
    fail(reason as Reason);
    expect(guard.breaker.snapshot().totals.failures).toBe(blames === 'yes' ? 1 : 0);
    expect(guard.coolMs > 0).toBe(blames === 'cools');
    const verdict = blames === 'no' ? 'nothing' : { ok: false, reason };
    expect(told).toEqual([
      ['begin', false],
      ['end', verdict, 0],
    ]);
  });

  it('gives the place of a trial back whose call tells nothing', () => {
    const { guard, clock, enter, fail } = openGuard();
    for (let call = 0; call < 10; call++) fail('provider_unavailable');
    clock.ms += 5_000;
    for (let call = 0; call < 10; call++) enter().abandoned();
    for (let call = 0; call < 10; call++) fail('provider_rejected');
    expect(guard.breaker.state).toBe('half_open');
    expect(guard.refusal()).toBeUndefined();
  });

  it.each([
    ['streams by their first content', true, 1_000],
    ['whole answers by another measure', false, 5_000],
  ])('finds %s slow', (_, streaming, slowMs) => {
    for (const [afterMs, slow] of [
      [slowMs, 0],
      [slowMs + 1, 1],
    ] as const) {
      const { guard, clock, enter } = openGuard();
      const seat = enter(guard, streaming);
      clock.ms += afterMs;
      seat.firstContent();
      // What follows the first content does not count.
      clock.ms += 60_000;
      seat.succeeded();
      expect(guard.breaker.snapshot().window.slow).toBe(slow);
    }
  });

  it('tells its record when content came and how it ended', () => {
    const { clock, guard, told, enter } = openGuard();
    const seat = enter(guard, true);
    clock.ms += 30;
    seat.firstContent();
    clock.ms += 40;
    seat.succeeded();
    enter(guard, true).abandoned();
    expect(told).toEqual([
      ['begin', true],
      ['firstContent', 30],
      ['end', { ok: true }, 70],
      ['begin', true],
      ['end', 'nothing', 0],
    ]);
  });

  describe('cools down', () => {
    it('for as long as it was told, apart from its siblings', () => {
      const { guard, sibling, clock, fail } = openGuard();
      fail('provider_rate_limited', { retryAfterMs: 7_000 });
      expect(guard.refusal()).toEqual(limited(7_000));
      expect(sibling.refusal()).toBeUndefined();
      clock.ms += 6_999;
      expect(guard.refusal()).toEqual(limited(1));
      clock.ms += 1;
      expect(guard.refusal()).toBeUndefined();
    });

    it('for ten minutes at most', () => {
      const { guard, fail } = openGuard();
      fail('provider_rate_limited', { retryAfterMs: 86_400_000 });
      expect(guard.coolMs).toBe(600_000);
    });

    it('after a 503 that names a time, which is a failure all the same, and after no other', () => {
      const { guard, clock, fail } = openGuard();
      fail('provider_unavailable', { retryAfterMs: 2_000 });
      expect(guard.coolMs).toBe(2_000);
      clock.ms += 2_000;
      fail('provider_unavailable');
      expect(guard.coolMs).toBe(0);
      expect(guard.breaker.snapshot().totals.failures).toBe(2);
    });

    it('for twice as long each time it is limited and does not say for how long, until it answers', () => {
      const { guard, clock, fail, enter } = openGuard();
      const cooled: number[] = [];
      for (let time = 0; time < 7; time++) {
        fail('provider_rate_limited');
        cooled.push(guard.coolMs);
        clock.ms += guard.coolMs;
      }
      expect(cooled).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
      enter().succeeded();
      fail('provider_rate_limited');
      expect(guard.coolMs).toBe(1_000);
    });

    it('for a minute where a quota is used up', () => {
      const { guard, fail } = openGuard();
      fail('provider_quota');
      expect(guard.coolMs).toBe(60_000);
    });

    it('not where another key may be taken', () => {
      const { guard, fail } = openGuard();
      fail('provider_rate_limited', { retryAfterMs: 7_000, anotherKey: true });
      expect(guard.refusal()).toBeUndefined();
    });

    it('where an answer says that nothing is left', () => {
      const { guard, provider, enter } = openGuard();
      const seat = enter();
      seat.responded(0, 3_000);
      seat.succeeded();
      expect([guard.refusal(), provider.remaining]).toEqual([limited(3_000), 0]);
      expect(guard.breaker.snapshot().totals).toMatchObject({ successes: 1, failures: 0 });
    });

    it('no shorter for a later word, until it is warmed up', () => {
      const { guard } = openGuard();
      guard.coolDown(5_000);
      guard.coolDown(1_000);
      expect(guard.coolMs).toBe(5_000);
      guard.warmUp();
      expect(guard.refusal()).toBeUndefined();
    });
  });

  describe('keeps our limits on the provider', () => {
    it.each([
      ['requestsPerSecond', 1_000],
      ['requestsPerMinute', 60_000],
    ] as const)('of %s over all its targets', (name, windowMs) => {
      const { guard, sibling, clock, enter } = openGuard({ [name]: 2 });
      enter(guard).succeeded();
      clock.ms += 300;
      enter(sibling).abandoned();
      for (const each of [guard, sibling]) expect(each.refusal()).toEqual(limited(windowMs - 300));
      clock.ms += windowMs - 300;
      enter(sibling).succeeded();
      expect(guard.refusal()).toEqual(limited(300));
    });

    it('and takes nothing where it lets nobody pass', () => {
      const { guard, clock, enter, fail } = openGuard({ requestsPerMinute: 20 });
      for (let call = 0; call < 10; call++) fail('provider_unavailable');
      for (let call = 0; call < 100; call++) guard.enter(false, limits);
      clock.ms += 5_000;
      for (let call = 0; call < 10; call++) enter().succeeded();
      expect(guard.refusal()).toMatchObject({ why: 'rate_limited' });
    });

    it('of calls at once, until one leaves, however it ends', () => {
      for (const how of ['succeeded', 'abandoned', 'failed'] as const) {
        const { guard, sibling, enter } = openGuard({ maxConcurrent: 2 });
        const seats = [enter(guard), enter(sibling)];
        expect(guard.enter(false, limits)).toMatchObject({ why: 'rate_limited', busy: true, retryAfterMs: 1_000 });
        if (how === 'failed') seats[1]?.failed(new GatewayError('provider_rejected', 'no'));
        else seats[1]?.[how]();
        expect(guard.enter(false, limits)).toBeInstanceOf(Seat);
        expect(guard.enter(false, limits)).toMatchObject({ busy: true });
      }
    });

    it('of calls at once also where a trial was refused', () => {
      const { guard, provider, fail, clock } = openGuard({ maxConcurrent: 50 });
      for (let call = 0; call < 10; call++) fail('provider_unavailable');
      clock.ms += 5_000;
      for (let call = 0; call < 100; call++) guard.enter(false, limits);
      expect(provider.places.active).toBe(3);
    });
  });

  describe('with a line before it', () => {
    beforeEach(() => void vi.useFakeTimers());
    afterEach(() => void vi.useRealTimers());

    it('lets the first in line pass once somebody leaves', async () => {
      const { guard, provider, enter } = openGuard({ maxConcurrent: 1 });
      const seat = enter();
      const waiting = guard.enterWhenFree(false, limits, new Stop());
      expect(provider.places.waiting).toBe(1);
      seat.succeeded();
      expect(await waiting).toBeInstanceOf(Seat);
      expect([provider.places.active, provider.places.waiting]).toEqual([1, 0]);
    });

    it('lets nobody wait for longer than a second', async () => {
      const { guard, provider, enter } = openGuard({ maxConcurrent: 1 });
      enter();
      const waiting = guard.enterWhenFree(false, limits, new Stop());
      await vi.advanceTimersByTimeAsync(1_000);
      expect(await waiting).toMatchObject({ why: 'rate_limited', busy: true });
      expect(provider.places.waiting).toBe(0);
    });

    it('lets nobody pass when something else stands in the way by then', async () => {
      for (const [close, why] of [
        [({ guard }: ReturnType<typeof openGuard>) => guard.breaker.setHold('open'), 'circuit_open'],
        [({ guard }: ReturnType<typeof openGuard>) => guard.coolDown(100), 'rate_limited'],
      ] as const) {
        const all = openGuard({ maxConcurrent: 1 });
        const seat = all.enter();
        const waiting = all.guard.enterWhenFree(false, limits, new Stop());
        close(all);
        seat.succeeded();
        expect(await waiting).toMatchObject({ why, busy: false } satisfies Partial<Refusal>);
        expect(all.provider.places.active).toBe(0);
      }
    });

    it('forgets who leaves', async () => {
      const { guard, provider, enter } = openGuard({ maxConcurrent: 1 });
      const seat = enter();
      const stop = new Stop();
      const waiting = guard.enterWhenFree(false, limits, stop);
      stop.abort(new GatewayError('cancelled', 'gone'));
      await expect(waiting).rejects.toMatchObject({ reason: 'cancelled' });
      seat.succeeded();
      expect([provider.places.active, provider.places.waiting, vi.getTimerCount()]).toEqual([0, 0, 0]);
    });
  });

  it('is idle as long as nothing would be lost with it', () => {
    const { guard, enter, fail, clock } = openGuard();
    expect(guard.idle).toBe(true);
    const seat = enter();
    expect(guard.idle).toBe(false);
    seat.succeeded();
    expect(guard.idle).toBe(true);
    fail('provider_rate_limited', { retryAfterMs: 100 });
    expect(guard.idle).toBe(false);
    clock.ms += 100;
    expect(guard.idle).toBe(true);
    while (guard.breaker.state === 'closed') fail('provider_unavailable');
    expect(guard.idle).toBe(false);
  });

  it('keeps what it has learnt under another configuration', () => {
    const { guard, provider, fail, enter } = openGuard({ requestsPerMinute: 100 });
    for (let call = 0; call < 10; call++) fail('provider_unavailable');
    guard.configure({ breaker: { ...breaker, openForMs: 1 }, budgetRatio: 0 });
    provider.configure({ requestsPerMinute: 5, requestsPerSecond: 0, maxConcurrent: 0 });
    expect(guard.refusal()).toMatchObject({ why: 'circuit_open', retryAfterMs: 5_000 });
    expect(guard.budget.spend()).toBe(false);
    guard.breaker.reset();
    expect(guard.refusal()).toMatchObject({ why: 'rate_limited' });
    expect(() => enter()).toThrow('limit of calls');
  });
});
