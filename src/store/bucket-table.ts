import { levelAt, msToFill } from './token-bucket.ts';

/** Level, time of that level, and time when the bucket is full again. */
const FIELDS = 3;
const FIRST_ROWS = 1024;
/** Rows looked at for each one written: more than come in, so that the table cannot outgrow those in use for long. */
const SWEPT = 4;
/** Rows among which a full table chooses the one to forget. */
const CHOICES = 16;

/**
 * Token buckets by key, three numbers each: about 110 bytes with the key, where an object would take 250.
 *
 * A full bucket needs no row, as a missing one is full. Rows of buckets that have filled up meanwhile are found in passing.
 */
export class BucketTable {
  readonly #maxRows: number;
  readonly #rows = new Map<string, number>();
  /** The key of each row; undefined: it is free. */
  readonly #keys: (string | undefined)[] = [];
  readonly #free: number[] = [];
  #values = new Float64Array(FIRST_ROWS * FIELDS);
  /** The row that is looked at next. */
  #hand = 0;

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
    const at = row * FIELDS;
    return levelAt(now, values[at + 1] as number, values[at] as number, capacity, refillPerMs);
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
      row = this.#newRow(key);
    }
    const values = this.#values;
    const at = row * FIELDS;
    values[at] = level;
    values[at + 1] = now;
    values[at + 2] = now + msToFill(level, capacity, refillPerMs);
  }

  #newRow(key: string): number {
    const row = this.#free.pop() ?? this.#keys.length;
    this.#keys[row] = key;
    this.#rows.set(key, row);
    if ((row + 1) * FIELDS > this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    return row;
  }

  #forget(key: string, row: number): void {
    this.#rows.delete(key);
    this.#keys[row] = undefined;
    this.#free.push(row);
  }

  /** The next row in turn, which may be free. */
  #next(): number {
    if (this.#hand >= this.#keys.length) this.#hand = 0;
    return this.#hand++;
  }

  #sweep(now: number): void {
    for (let count = Math.min(SWEPT, this.#keys.length); count > 0; count--) {
      const row = this.#next();
      const key = this.#keys[row];
      if (key !== undefined && (this.#values[row * FIELDS + 2] as number) <= now) this.#forget(key, row);
    }
  }

  #evict(): void {
    let choice: number | undefined;
    let soonest = Number.POSITIVE_INFINITY;
    for (let count = 0; count < CHOICES; count++) {
      const row = this.#next();
      if (this.#keys[row] === undefined) continue;
      const fullAt = this.#values[row * FIELDS + 2] as number;
      if (choice !== undefined && fullAt >= soonest) continue;
      choice = row;
      soonest = fullAt;
    }
    const key = choice === undefined ? undefined : this.#keys[choice];
    if (choice !== undefined && key !== undefined) this.#forget(key, choice);
  }
}
