import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guardedOutcomes } from '../../src/cache/guarded-outcomes.ts';
import { MemoryOutcomes } from '../../src/cache/memory-outcomes.ts';
import type { Claim, Lease, OutcomeStore } from '../../src/cache/outcome-store.ts';
import { RedisOutcomes } from '../../src/cache/redis-outcomes.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { newPrefix, type OpenRedis, openRedis } from './open-redis.ts';

const one = 'a'.repeat(64);
const other = 'b'.repeat(64);
const outcome = Uint8Array.from({ length: 256 }, (_, value) => value);

async function claimed(store: OutcomeStore, key = 'key', fingerprint = one): Promise<Lease> {
  const claim = await store.claim(key, fingerprint);
  if (claim.state !== 'claimed') throw new Error(`it is ${claim.state}`);
  return claim.lease;
}

const plain = (claim: Claim) =>
  claim.state === 'known' ? { ...claim, outcome: [...claim.outcome] } : { ...claim, lease: undefined };

function outcomeSuite(name: string, open: () => OutcomeStore): void {
  describe(`outcomes kept ${name}`, () => {
    it('are carried out by the one that claims first', async () => {
      const store = open();
      await claimed(store);
      expect(plain(await store.claim('key', one))).toMatchObject({ state: 'awaited', fingerprint: one });
      expect(plain(await store.claim('key', other))).toMatchObject({ state: 'awaited', fingerprint: one });
      expect((await store.claim('another key', other)).state).toBe('claimed');
    });

    it('are known once they are settled, byte by byte, with the request that they are of', async () => {
      const store = open();
      await (await claimed(store)).settle(outcome, 60_000);
      for (const fingerprint of [one, other]) {
        expect(plain(await store.claim('key', fingerprint))).toEqual({
          state: 'known',
          fingerprint: one,
          outcome: [...outcome],
        });
      }
    });

    it('are forgotten when their time is over', async () => {
      const store = open();
      await (await claimed(store)).settle(outcome, 30);
      await pause(40);
      expect((await store.claim('key', other)).state).toBe('claimed');
    });

    it('may be claimed again when they were given back', async () => {
      const store = open();
      (await claimed(store)).release();
      await pause(10);
      expect((await store.claim('key', other)).state).toBe('claimed');
    });
  });
}

outcomeSuite('in memory', () => new MemoryOutcomes({ maxBytes: 1_000_000 }));

describe.skipIf(withoutRedis)('with a Redis', () => {
  let server: RedisServer;
  let redis: OpenRedis;
  beforeAll(async () => {
    server = await startRedis();
    redis = await openRedis(server.url);
  });
  afterAll(async () => {
    redis?.close();
    await server?.close();
  });
  const replica = (keyPrefix = newPrefix(), leaseMs = 60_000) => new RedisOutcomes({ redis, keyPrefix, leaseMs });

  outcomeSuite('in Redis', () => replica());

  it('replicas see what each other claims and knows', async () => {
    const prefix = newPrefix();
    const lease = await claimed(replica(prefix));
    expect((await replica(prefix).claim('key', one)).state).toBe('awaited');
    await lease.settle(outcome, 60_000);
    expect((await replica(prefix).claim('key', one)).state).toBe('known');
  });

  it('a claim that is not renewed runs out, one that is does not', async () => {
    const prefix = newPrefix();
    const lease = await claimed(replica(prefix, 60));
    for (let times = 0; times < 4; times++) {
      await pause(25);
      lease.renew();
    }
    expect((await replica(prefix).claim('key', one)).state).toBe('awaited');
    await pause(80);
    expect((await replica(prefix).claim('key', one)).state).toBe('claimed');
  });

  it('a claim that was lost can neither be renewed nor given back, and its outcome is kept all the same', async () => {
    const prefix = newPrefix();
    const lost = await claimed(replica(prefix, 20));
    await pause(30);
    const second = await claimed(replica(prefix, 60_000));
    lost.renew();
    lost.release();
    await pause(10);
    const waiting = replica(prefix);
    expect((await waiting.claim('key', one)).state).toBe('awaited');
    await lost.settle(outcome, 60_000);
    expect((await waiting.claim('key', one)).state).toBe('known');
    // The later outcome does not replace the one that may have been told already.
    await second.settle(new Uint8Array([9]), 60_000);
    expect(plain(await waiting.claim('key', one))).toMatchObject({ outcome: [...outcome] });
    second.release();
    await pause(10);
    expect((await waiting.claim('key', one)).state).toBe('known');
  });

  it('an outcome that is too large is not kept', async () => {
    const store = new RedisOutcomes({ redis, keyPrefix: newPrefix(), leaseMs: 60_000, maxOutcomeBytes: 100 });
    await (await claimed(store)).settle(outcome, 60_000);
    expect((await store.claim('key', one)).state).toBe('claimed');
  });

  it('a moment’s silence of Redis is waited for, a longer one is not', async () => {
    let failures = 3;
    let isLost = false;
    const silent = {
      send: redis.send,
      async run(...args: Parameters<OpenRedis['run']>) {
        if (isLost) throw new Error('away');
        // The first time Redis does what it was asked, and its answer is lost.
        if (failures === 3) await redis.run(...args);
        if (failures-- > 0) throw new Error('silent');
        return redis.run(...args);
      },
    };
    const keyPrefix = newPrefix();
    const store = new RedisOutcomes({ redis: silent, keyPrefix, leaseMs: 60_000, patienceMs: 300 });
    const lease = await claimed(store);
    failures = 2;
    await lease.settle(outcome, 60_000);
    expect((await replica(keyPrefix).claim('key', one)).state).toBe('known');

    isLost = true;
    const began = performance.now();
    await expect(store.claim('key', one)).rejects.toThrow('away');
    expect(performance.now() - began).toBeGreaterThan(250);
    const later = performance.now();
    await expect(store.claim('key', one)).rejects.toThrow('away');
    expect(performance.now() - later).toBeLessThan(100);
    isLost = false;
    expect((await store.claim('key', one)).state).toBe('known');
  });

  it('everything in Redis expires', async () => {
    const keyPrefix = newPrefix();
    const store = replica(keyPrefix);
    await claimed(store, 'a');
    await (await claimed(store, 'b')).settle(outcome, 5000);
    const names = (await server.command('KEYS', `${keyPrefix}*`)) as string[];
    expect(names.sort()).toEqual([`${keyPrefix}idempotency:v1:a`, `${keyPrefix}idempotency:v1:b`]);
    for (const name of names) expect(Number(await server.command('PTTL', name))).toBeGreaterThan(4000);
  });
});

describe('while the shared store is away', () => {
  let isAway = false;
  const shared = (): OutcomeStore => {
    const store = new MemoryOutcomes({ maxBytes: 1_000_000 });
    const check = () => {
      if (isAway) throw new Error('away');
    };
    return {
      async claim(key, fingerprint) {
        check();
        const claim = store.claim(key, fingerprint);
        if (claim.state !== 'claimed') return claim;
        const { lease } = claim;
        return {
          state: 'claimed',
          lease: {
            ...lease,
            async settle(bytes, ttlMs) {
              check();
              await lease.settle(bytes, ttlMs);
            },
          },
        };
      },
    };
  };

  function guarded(store = shared()) {
    isAway = false;
    return { store, outcomes: guardedOutcomes(store, new MemoryOutcomes({ maxBytes: 1_000_000 })) };
  }

  outcomeSuite('in this process', () => {
    const { outcomes } = guarded();
    isAway = true;
    return outcomes;
  });
  outcomeSuite('in the shared store', () => guarded().outcomes);

  it('what became of a call that began before is known here, and stays known when the store is back', async () => {
    const { outcomes } = guarded();
    const lease = await claimed(outcomes);
    isAway = true;
    await lease.settle(outcome, 60_000);
    expect((await outcomes.claim('key', one)).state).toBe('known');
    isAway = false;
    expect((await outcomes.claim('key', one)).state).toBe('known');
  });

  it('what could be shared is not kept here', async () => {
    const { outcomes } = guarded();
    await (await claimed(outcomes)).settle(outcome, 60_000);
    isAway = true;
    expect((await outcomes.claim('key', one)).state).toBe('claimed');
  });
});
