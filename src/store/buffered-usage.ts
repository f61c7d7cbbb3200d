import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { UsageFilter, UsageRow, UsageStore } from './store.ts';
import { inOrder, UsageSums } from './usage.ts';

/** Where usage is kept for good. */
export interface UsageTable {
  /** Add rows to those that are there. The same batch is added once, however often it is given. */
  add(batch: string, rows: readonly UsageRow[]): Promise<void>;
  /** In any order. */
  find(filter: UsageFilter): Promise<readonly UsageRow[]>;
}

const FLUSH_MS = 1000;
const MAX_ROWS = 10_000;

/**
 * Keeps usage in a table, summed up for a second before it is written: a call costs an addition here and no write there.
 *
 * What cannot be written is kept and tried again, under the name it had, so that an answer which was lost does not count twice. A
 * process that is killed loses its last second; budgets do not depend on it.
 */
export class BufferedUsage implements UsageStore {
  readonly #table: UsageTable;
  readonly #log: Logger;
  readonly #sums = new UsageSums();
  #batch: { readonly name: string; readonly rows: readonly UsageRow[] } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #isFull = false;

  constructor(table: UsageTable, log: Logger) {
    this.#table = table;
    this.#log = log;
  }

  add(row: UsageRow): void {
    if (this.#sums.size >= MAX_ROWS && !this.#sums.has(row)) {
      if (!this.#isFull) this.#log.warn('usage is lost: it cannot be written, and there is too much of it to be kept');
      this.#isFull = true;
      return;
    }
    this.#sums.add(row);
    this.#schedule();
  }

  async find(filter: UsageFilter): Promise<UsageRow[]> {
    await this.flush();
    return inOrder(await this.#table.find(filter));
  }

  async flush(): Promise<void> {
    if (this.#writing) await this.#writing;
    if (this.#batch === undefined && this.#sums.size === 0) return;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  async close(): Promise<void> {
    await this.flush();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const rows = this.#sums.size + (this.#batch?.rows.length ?? 0);
    if (rows > 0) this.#log.warn({ rows }, 'usage is lost: it cannot be written, and the process ends');
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, FLUSH_MS).unref();
  }

  async #write(): Promise<void> {
    while (this.#batch !== undefined || this.#sums.size > 0) {
      this.#batch ??= { name: randomBytes(12).toString('base64url'), rows: this.#sums.drain() };
      try {
        await this.#table.add(this.#batch.name, this.#batch.rows);
        this.#batch = undefined;
        this.#isFull = false;
      } catch (error) {
        this.#log.debug({ err: error }, 'usage cannot be written now');
        this.#schedule();
        return;
      }
    }
  }
}
