/** Counts of what repeated calls came to, since the start. */
export class CacheCounts {
  /** Calls that the cache answered, and those that shared the answer which another call was getting. */
  hits = 0;
  /** Those of the hits that shared an answer that was still coming. */
  shared = 0;
  /** Calls whose answer the cache might have had, and had not. */
  misses = 0;
  /** Calls that did not want to read the cache, or whose answer is another one each time. */
  bypasses = 0;
  /** Answers that were stored. */
  stored = 0;
  /** Reads and writes of the store that failed. */
  storeFailures = 0;
  /** Calls that got the outcome of an earlier one with their idempotency key. */
  repeats = 0;

  /** The share of hits among the calls that the cache was asked for; 0 while there are none. */
  get hitRate(): number {
    const asked = this.hits + this.misses;
    return asked === 0 ? 0 : this.hits / asked;
  }
}
