import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryLimits } from '../../src/store/memory.ts';
import { OutageLimits } from '../../src/store/outage.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { admitted, budget, LEASE_MS, limitSuite, requests, slots, tokens } from './limit-suite.ts';
import { openRedisLimits } from './open-redis.ts';
import { play, SOME_TIME, type TestClock, trace } from './trace.ts';

let redis: RedisServer;

describe.skipIf(withoutRedis)('with a real Redis', () => {
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.close());

  limitSuite('limits in Redis', (clock: TestClock) => openRedisLimits(redis.url, { now: () => clock.now }), 60);

  limitSuite(
    'limits in Redis, with an outage bridged',
    async (clock) =>
      new OutageLimits({
        shared: await openRedisLimits(redis.url, { now: () => clock.now }),
        own: new MemoryLimits({ leaseMs: LEASE_MS }),
        policy: 'closed',
        replicas: 1,
      }),
    5,
  );

  describe('limits in Redis', () => {
    it('give the same answers as in memory, for equal traces', { timeout: 60_000 }, async () => {
      await fc.assert(
        // Not backwards: in memory, where clocks do not go back, a bucket that was full once may be forgotten.
        fc.asyncProperty(trace({ backwards: false }), async (steps) => {
          const clocks = [{ now: SOME_TIME }, { now: SOME_TIME }] as const;
          const inMemory = new MemoryLimits({ leaseMs: LEASE_MS, now: () => clocks[0].now });
          const inRedis = await openRedisLimits(redis.url, { now: () => clocks[1].now });
          try {
            expect(await play(steps, inRedis, clocks[1])).toEqual(await play(steps, inMemory, clocks[0]));
          } finally {
            await inRedis.close();
          }
        }),
        { numRuns: 150 },
      );
    });

    it('go by the time of the server', async () => {
      const store = await openRedisLimits(redis.url, { leaseMs: 300 });
      const bucket = requests(10, { refillPerMs: 0.02 });
      await store.take([bucket, slots(1)]);
      const refused = await store.take([requests(1, { refillPerMs: 0.02 })]);
      expect(refused).toMatchObject({ admitted: false });
      if (refused.admitted) return;
      expect(refused.waitMs).toBeGreaterThan(10);
      expect(refused.waitMs).toBeLessThanOrEqual(50);
      await new Promise((resolve) => setTimeout(resolve, Math.ceil(refused.waitMs)));
      expect((await store.take([requests(1, { refillPerMs: 0.02 })])).admitted).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect((await store.take([slots(1)])).admitted).toBe(true);
      await store.close();
    });

    it('are shared by all processes, and by none with another prefix', async () => {
      const [one, two] = await Promise.all([1, 2].map(() => openRedisLimits(redis.url, { keyPrefix: 'shared:' })));
      const other = await openRedisLimits(redis.url, { keyPrefix: 'other:' });
      const slow = requests(10, { refillPerMs: 0 });
      expect((await one?.take([slow]))?.admitted).toBe(true);
      expect((await two?.take([slow]))?.admitted).toBe(false);
      expect((await other.take([slow])).admitted).toBe(true);
      for (const store of [one, two, other]) await store?.close();
    });

    it('leave no key that says nothing, and none that stays forever', async () => {
      const store = await openRedisLimits(redis.url, { keyPrefix: 'tidy:' });
      const held = admitted(await store.take([requests(), tokens(800), slots(2)]));
      const keys = (await redis.command('KEYS', 'tidy:limits*')) as string[];
      expect(keys.sort()).toEqual([
        'tidy:limits1:{key:a}:concurrent:held',
        'tidy:limits1:{key:a}:requests',
        'tidy:limits1:{key:a}:tokens',
        'tidy:limits1:{key:a}:tokens:held',
      ]);
      for (const key of keys) expect(await redis.command('PTTL', key)).toBeGreaterThan(0);
      store.settle(held, { tokens: 0, nanoUsd: 0 });
      await store.flush();
      expect(await redis.command('KEYS', 'tidy:limits*')).toEqual(['tidy:limits1:{key:a}:requests']);
      await store.close();
    });

    // The second of two calls, one after the other, was refused for what the first one had held: Redis had not known how to settle.
    it('are settled before they are taken again, by a server that knows no script', async () => {
      const store = await openRedisLimits(redis.url);
      await redis.command('SCRIPT', 'FLUSH');
      for (let call = 0; call < 3; call++) {
        const held = admitted(await store.take([tokens(800), slots(1), budget(400)]));
        store.settle(held, { tokens: 7, nanoUsd: 7 });
      }
      await store.close();
    });

    it('take in one round trip, and say the script again to a server that has forgotten it', async () => {
      const store = await openRedisLimits(redis.url);
      await store.take([requests(), slots(5)]);
      await redis.command('CONFIG', 'RESETSTAT');
      await store.take([requests(), slots(5)]);
      const before = String(await redis.command('INFO', 'commandstats'));
      expect(before).toMatch(/cmdstat_evalsha:calls=1,/);
      expect(before).not.toMatch(/cmdstat_eval:/);
      await redis.command('SCRIPT', 'FLUSH');
      expect((await store.take([requests(), slots(5)])).admitted).toBe(true);
      expect(String(await redis.command('INFO', 'commandstats'))).toMatch(/cmdstat_eval:calls=1,/);
      await store.close();
    });
  });
});
