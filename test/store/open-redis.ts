import pino from 'pino';
import { RedisLimits, type RedisLimitsOptions } from '../../src/store/redis.ts';
import { connectRedis } from '../../src/store/redis-connection.ts';
import { RedisGuard, type RedisGuardOptions } from '../../src/store/redis-guard.ts';
import { parseRedisUrl } from '../../src/store/redis-url.ts';
import { LEASE_MS } from './limit-suite.ts';

const log = pino({ level: 'silent' });
let prefixes = 0;

/** A guarded Redis, once it answers. */
export async function openGuard(url: string, more: Partial<RedisGuardOptions> = {}): Promise<RedisGuard> {
  const place = parseRedisUrl(url);
  if (!place) throw new Error(`${url} is no URL of a Redis`);
  const connection = await connectRedis(place, () => {});
  const guard = new RedisGuard({ connection, log, keyPrefix: 'test:', timeoutMs: 1000, probeMs: 20, ...more });
  await guard.ready(5000);
  return guard;
}

/** A store of limits in a Redis, with keys of its own. */
export async function openRedisLimits(
  url: string,
  more: Partial<RedisLimitsOptions> = {},
  guarding: Partial<RedisGuardOptions> = {},
): Promise<RedisLimits> {
  const keyPrefix = more.keyPrefix ?? `test${++prefixes}:`;
  const guard = more.guard ?? (await openGuard(url, { keyPrefix, ...guarding }));
  const store = new RedisLimits({ log, leaseMs: LEASE_MS, ...more, guard, keyPrefix });
  const close = store.close.bind(store);
  store.close = async () => {
    await close();
    guard.close();
  };
  return store;
}
