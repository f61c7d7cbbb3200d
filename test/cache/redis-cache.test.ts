import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RedisCache } from '../../src/cache/redis-cache.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { answerStoreSuite } from './answer-store-suite.ts';
import { newPrefix, type OpenRedis, openRedis } from './open-redis.ts';

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

  answerStoreSuite('in Redis', () => ({
    store: new RedisCache({ redis, keyPrefix: newPrefix() }),
    pass: (ms) => pause(ms),
  }));

  it('replicas share answers, and forget them together', async () => {
    const keyPrefix = newPrefix();
    const [one, other] = [0, 1].map(() => new RedisCache({ redis, keyPrefix })) as [RedisCache, RedisCache];
    await one.set('a', new Uint8Array([1]), 60_000, ['t']);
    expect([...((await other.get('a'))?.bytes ?? [])]).toEqual([1]);
    expect(await other.purge('all')).toBe(1);
    expect(await one.get('a')).toBeUndefined();
  });

  it('gateways of two prefixes do not meet', async () => {
    const [one, other] = [newPrefix(), newPrefix()].map((keyPrefix) => new RedisCache({ redis, keyPrefix }));
    await one?.set('a', new Uint8Array([1]), 60_000, ['t']);
    expect(await other?.get('a')).toBeUndefined();
    expect(await other?.purge('all')).toBe(0);
    expect(await one?.get('a')).toBeDefined();
  });

  it('everything in Redis expires, and lists do not grow beyond what they list', async () => {
    const keyPrefix = newPrefix();
    const store = new RedisCache({ redis, keyPrefix });
    for (let at = 0; at < 200; at++) await store.set(`k${at}`, new Uint8Array(10), 20, ['t']);
    await pause(30);
    await store.set('last', new Uint8Array(10), 60_000, ['t']);
    const names = (await server.command('KEYS', `${keyPrefix}*`)) as string[];
    expect(names.length).toBe(3);
    for (const name of names) {
      expect(name.startsWith(`${keyPrefix}cache:v1:`)).toBe(true);
      expect(Number(await server.command('PTTL', name))).toBeGreaterThan(50_000);
    }
    const lists = names.filter((name) => name.includes('list:'));
    expect(await Promise.all(lists.map((name) => server.command('ZCARD', name)))).toEqual([1, 1]);
  });

  it('a list lives as long as the answer in it that is kept longest', async () => {
    const keyPrefix = newPrefix();
    const store = new RedisCache({ redis, keyPrefix });
    await store.set('long', new Uint8Array(10), 60_000, ['t']);
    await store.set('short', new Uint8Array(10), 20, ['t']);
    await pause(30);
    expect(await store.purge({ tag: 't' })).toBe(1);
  });

  it('an answer that is too large is not stored, and does not leave an older one in its place', async () => {
    const store = new RedisCache({ redis, keyPrefix: newPrefix(), maxAnswerBytes: 1000 });
    await store.set('a', new Uint8Array(1000), 60_000, []);
    expect(await store.get('a')).toBeDefined();
    await store.set('a', new Uint8Array(1001), 60_000, []);
    expect(await store.get('a')).toBeUndefined();
  });

  it('an answer is read by one command', async () => {
    const store = new RedisCache({ redis, keyPrefix: newPrefix() });
    await store.set('a', new Uint8Array(10), 60_000, []);
    const before = redis.sent;
    await store.get('a');
    expect(redis.sent - before).toBe(1);
  });

  it('a clock that goes back makes no answer younger than new', async () => {
    let at = 1_000_000;
    const store = new RedisCache({ redis, keyPrefix: newPrefix(), now: () => at });
    await store.set('a', new Uint8Array(10), 60_000, []);
    at -= 5000;
    expect((await store.get('a'))?.ageMs).toBe(0);
    at += 6000;
    expect((await store.get('a'))?.ageMs).toBe(1000);
  });

  it('a Redis that is gone makes it reject', async () => {
    const own = await startRedis();
    const lost = await openRedis(own.url);
    const store = new RedisCache({ redis: lost, keyPrefix: newPrefix() });
    await own.close();
    await expect(store.get('a')).rejects.toThrow();
    await expect(store.set('a', new Uint8Array(1), 1000, ['t'])).rejects.toThrow();
    await expect(store.purge('all')).rejects.toThrow();
    lost.close();
  });
});
