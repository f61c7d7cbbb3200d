const buckets = 10;

/**
 * Counts of a few kinds of things within the last so many milliseconds.
 *
 * The window is cut into ten buckets and moves by one bucket at a time, so it reaches back between nine tenths of its length and
 * all of it. Nothing is kept for a single thing: adding costs an increment.
 */
export class SlidingCounts {
  readonly #kinds: number;
  readonly #bucketMs: number;
  readonly #now: () => number;
  /** The buckets' counts, one bucket after the other. */
  readonly #counts: Float64Array;
  /** Sums over all buckets. */
  readonly #totals: Float64Array;
  /** Number of the newest bucket, counted from the clock's zero. */
  #newest: number;

  /** The clock is monotonic: it may leap forward, never back. */
  constructor(kinds: number, windowMs: number, now: () => number) {
    this.#kinds = kinds;
    this.#bucketMs = windowMs / buckets;
    this.#now = now;
    this.#counts = new Float64Array(kinds * buckets);
    this.#totals = new Float64Array(kinds);
    this.#newest = Math.floor(now() / this.#bucketMs);
  }

  /** Count one of this kind. */
  add(kind: number): void {
    this.#slide();
    const at = this.#first(this.#newest) + kind;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#totals[kind] = (this.#totals[kind] ?? 0) + 1;
  }

  /** How many of this kind there are within the window. */
  total(kind: number): number {
    this.#slide();
    return this.#totals[kind] ?? 0;
  }

  /** Forget everything. */
  clear(): void {
    this.#counts.fill(0);
    this.#totals.fill(0);
  }

  /** Drop the buckets that have left the window. */
  #slide(): void {
    const newest = Math.floor(this.#now() / this.#bucketMs);
    if (newest <= this.#newest) return;
    if (newest - this.#newest >= buckets) this.clear();
    else for (let bucket = this.#newest + 1; bucket <= newest; bucket++) this.#empty(this.#first(bucket));
    this.#newest = newest;
  }

  #empty(first: number): void {
    for (let kind = 0; kind < this.#kinds; kind++) {
      this.#totals[kind] = (this.#totals[kind] ?? 0) - (this.#counts[first + kind] ?? 0);
      this.#counts[first + kind] = 0;
    }
  }

  /** Where a bucket's counts begin. */
  #first(bucket: number): number {
    return (bucket % buckets) * this.#kinds;
  }
}
