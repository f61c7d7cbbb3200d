import { levelAt, msToFill } from './token-bucket.ts';

/** Level, time of that level, and time when the bucket is full again. */
const FIELDS = 3;
const FIRST_ROWS = 1024;
/** Rows looked at for each one written: more than come in, so that the table cannot outgrow those in use for long. */
const SWEPT = 4;
/** Rows among which a full table chooses the one to forget. */
const CHOICES = 16;

/**
 * Token buckets by key, three numbers each: about 100 bytes with the key, where an object would take 250.
 *
 * A full bucket needs no row, as a missing one is full. Rows of buckets that have filled up meanwhile are found in passing.
 */
export class BucketTable {
  readonly #maxRows: number;
  readonly #rows = new Map<string, number>();
  readonly #free: number[] = [];
  #values = new Float64Array(FIRST_ROWS * FIELDS);
  #used = 0;
  #hand = this.#rows.entries();

  /** A table that has reached `maxRows` forgets, of a few, the bucket that is full soonest. */
  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  get size(): number {
    return this.#rows.size;
  }

  levelOf(key: string, capacity: number, refillPerMs: number, now: number): number {
    const row = this.#rows.get(key);
    if (row === undefined) return capacity;
    const values = this.#values;
    return levelAt(now, values[row + 1] as number, values[row] as number, capacity, refillPerMs);
  }

  write(key: string, level: number, capacity: number, refillPerMs: number, now: number): void {
    this.#sweep(now);
    let row = this.#rows.get(key);
    if (level >= capacity) {
      if (row !== undefined) this.#forget(key, row);
      return;
    }
    if (row === undefined) {
      if (this.#rows.size >= this.#maxRows) this.#evict();
      row = this.#newRow();
      this.#rows.set(key, row);
    }
    this.#values[row] = level;
    this.#values[row + 1] = now;
    this.#values[row + 2] = now + msToFill(level, capacity, refillPerMs);
  }

  #newRow(): number {
    const row = this.#free.pop() ?? this.#used++ * FIELDS;
    if (row + FIELDS > this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    return row;
  }

  #forget(key: string, row: number): void {
    this.#rows.delete(key);
    this.#free.push(row);
  }

  #next(): [string, number] | undefined {
    let next = this.#hand.next();
    if (next.done) {
      this.#hand = this.#rows.entries();
      next = this.#hand.next();
    }
    return next.value;
  }

  #sweep(now: number): void {
    for (let count = 0; count < SWEPT; count++) {
      const entry = this.#next();
      if (entry === undefined) return;
      if ((this.#values[entry[1] + 2] as number) <= now) this.#forget(...entry);
    }
  }

  #evict(): void {
    let choice: [string, number] | undefined;
    let soonest = Number.POSITIVE_INFINITY;
    for (let count = 0; count < CHOICES; count++) {
      const entry = this.#next();
      if (entry === undefined) break;
      const fullAt = this.#values[entry[1] + 2] as number;
      if (choice !== undefined && fullAt >= soonest) continue;
      choice = entry;
      soonest = fullAt;
    }
    if (choice) this.#forget(...choice);
  }
}
