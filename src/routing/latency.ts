/** What a target costs whose latency nobody knows yet and that somebody is trying already: more than any that is known. */
const beingExploredMs = 1e12;

/** How many times slower a target counts after a failure, and the least and the most it then counts for. */
const failureFactor = 10;
const leastFailureMs = 1_000;
const mostFailureMs = 60_000;

/**
 * How long a target lately took to its first token: an average that follows peaks at once and good news gradually.
 *
 * - A slower sample takes over; a faster one weighs the more the longer the last one is ago.
 * - A failure counts as a very slow answer, so that a target that fails fast does not look like a fast one.
 * - What is not called gets cheaper with time, and is so tried again.
 *
 * It is the peak EWMA of Finagle, except that reading it changes nothing: a good sample counts the same however often the
 * value was looked at before.
 * https://github.com/twitter/finagle/blob/develop/finagle-core/src/main/scala/com/twitter/finagle/loadbalancer/PeakEwma.scala
 */
export class PeakEwma {
  readonly #now: () => number;
  readonly #decayMs: number;
  #ms: number | undefined;
  #at = 0;

  /** `decayMs` is the time in which what is known loses all but 1/e of its weight. */
  constructor(now: () => number, decayMs = 10_000) {
    this.#now = now;
    this.#decayMs = decayMs;
  }

  /** The average in milliseconds, as it was at the last sample, failures included; undefined: not called yet. */
  get ms(): number | undefined {
    return this.#ms;
  }

  /** An answer began after so many milliseconds. */
  observe(ms: number): void {
    const now = this.#now();
    if (this.#ms === undefined || ms > this.#ms) {
      this.#ms = ms;
    } else {
      const kept = this.#remaining(now);
      this.#ms = this.#ms * kept + ms * (1 - kept);
    }
    this.#at = now;
  }

  /**
   * An attempt failed after so many milliseconds.
   *
   * There is a limit to how bad failures in a row make it, else each of them would add to the time until the next trial.
   */
  fail(elapsedMs: number): void {
    const now = this.#now();
    const before = (this.#ms ?? 0) * this.#remaining(now);
    const worse = Math.min(before * failureFactor, mostFailureMs);
    this.#ms = Math.max(elapsedMs, before, worse, leastFailureMs);
    this.#at = now;
  }

  /** What one more call costs beside those that are active already: the lower, the sooner the target's turn. */
  cost(active: number): number {
    if (this.#ms === undefined) return active * beingExploredMs;
    return this.#ms * this.#remaining(this.#now()) * (active + 1);
  }

  /** The share that a value of the last sample has now. */
  #remaining(now: number): number {
    return Math.exp(-Math.max(now - this.#at, 0) / this.#decayMs);
  }
}
