import pino from 'pino';
import { describe, expect, it } from 'vitest';
import type { RedisConnection } from '../../src/store/redis-connection.ts';
import { RedisGuard } from '../../src/store/redis-guard.ts';

/** A connection to a map that fails when it is told to, and takes SET and GET. */
function connectionTo(values: Map<string, string>) {
  const state = { fails: false };
  const connection: RedisConnection = {
    clustered: false,
    async send(_key, [name, key = '', value = '']) {
      if (state.fails) throw new Error('away');
      if (name === 'SET') values.set(key, value);
      return values.get(key) ?? null;
    },
    reconnect: () => {},
    close: () => {},
  };
  return { connection, state };
}

describe('the guard of a Redis', () => {
  // A key without a tag was taken for the place of the probe: what had been kept there became `1`, and was gone a second later.
  it.each(['plain key', 'key of {one}'])(
    'probes beside the key that failed, and never writes to it: %s',
    async (key) => {
      const values = new Map([[key, 'what is kept']]);
      const { connection, state } = connectionTo(values);
      const log = pino({ level: 'silent' });
      const guard = new RedisGuard({ connection, log, keyPrefix: 'test:', probeMs: 5 });
      await guard.ready(1000);
      state.fails = true;
      await expect(guard.send(key, ['GET', key])).rejects.toThrow('away');
      state.fails = false;
      await expect.poll(() => guard.up).toBe(true);
      expect(await guard.send(key, ['GET', key])).toBe('what is kept');
      const tag = key.includes('{') ? '{one}' : `{${key}}`;
      expect([...values.keys()].filter((name) => name !== key)).toEqual(['test:probe', `test:probe${tag}`]);
      guard.close();
    },
  );

  it('notices that it goes, and that it is back, though nobody asks for anything', async () => {
    const { connection, state } = connectionTo(new Map());
    const log = pino({ level: 'silent' });
    const guard = new RedisGuard({ connection, log, keyPrefix: 'test:', probeMs: 5, watchMs: 10 });
    await guard.ready(1000);
    let returns = 0;
    guard.whenUp(() => returns++);
    state.fails = true;
    await expect.poll(() => guard.up).toBe(false);
    state.fails = false;
    await expect.poll(() => guard.up).toBe(true);
    expect(returns).toBe(2);
    guard.close();
  });
});
