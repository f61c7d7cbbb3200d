const smallest = 16;

/**
 * Lets something happen at most so often within any span of its window's length.
 *
 * It keeps the time of each take, since a provider that counts exactly refuses what an approximation lets through. The memory
 * follows what was taken within the window, never the limit. A limit of 0 is none.
 */
export class RateWindow {
  readonly #windowMs: number;
  readonly #now: () => number;
  #limit: number;
  /** A ring of the times, whose length is a power of two. */
  #times = new Float64Array(smallest);
  #oldest = 0;
  #count = 0;

  /** The clock is monotonic: it may leap forward, never back. */
  constructor(limit: number, windowMs: number, now: () => number) {
    this.#limit = limit;
    this.#windowMs = windowMs;
    this.#now = now;
  }

  /** Take one; false: there is none free. */
  take(): boolean {
    if (this.#limit === 0) return true;
    const now = this.#now();
    this.#forget(now);
    if (this.#count >= this.#limit) return false;
    if (this.#count === this.#times.length) this.#resize(this.#count * 2);
    this.#times[(this.#oldest + this.#count) & (this.#times.length - 1)] = now;
    this.#count++;
    return true;
  }

  /** Milliseconds until one is free; 0: now. */
  get freeInMs(): number {
    if (this.#limit === 0) return 0;
    const now = this.#now();
    this.#forget(now);
    if (this.#count < this.#limit) return 0;
    // A limit that was lowered may be exceeded by what was taken before.
    // In the words of #forget: summed up in another order it could round to 0 while none is free.
    return Math.ceil(this.#windowMs - (now - this.#at(this.#count - this.#limit)));
  }

  /** How many are free now; Infinity without a limit. */
  get left(): number {
    if (this.#limit === 0) return Number.POSITIVE_INFINITY;
    this.#forget(this.#now());
    return Math.max(0, this.#limit - this.#count);
  }

  /** Go on by another limit. What was taken within the window counts, unless there was no limit. */
  configure(limit: number): void {
    this.#limit = limit;
    if (limit > 0) return;
    this.#count = 0;
    this.#times = new Float64Array(smallest);
  }

  /** Forget what has left the window, and the memory it took. */
  #forget(now: number): void {
    while (this.#count > 0 && now - this.#at(0) >= this.#windowMs) {
      this.#oldest = (this.#oldest + 1) & (this.#times.length - 1);
      this.#count--;
    }
    // Only once a quarter is left, lest a count that goes up and down make it grow and shrink each time.
    if (this.#times.length > smallest && this.#count < this.#times.length / 4)
      this.#resize(Math.max(smallest, 2 ** Math.ceil(Math.log2(this.#count * 2 + 1))));
  }

  #resize(length: number): void {
    const times = new Float64Array(length);
    for (let index = 0; index < this.#count; index++) times[index] = this.#at(index);
    this.#times = times;
    this.#oldest = 0;
  }

  #at(index: number): number {
    return this.#times[(this.#oldest + index) & (this.#times.length - 1)] ?? 0;
  }
}
