import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import pino from 'pino';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BufferedUsage } from '../../src/store/buffered-usage.ts';
import { MemoryLimits } from '../../src/store/memory.ts';
import { SqliteFile } from '../../src/store/sqlite.ts';
import { admitted, budget, LEASE_MS, limitSuite, requests } from './limit-suite.ts';
import { SOME_TIME, type TestClock } from './trace.ts';
import { usageRow, usageSuite } from './usage-suite.ts';

const log = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-sqlite-'));
let files = 0;

afterAll(() => rmSync(folder, { recursive: true }));

function newPath(): string {
  return join(folder, `${++files}.db`);
}

/** Limits in memory whose budgets are in a file. */
function openLimits(path: string, clock: TestClock) {
  const file = new SqliteFile(path, log);
  const limits = new MemoryLimits({ leaseMs: LEASE_MS, now: () => clock.now, ledger: file });
  return Object.assign(limits, { file, close: async () => file.close() });
}

limitSuite('limits whose budgets are in SQLite', (clock) => openLimits(newPath(), clock), 50);

usageSuite('usage in SQLite', () => {
  const file = new SqliteFile(newPath(), log);
  const store = new BufferedUsage(file, log);
  return Object.assign(store, {
    close: async () => {
      await store.flush();
      file.close();
    },
  });
});

describe('budgets in SQLite', () => {
  const clock = { now: SOME_TIME };
  let path = '';
  let store: ReturnType<typeof openLimits>;

  beforeEach(() => {
    clock.now = SOME_TIME;
    path = newPath();
    store = openLimits(path, clock);
  });
  afterEach(() => store.close());

  function spend(nanoUsd: number): void {
    store.settle(admitted(store.take([budget(nanoUsd)])), { tokens: 0, nanoUsd });
  }

  it('outlive the process, in their period', async () => {
    spend(400);
    store.take([budget(50)]);
    await store.close();
    store = openLimits(path, clock);
    expect(store.look([budget(0)])).toMatchObject([{ remaining: 50, reserved: 0 }]);
    await store.close();
    clock.now += 3_600_000;
    store = openLimits(path, clock);
    expect(store.look([budget(0)])).toMatchObject([{ remaining: 450 }]);
  });

  it('are written soon, without being asked to close', async () => {
    const other = new SqliteFile(path, log);
    spend(400);
    await expect.poll(() => other.load('key:a/budget')).toMatchObject({ spentNanoUsd: 400 });
    other.close();
  });

  it('are written later when another process holds the file', async () => {
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    spend(400);
    await pause(150);
    other.exec('COMMIT');
    const spent = other.prepare('SELECT spent_nano_usd FROM budgets');
    await expect.poll(() => spent.all()).toMatchObject([{ spent_nano_usd: 400 }]);
    other.close();
  });

  it('leave buckets to memory', async () => {
    store.take([requests(10)]);
    await store.close();
    store = openLimits(path, clock);
    expect(store.look([requests(0)])).toMatchObject([{ remaining: 10 }]);
  });
});

describe('a file', () => {
  it('of usage outlives the process, and forgets what is older than 400 days', async () => {
    const path = newPath();
    const first = new SqliteFile(path, log);
    await first.add('', [usageRow({ day: '2020-01-01' }), usageRow({ day: '2099-01-01' })]);
    first.close();
    const second = new SqliteFile(path, log);
    const rows = await second.find({ from: '2020-01-01', to: '2099-12-31' });
    expect(rows).toEqual([usageRow({ day: '2099-01-01' })]);
    second.close();
  });

  it('that is none of SQLite is refused by its name', () => {
    const path = newPath();
    writeFileSync(path, 'not a database, but long enough to be looked at as one'.repeat(20));
    expect(() => new SqliteFile(path, log)).toThrow(`state.sqlite_path: cannot use ${path}: file is not a database`);
  });

  it('of a later version is refused', () => {
    const path = newPath();
    const later = new DatabaseSync(path);
    later.exec('PRAGMA user_version = 2');
    later.close();
    expect(() => new SqliteFile(path, log)).toThrow('it was written by a later version of the gateway (2)');
  });
});
