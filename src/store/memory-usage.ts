import type { UsageFilter, UsageRow, UsageStore } from './store.ts';
import { inOrder, UsageSums } from './usage.ts';

const MAX_ROWS = 50_000;

/** Keeps usage in memory, until the process ends. When there are too many rows the oldest days are forgotten. */
export class MemoryUsage implements UsageStore {
  readonly #sums = new UsageSums();
  readonly #maxRows: number;

  constructor(maxRows = MAX_ROWS) {
    this.#maxRows = maxRows;
  }

  add(row: UsageRow): void {
    if (this.#sums.size >= this.#maxRows && !this.#sums.has(row)) this.#sums.forgetBefore(row.day);
    if (this.#sums.size >= this.#maxRows && !this.#sums.has(row)) return;
    this.#sums.add(row);
  }

  async find(filter: UsageFilter): Promise<UsageRow[]> {
    return inOrder(this.#sums.find(filter));
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}
}
