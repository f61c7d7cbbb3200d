import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Logger } from 'pino';
import type { UsageTable } from './buffered-usage.ts';
import type { BudgetLedger, Spending } from './memory.ts';
import type { UsageFilter, UsageRow } from './store.ts';
import { COUNTS, dayOf } from './usage.ts';

/** Of the tables below. */
const VERSION = 1;
const KEPT_MS = 400 * 86_400_000;
/** What was spent is written so often, all at once: each write stops the process for as long as it takes. */
const WRITE_MS = 50;
/** How long another process, such as a backup, may hold the file. */
const BUSY_MS = 20;

const columns = COUNTS.map((count) => count.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));

const schema = `
  CREATE TABLE IF NOT EXISTS budgets (
    name TEXT PRIMARY KEY, spent_nano_usd INTEGER NOT NULL, period_ends_at REAL NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    ${columns.map((column) => `${column} INTEGER NOT NULL`).join(', ')},
    PRIMARY KEY (day, key, provider, model)
  ) WITHOUT ROWID;
  PRAGMA user_version = ${VERSION};
`;

/**
 * Keeps budgets and usage of a single process in a file, over restarts.
 *
 * The file has a write-ahead log that is not flushed to the disk with each write: what was written outlives the process, and all
 * but the last moments outlive the machine. A process that is killed loses what was spent in the last 50 ms.
 */
export class SqliteFile implements BudgetLedger, UsageTable {
  readonly #database: DatabaseSync;
  readonly #log: Logger;
  readonly #unwritten = new Map<string, Spending>();
  readonly #loadBudget: StatementSync;
  readonly #saveBudget: StatementSync;
  readonly #addUsage: StatementSync;
  readonly #findUsage: StatementSync;
  #timer: NodeJS.Timeout | undefined;

  /** Throws, naming the file, if it cannot be used. */
  constructor(path: string, log: Logger) {
    this.#log = log;
    try {
      this.#database = open(path);
    } catch (cause) {
      throw new Error(`state.sqlite_path: cannot use ${path}: ${(cause as Error).message}`, { cause });
    }
    this.#loadBudget = this.#database.prepare('SELECT * FROM budgets WHERE name = ?');
    this.#saveBudget = this.#database.prepare('INSERT OR REPLACE INTO budgets VALUES (?, ?, ?)');
    const names = ['day', 'key', 'provider', 'model', ...columns];
    this.#addUsage = this.#database.prepare(
      `INSERT INTO usage (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})
       ON CONFLICT DO UPDATE SET ${columns.map((column) => `${column} = ${column} + excluded.${column}`).join(', ')}`,
    );
    const named = COUNTS.map((count, index) => `${columns[index]} AS ${count}`);
    this.#findUsage = this.#database.prepare(
      `SELECT day, key, provider, model, ${named.join(', ')} FROM usage
       WHERE day BETWEEN :from AND :to AND key = coalesce(:key, key) AND model = coalesce(:model, model)`,
    );
  }

  load(key: string): Spending | undefined {
    const unwritten = this.#unwritten.get(key);
    if (unwritten) return unwritten;
    const row = this.#loadBudget.get(key);
    return row && { spentNanoUsd: Number(row.spent_nano_usd), periodEndsAt: Number(row.period_ends_at) };
  }

  save(key: string, spending: Spending): void {
    this.#unwritten.set(key, spending);
    this.#schedule();
  }

  async add(_batch: string, rows: readonly UsageRow[]): Promise<void> {
    this.#atOnce(() => {
      for (const row of rows) {
        this.#addUsage.run(row.day, row.key, row.provider, row.model, ...COUNTS.map((count) => row[count]));
      }
    });
  }

  async find({ from, to, key, model }: UsageFilter): Promise<UsageRow[]> {
    const rows = this.#findUsage.all({ from, to, key: key ?? null, model: model ?? null });
    return rows.map((row) => ({ ...row }) as unknown as UsageRow);
  }

  /** Write what is left, and close the file. */
  close(): void {
    clearTimeout(this.#timer);
    this.#write();
    if (this.#unwritten.size > 0) this.#log.error('what was spent of budgets last could not be written');
    this.#database.close();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#write();
      if (this.#unwritten.size > 0) this.#schedule();
    }, WRITE_MS).unref();
  }

  #write(): void {
    if (this.#unwritten.size === 0) return;
    try {
      this.#atOnce(() => {
        for (const [key, { spentNanoUsd, periodEndsAt }] of this.#unwritten) {
          this.#saveBudget.run(key, spentNanoUsd, periodEndsAt);
        }
      });
      this.#unwritten.clear();
    } catch (error) {
      this.#log.warn({ err: error }, 'what was spent of budgets cannot be written now');
    }
  }

  #atOnce(write: () => void): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      write();
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#database.exec('ROLLBACK');
      throw error;
    }
  }
}

function open(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: BUSY_MS });
  try {
    const version = Number(database.prepare('PRAGMA user_version').get()?.user_version);
    if (version > VERSION) throw new Error(`it was written by a later version of the gateway (${version})`);
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    database.exec(schema);
    database.prepare('DELETE FROM usage WHERE day < ?').run(dayOf(Date.now() - KEPT_MS));
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}
