import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BufferedUsage, type UsageTable } from '../../src/store/buffered-usage.ts';
import { MemoryUsage } from '../../src/store/memory-usage.ts';
import { RedisUsage } from '../../src/store/redis-usage.ts';
import type { UsageRow } from '../../src/store/store.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { openGuard } from './open-redis.ts';
import { usageRow, usageSuite } from './usage-suite.ts';

const log = pino({ level: 'silent' });
const november = { from: '2026-11-01', to: '2026-11-30' };

usageSuite('usage in memory', () => new MemoryUsage());

describe('usage in memory', () => {
  it('forgets the oldest days when there is too much of it', async () => {
    const store = new MemoryUsage(3);
    for (const day of ['2026-11-01', '2026-11-02', '2026-11-03', '2026-11-04']) store.add(usageRow({ day }));
    store.add(usageRow({ day: '2026-11-04' }));
    expect((await store.find(november)).map(({ day, calls }) => [day, calls])).toEqual([['2026-11-04', 2]]);
  });
});

describe('usage that is written to a table', () => {
  /** A table whose writes fail for as long as a test says. */
  function shakyTable() {
    const written: { batch: string; rows: readonly UsageRow[] }[] = [];
    const table: UsageTable = {
      async add(batch, rows) {
        written.push({ batch, rows });
        if (shaky.failing) throw new Error('away');
      },
      find: async () => [],
    };
    const shaky = { table, written, failing: false };
    return shaky;
  }

  it('is summed up before it is written', async () => {
    const { table, written } = shakyTable();
    const store = new BufferedUsage(table, log);
    for (let call = 0; call < 100; call++) store.add(usageRow());
    await store.flush();
    expect(written.map(({ rows }) => rows)).toEqual([
      [usageRow({ calls: 100, promptTokens: 10_000, completionTokens: 2000, nanoUsd: 2_100_000 })],
    ]);
    await store.flush();
    expect(written).toHaveLength(1);
  });

  it('is written within about a second by itself', async () => {
    const { table, written } = shakyTable();
    const store = new BufferedUsage(table, log);
    store.add(usageRow());
    expect(written).toHaveLength(0);
    await expect.poll(() => written.length, { timeout: 3000 }).toBe(1);
  });

  it('is tried again under the same name, and what comes meanwhile is another batch', async () => {
    const shaky = shakyTable();
    const store = new BufferedUsage(shaky.table, log);
    shaky.failing = true;
    store.add(usageRow());
    await store.flush();
    store.add(usageRow());
    await store.flush();
    shaky.failing = false;
    await store.flush();
    const [first, second, third, fourth] = shaky.written;
    expect(second).toEqual(first);
    expect(third).toEqual(first);
    expect(fourth?.batch).not.toBe(first?.batch);
    expect(fourth?.rows).toEqual([usageRow()]);
    await store.close();
  });
});

describe.skipIf(withoutRedis)('with a real Redis', () => {
  let redis: RedisServer;
  let prefixes = 0;

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.close());

  async function openTable() {
    const guard = await openGuard(redis.url);
    return { guard, table: new RedisUsage(guard, `usage${++prefixes}:`) };
  }

  usageSuite('usage in Redis', async () => {
    const { guard, table } = await openTable();
    const store = new BufferedUsage(table, log);
    return Object.assign(store, {
      close: async () => {
        await store.flush();
        guard.close();
      },
    });
  });

  it('a batch of usage that was answered for too late is counted once', async () => {
    const { guard, table } = await openTable();
    const rows = [usageRow(), usageRow({ day: '2026-11-24' })];
    await table.add('batch', rows);
    await table.add('batch', rows);
    await table.add('another', rows);
    expect((await table.find(november)).map(({ calls }) => calls)).toEqual([2, 2]);
    guard.close();
  });

  it('usage that cannot be read is an error that says so', async () => {
    const { guard, table } = await openTable();
    guard.close();
    await expect(table.find(november)).rejects.toMatchObject({ reason: 'overloaded', retryAfterMs: 1000 });
  });
});
