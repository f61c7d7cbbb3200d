import { readFileSync } from 'node:fs';
import { GatewayError } from '../errors.ts';
import type { UsageTable } from './buffered-usage.ts';
import { type RedisGuard, scriptOf } from './redis-guard.ts';
import type { UsageCounts, UsageFilter, UsageRow } from './store.ts';
import { COUNTS, countsOfNothing } from './usage.ts';

const script = scriptOf(readFileSync(new URL('redis/usage.lua', import.meta.url), 'utf8'));

const VERSION = 'usage1';
const DAY_MS = 86_400_000;
/** A batch that was written and not answered for is tried again within this time. */
const BATCH_MS = 3_600_000;
const KEPT_MS = 400 * DAY_MS;
/** Nobody waits for usage as callers wait for limits. */
const PATIENCE_MS = 3000;
const RETRY_MS = 1000;

const words = new Map(COUNTS.map((count) => [count as string, count]));

/** Keeps usage in Redis for 400 days: a hash for each day and key, whose fields are `provider`, `model` and what is counted. */
export class RedisUsage implements UsageTable {
  readonly #guard: RedisGuard;
  readonly #keyPrefix: string;

  constructor(guard: RedisGuard, keyPrefix: string) {
    this.#guard = guard;
    this.#keyPrefix = keyPrefix;
  }

  async add(batch: string, rows: readonly UsageRow[]): Promise<void> {
    for (const [day, ofDay] of Map.groupBy(rows, (row) => row.day)) {
      const keys = [this.#keyOf(day, `batch:${batch}`), this.#keyOf(day, 'keys')];
      const args = [String(BATCH_MS), String(KEPT_MS)];
      for (const row of ofDay) {
        const counts = COUNTS.filter((count) => row[count] !== 0);
        keys.push(this.#keyOf(day, `key:${row.key}`));
        args.push(row.key, String(counts.length));
        for (const count of counts) args.push(JSON.stringify([row.provider, row.model, count]), String(row[count]));
      }
      await this.#guard.run(script, keys, args, PATIENCE_MS);
    }
  }

  async find(filter: UsageFilter): Promise<UsageRow[]> {
    try {
      const days = await Promise.all(daysOf(filter).map((day) => this.#findDay(day, filter)));
      return days.flat();
    } catch (cause) {
      throw new GatewayError('overloaded', 'usage cannot be read at the moment', { retryAfterMs: RETRY_MS, cause });
    }
  }

  async #findDay(day: string, filter: UsageFilter): Promise<UsageRow[]> {
    const keys = filter.key === undefined ? ((await this.#ask('SMEMBERS', day, 'keys')) as string[]) : [filter.key];
    const rows = await Promise.all(
      keys.map(async (key) => rowsOf(day, key, (await this.#ask('HGETALL', day, `key:${key}`)) as string[])),
    );
    return rows.flat().filter(({ model }) => filter.model === undefined || model === filter.model);
  }

  #ask(word: string, day: string, name: string): Promise<unknown> {
    const key = this.#keyOf(day, name);
    return this.#guard.send(key, [word, key], PATIENCE_MS);
  }

  #keyOf(day: string, name: string): string {
    return `${this.#keyPrefix}${VERSION}:{${day}}:${name}`;
  }
}

function daysOf({ from, to }: UsageFilter): string[] {
  const days: string[] = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += DAY_MS)
    days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}

function rowsOf(day: string, key: string, fields: readonly string[]): UsageRow[] {
  const rows = new Map<string, UsageRow & UsageCounts>();
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const [provider, model, word] = JSON.parse(fields[index] as string) as [string, string, string];
    const count = words.get(word);
    if (count === undefined) continue; // counted by a version that knows more
    const name = `${provider}\n${model}`;
    const row = rows.get(name) ?? { day, key, provider, model, ...countsOfNothing() };
    rows.set(name, row);
    row[count] = Number(fields[index + 1]);
  }
  return [...rows.values()];
}
