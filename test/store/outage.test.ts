import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryLimits } from '../../src/store/memory.ts';
import { OutageLimits, type OutageLimitsOptions } from '../../src/store/outage.ts';
import type { RedisLimits } from '../../src/store/redis.ts';
import { StoreAway } from '../../src/store/redis-guard.ts';
import type { Limit, LimitStore, Taken } from '../../src/store/store.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { admitted, budget, LEASE_MS, requests, slots, tokens } from './limit-suite.ts';
import { openRedisLimits } from './open-redis.ts';
import { SOME_TIME } from './trace.ts';

const TIMEOUT_MS = 75;
const generous = (): Limit[] => [requests(1, { capacity: 1e6 }), slots(1e6)];

/** A shared store that is away. */
const gone = {
  up: false,
  take: () => Promise.reject(new Error('not to be asked')),
  settle() {},
  renew() {},
  charge() {},
  look: () => Promise.reject(new StoreAway('Redis is away')),
  flush: async () => {},
  close: async () => {},
};

function bridged(more: Partial<OutageLimitsOptions> = {}): OutageLimits {
  const own = new MemoryLimits({ leaseMs: LEASE_MS, now: () => SOME_TIME });
  return new OutageLimits({ shared: gone, own, policy: 'local', replicas: 1, ...more });
}

describe('while the shared store is away', () => {
  it('local limits answer at once, each replica with its share', () => {
    const store = bridged({ replicas: 4 });
    expect(admittedOf(20, () => store.take([requests()]))).toBe(2);
    expect(admittedOf(20, () => store.take([slots(9)]))).toBe(2);
    expect(admittedOf(200, () => store.take([budget(10, 450)]))).toBe(11);
  });

  it('a share is never less than one call, whatever it asks for', () => {
    const store = bridged({ replicas: 100 });
    expect(admittedOf(3, () => store.take([requests()]))).toBe(1);
    expect(admittedOf(3, () => store.take([slots(2)]))).toBe(1);
    expect(admittedOf(3, () => store.take([tokens(900)]))).toBe(1);
  });

  it('a call that fits into the whole but not into a share may come again', () => {
    const taken = bridged({ replicas: 100 }).take([budget(400, 450)]);
    expect(taken).toMatchObject({ admitted: false, waitMs: 1000 });
  });

  it('closed limits refuse with a second to wait', () => {
    const store = bridged({ policy: 'closed' });
    expect(() => store.take([requests()])).toThrowError(
      expect.objectContaining({ reason: 'overloaded', retryAfterMs: 1000 }),
    );
  });

  it('nobody tells how limits stand', async () => {
    await expect(bridged().look([requests()])).rejects.toMatchObject({ reason: 'overloaded', retryAfterMs: 1000 });
  });

  it('open limits let everybody in', () => {
    const store = bridged({ policy: 'open' });
    expect(admittedOf(1000, () => store.take([requests(), budget(400)]))).toBe(1000);
  });
});

function admittedOf(calls: number, take: () => Taken | Promise<Taken>): number {
  return Array.from({ length: calls }, take).filter((taken) => 'admitted' in taken && taken.admitted).length;
}

describe.skipIf(withoutRedis)('with a real Redis', () => {
  let redis: RedisServer;
  let shared: RedisLimits;
  let store: LimitStore;

  beforeEach(async () => {
    redis = await startRedis();
    shared = await openRedisLimits(redis.url, { keyPrefix: 'outage:' }, { timeoutMs: TIMEOUT_MS, probeMs: 50 });
    store = new OutageLimits({ shared, own: new MemoryLimits({ leaseMs: LEASE_MS }), policy: 'local', replicas: 1 });
  });
  afterEach(async () => {
    redis.process.kill('SIGCONT');
    await store.close();
    await redis.close();
  });

  /** Take 100 times a second for a while; tells how long each took. Fails if one fails. */
  async function pulse(ms: number): Promise<{ at: number; tookMs: number }[]> {
    const began = performance.now();
    const takes: Promise<{ at: number; tookMs: number }>[] = [];
    while (performance.now() - began < ms) {
      const at = performance.now() - began;
      takes.push(
        Promise.resolve(store.take(generous())).then((taken) => {
          if (!taken.admitted) throw new Error(`refused by ${taken.refusedBy.name}`);
          if (taken.reservation) store.settle(taken.reservation, { tokens: 0, nanoUsd: 0 });
          return { at, tookMs: performance.now() - began - at };
        }),
      );
      await pause(10);
    }
    return Promise.all(takes);
  }

  async function back(): Promise<void> {
    for (let tries = 0; !shared.up; tries++) {
      if (tries > 200) throw new Error('Redis is not believed to be back after 4 s');
      await pause(20);
    }
  }

  const faults: [string, { begin: () => unknown; end: () => unknown }][] = [
    [
      'killed',
      {
        begin: () => redis.kill(),
        end: async () => {
          redis = await startRedis([], redis.port);
        },
      },
    ],
    ['stopped', { begin: () => redis.process.kill('SIGSTOP'), end: () => redis.process.kill('SIGCONT') }],
    [
      'busy for longer than anybody waits',
      { begin: () => redis.command('CLIENT', 'PAUSE', '2000', 'ALL'), end: () => {} },
    ],
    [
      'made read-only',
      {
        begin: () => redis.command('REPLICAOF', '127.0.0.1', '1'),
        end: () => redis.command('REPLICAOF', 'NO', 'ONE'),
      },
    ],
    [
      'out of memory',
      {
        begin: () => redis.command('CONFIG', 'SET', 'maxmemory', '1'),
        end: () => redis.command('CONFIG', 'SET', 'maxmemory', '0'),
      },
    ],
  ];

  it.each(faults)(
    'that is %s fails no call, costs a timeout once, and comes back by itself',
    // Others may keep the machine busy for longer than a timeout.
    { retry: 2 },
    async (_, { begin, end }) => {
      const healthy = pulse(100);
      await healthy;
      expect(shared.up).toBe(true);
      const during = pulse(800);
      await begin();
      const times = await during;
      expect(shared.up).toBe(false);
      const slow = times.filter(({ tookMs }) => tookMs > 40);
      for (const { tookMs } of slow) expect(tookMs).toBeLessThan(TIMEOUT_MS * 2);
      const firstSlow = slow[0]?.at ?? 0;
      for (const { at } of slow) expect(at - firstSlow).toBeLessThan(TIMEOUT_MS * 2);
      await end();
      await back();
      await pulse(50);
      await store.flush();
      expect(await shared.look([slots(1e6)])).toMatchObject([{ reserved: 0 }]);
    },
  );

  it('that restarts empty is filled again', async () => {
    await pulse(50);
    await redis.kill();
    redis = await startRedis([], redis.port);
    await back();
    const taken = await store.take([requests(10)]);
    expect(taken.admitted).toBe(true);
    expect((await store.take([requests(10)])).admitted).toBe(false);
  });

  it('is told afterwards what was settled and spent while it was away', async () => {
    const before = admitted(await store.take([tokens(800), slots(5), budget(100)]));
    redis.process.kill('SIGSTOP');
    await pulse(200);
    expect(shared.up).toBe(false);
    store.settle(before, { tokens: 300, nanoUsd: 60 });
    const alone = admitted(await store.take([budget(50)]));
    store.settle(alone, { tokens: 0, nanoUsd: 30 });
    store.settle(alone, { tokens: 0, nanoUsd: 30 });
    redis.process.kill('SIGCONT');
    await back();
    await pause(50);
    await store.flush();
    const holdings = await shared.look([tokens(0), slots(5), budget(0)]);
    expect(holdings.map(({ reserved }) => reserved)).toEqual([0, 0, 0]);
    expect(holdings[2]?.remaining).toBe(450 - 60 - 30);
  });

  it('does not keep what a call asked for that was given up waiting', async () => {
    redis.process.kill('SIGSTOP');
    admitted(await store.take([slots(5), budget(400)]));
    redis.process.kill('SIGCONT');
    await back();
    await pause(50);
    await store.flush();
    expect(await shared.look([slots(5), budget(0)])).toMatchObject([{ reserved: 0 }, { reserved: 0, remaining: 450 }]);
  });
});
