import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arrivals, ranksOf } from '../../src/admission/arrivals.ts';
import { InFlight } from '../../src/admission/in-flight.ts';
import { Overload, type OverloadOptions, overloaded } from '../../src/admission/overload.ts';
import { GatewayError } from '../../src/errors.ts';
import { ShedCounts } from '../../src/telemetry/shed-counts.ts';

function overloadOf(more: Partial<OverloadOptions> = {}): Overload {
  return new Overload({
    loopDelayMs: 100,
    lateSamples: 3,
    stopCachingAt: 0.85,
    refuseAt: 0.95,
    ranks: 3,
    random: () => 0,
    intoTurnMs: () => 0,
    ...more,
  });
}

function late(overload: Overload, samples: number, turnMs = 150): Overload {
  for (let at = 0; at < samples; at++) overload.sample({ turnMs, memoryShare: 0 });
  return overload;
}

const filled = (overload: Overload, memoryShare: number) => overload.sample({ turnMs: 0, memoryShare });
const shares = (overload: Overload) => [0, 1, 2].map((rank) => Math.round(overload.refusedShare(rank) * 100) / 100);

describe('a late event loop', () => {
  it('rations calls by the turn', () => {
    const overload = late(overloadOf({ intoTurnMs: () => 20 }), 2, 15);
    expect(overload.isOn).toBe(false);
    late(overload, 1, 15);
    for (let call = 0; call < 8; call++) expect(overload.refusal(0)).toBeUndefined();
    expect(overload.refusal(0)).toMatchObject({
      reason: 'overloaded',
      message: 'the gateway has more to do than it can',
    });
    expect(shares(late(overload, 20, 90))).toEqual([0, 0, 0]);
  });

  it('that stays above the bound all the same refuses a tenth more with each sample, one class after the other', () => {
    const overload = late(overloadOf(), 6);
    expect(shares(overload)).toEqual([0, 0, 0]);
    expect(shares(late(overload, 1))).toEqual([0.1, 0, 0]);
    expect(shares(late(overload, 9))).toEqual([1, 0, 0]);
    expect(shares(late(overload, 5))).toEqual([1, 0.5, 0]);
    expect(shares(late(overload, 100))).toEqual([1, 1, 1]);
  });

  it('refuses as many as before while turns are between half the bound and the bound', () => {
    const overload = late(overloadOf(), 11);
    expect(shares(late(overload, 20, 51))).toEqual([0.5, 0, 0]);
    expect(shares(late(overload, 20, 100))).toEqual([0.5, 0, 0]);
  });

  it('is forgotten within three seconds once it is in time again', () => {
    const overload = late(overloadOf(), 100);
    late(overload, 12, 0);
    expect(overload.isOn).toBe(false);
    expect(overload.refusal(0)).toBeUndefined();
  });

  it('is no matter where its bound is 0', () => {
    expect(late(overloadOf({ loopDelayMs: 0 }), 100, 10_000).isOn).toBe(false);
  });

  it('refuses the share of calls that is to be refused', () => {
    let at = 1;
    const random = () => {
      at = (at * 48271) % 2147483647;
      return at / 2147483647;
    };
    const overload = late(overloadOf({ random }), 9);
    const refused = Array.from({ length: 1000 }, () => overload.refusal(0)).filter(Boolean).length;
    expect(refused).toBeGreaterThan(250);
    expect(refused).toBeLessThan(350);
    expect(overload.refusal(1)).toBeUndefined();
  });
});

describe('memory', () => {
  it('that fills up stops the cache, then refuses calls, the lowest class first', () => {
    const overload = overloadOf();
    filled(overload, 0.84);
    expect([overload.mayCache, overload.isOn]).toEqual([true, false]);
    filled(overload, 0.85);
    expect([overload.mayCache, overload.isOn]).toEqual([false, false]);
    filled(overload, 0.95);
    expect(shares(overload)).toEqual([1, 0, 0]);
    filled(overload, 0.97);
    expect(shares(overload)).toEqual([1, 1, 0]);
    filled(overload, 0.99);
    expect(shares(overload)).toEqual([1, 1, 1]);
  });

  it('is well again only a little below its bounds', () => {
    const overload = overloadOf();
    filled(overload, 0.96);
    filled(overload, 0.91);
    expect([overload.isOn, overload.mayCache]).toEqual([true, false]);
    filled(overload, 0.89);
    expect([overload.isOn, overload.mayCache]).toEqual([false, false]);
    filled(overload, 0.81);
    expect(overload.mayCache).toBe(false);
    filled(overload, 0.79);
    expect(overload.mayCache).toBe(true);
  });

  it('refuses nobody where its bound is 1', () => {
    const overload = overloadOf({ refuseAt: 1 });
    filled(overload, 1);
    expect([overload.isOn, overload.mayCache]).toEqual([false, false]);
  });

  it('that is full is named in the refusal', () => {
    const overload = overloadOf();
    filled(overload, 0.96);
    expect(overload.refusal(0)?.message).toBe('the gateway is out of memory: 96 % is in use');
  });
});

describe('whatever the load', () => {
  it('no class is refused more often than one below it, and all of it passes', () => {
    const load = fc.record({
      turnMs: fc.integer({ min: 0, max: 300 }),
      memoryShare: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(load, { maxLength: 60 }), (loads) => {
        const overload = overloadOf();
        for (const each of loads) {
          overload.sample(each);
          const [low, middle, high] = [0, 1, 2].map((rank) => overload.refusedShare(rank)) as [number, number, number];
          expect(low >= middle && middle >= high && high >= 0 && low <= 1).toBe(true);
          if (low > 0) expect(overload.isOn).toBe(true);
        }
        for (let at = 0; at < 20; at++) overload.sample({ turnMs: 0, memoryShare: 0 });
        expect([overload.isOn, overload.mayCache]).toEqual([false, true]);
      }),
    );
  });
});

describe('a refusal', () => {
  it.each([
    [0, 1000],
    [0.34, 2000],
    [0.999, 3000],
  ])('asks to come again in one to three seconds: at random %d, in %d ms', (random, retryAfterMs) => {
    expect(overloaded('too much', () => random)).toMatchObject({ reason: 'overloaded', retryAfterMs });
  });
});

describe('calls that arrive', () => {
  const principal = (tier: string) => ({ name: 'n', tier, models: [], admin: false });
  const ranks = ranksOf([
    // However many calls a variable allows it.
    { name: 'default', capacity: 1_000_000 },
    { name: 'premium', capacity: 500 },
    { name: 'enterprise', capacity: 1000 },
  ]);

  function gate(limit: number, known = ranks) {
    const counts = new ShedCounts();
    const inFlight = new InFlight(limit, () => 0.5);
    const overload = overloadOf();
    return {
      counts,
      inFlight,
      overload,
      arrive: arrivals({ inFlight, overload, ranks: known, counts, mostHeld: 2, holdMs: () => 20 }),
    };
  }

  it('have a place while they are read, and then one in flight', () => {
    const { arrive, inFlight } = gate(2, new Map());
    const read = arrive(principal('default')) as () => void;
    arrive(principal('default'));
    expect(() => arrive(principal('default'))).toThrow('2 calls are in flight, the limit is 2');
    read();
    read();
    inFlight.enter();
    expect(() => arrive(principal('default'))).toThrow(GatewayError);
    inFlight.leave();
    arrive(principal('default'));
    expect(() => arrive(principal('default'))).toThrow(GatewayError);
  });

  it('find fewer places the lower their class', () => {
    const { arrive, counts } = gate(10);
    const fill = (tier: string) => {
      let count = 0;
      try {
        for (; ; count++) arrive(principal(tier));
      } catch {
        return count;
      }
    };
    expect([fill('default'), fill('premium'), fill('unknown'), fill('enterprise')]).toEqual([8, 1, 0, 1]);
    expect(counts).toMatchObject({ inFlight: 4, overload: 0, total: 4 });
  });

  it('have all places where all callers are of one class', () => {
    const { arrive } = gate(10, ranksOf([{ name: 'premium', capacity: 500 }]));
    for (let at = 0; at < 10; at++) arrive(principal('premium'));
    expect(() => arrive(principal('premium'))).toThrow('limit is 10');
  });

  it('are refused under overload, in a while, the higher classes later', async () => {
    const { arrive, overload, counts } = gate(100);
    late(overload, 16);
    await expect(arrive(principal('default'))).rejects.toThrow('more to do than it can');
    expect(arrive(principal('premium'))).toBeTypeOf('function');
    expect(counts).toMatchObject({ inFlight: 0, overload: 1 });
  });

  it('are told late that there is no place, as long as the event loop is', async () => {
    const { arrive, overload, counts } = gate(1, new Map());
    arrive(principal('default'));
    late(overload, 1);
    await expect(arrive(principal('default'))).rejects.toThrow('1 calls are in flight, the limit is 1');
    late(overload, 1, 0);
    expect(() => arrive(principal('default'))).toThrow('the limit is 1');
    expect(counts).toMatchObject({ inFlight: 2, overload: 0 });
  });

  it('that only find no place keep no rationing up', async () => {
    const { arrive, overload } = gate(1, new Map());
    arrive(principal('default'));
    late(overload, 3, 50);
    const refused = Array.from({ length: 2 }, () => arrive(principal('default')));
    late(overload, 4, 0.3);
    expect(overload.isOn).toBe(false);
    expect((await Promise.allSettled(refused)).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('are refused at once where many wait for their refusals, or memory is full', async () => {
    const { arrive, overload } = gate(100);
    late(overload, 16);
    const held = [arrive(principal('default')), arrive(principal('default'))];
    expect(() => arrive(principal('default'))).toThrow('more to do than it can');
    expect((await Promise.allSettled(held)).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await expect(arrive(principal('default'))).rejects.toThrow('more to do than it can');
    overload.sample({ turnMs: 0, memoryShare: 0.99 });
    expect(() => arrive(principal('default'))).toThrow('out of memory');
  });
});
