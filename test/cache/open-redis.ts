import { createClient } from 'redis';
import type { RedisGuard } from '../../src/store/redis-guard.ts';

/** Commands to a Redis, without anything that guards them. */
export interface OpenRedis extends Pick<RedisGuard, 'send' | 'run'> {
  /** How many commands were sent. */
  sent: number;
  close(): void;
}

/** Connect to a Redis. */
export async function openRedis(url: string): Promise<OpenRedis> {
  const client = createClient({ url, RESP: 2, disableOfflineQueue: true, socket: { reconnectStrategy: () => 20 } });
  client.on('error', () => {});
  await client.connect();
  const redis: OpenRedis = {
    sent: 0,
    send: (_key, command) => {
      redis.sent++;
      return client.sendCommand([...command]);
    },
    async run({ source, sha1 }, keys, args) {
      redis.sent++;
      const rest = [String(keys.length), ...keys, ...args];
      try {
        return await client.sendCommand(['EVALSHA', sha1, ...rest]);
      } catch (error) {
        if (!String(error).includes('NOSCRIPT')) throw error;
        return client.sendCommand(['EVAL', source, ...rest]);
      }
    },
    close: () => client.destroy(),
  };
  return redis;
}

let prefixes = 0;

/** A prefix that nobody else uses. */
export function newPrefix(): string {
  return `test${++prefixes}:`;
}
