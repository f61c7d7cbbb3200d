import type { UsageCounts, UsageFilter, UsageKey, UsageRow } from './store.ts';

/** The names of what is counted, in the order of all tables. */
export const COUNTS = [
  'calls',
  'failedCalls',
  'promptTokens',
  'completionTokens',
  'cachedPromptTokens',
  'cacheWritePromptTokens',
  'reasoningTokens',
  'nanoUsd',
  'unpricedCalls',
] as const satisfies readonly (keyof UsageCounts)[];

/** The day of a time in milliseconds since 1970, in UTC: `2026-11-23`. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

const DAY_MS = 86_400_000;

/** Tells the day of a clock, in UTC; it is written anew only when another day has begun. */
export function dayTeller(now: () => number): () => string {
  let day = '';
  let number = Number.NaN;
  return () => {
    const ms = now();
    if (Math.floor(ms / DAY_MS) !== number) {
      number = Math.floor(ms / DAY_MS);
      day = dayOf(ms);
    }
    return day;
  };
}

export function countsOfNothing(): UsageCounts {
  return {
    calls: 0,
    failedCalls: 0,
    promptTokens: 0,
    completionTokens: 0,
    cachedPromptTokens: 0,
    cacheWritePromptTokens: 0,
    reasoningTokens: 0,
    nanoUsd: 0,
    unpricedCalls: 0,
  };
}

function textOf({ day, key, provider, model }: UsageKey): string {
  return `${day}\n${key}\n${provider}\n${model}`;
}

/** Sums of usage by key, provider, model and day. */
export class UsageSums {
  readonly #rows = new Map<string, UsageRow & UsageCounts>();

  get size(): number {
    return this.#rows.size;
  }

  add(row: UsageRow): void {
    const text = textOf(row);
    const sums = this.#rows.get(text);
    if (sums === undefined) {
      this.#rows.set(text, { ...row });
      return;
    }
    // By name: a loop over COUNTS takes ten times as long, and every call comes here.
    sums.calls += row.calls;
    sums.failedCalls += row.failedCalls;
    sums.promptTokens += row.promptTokens;
    sums.completionTokens += row.completionTokens;
    sums.cachedPromptTokens += row.cachedPromptTokens;
    sums.cacheWritePromptTokens += row.cacheWritePromptTokens;
    sums.reasoningTokens += row.reasoningTokens;
    sums.nanoUsd += row.nanoUsd;
    sums.unpricedCalls += row.unpricedCalls;
  }

  has(row: UsageKey): boolean {
    return this.#rows.has(textOf(row));
  }

  /** Everything, and begin anew. */
  drain(): UsageRow[] {
    const rows = [...this.#rows.values()];
    this.#rows.clear();
    return rows;
  }

  /** Forget the days before this one. */
  forgetBefore(day: string): void {
    for (const [text, row] of this.#rows) if (row.day < day) this.#rows.delete(text);
  }

  find(filter: UsageFilter): UsageRow[] {
    return [...this.#rows.values()].filter((row) => isAsked(row, filter)).map((row) => ({ ...row }));
  }
}

function isAsked(row: UsageRow, { from, to, key, model }: UsageFilter): boolean {
  if (row.day < from || row.day > to) return false;
  return (key === undefined || row.key === key) && (model === undefined || row.model === model);
}

/** The order in which usage is told. */
export function inOrder(rows: readonly UsageRow[]): UsageRow[] {
  return rows.toSorted(
    (a, b) =>
      compare(a.day, b.day) || compare(a.key, b.key) || compare(a.provider, b.provider) || compare(a.model, b.model),
  );
}

/** By code units, as SQLite and Redis do, whatever the language of the machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
