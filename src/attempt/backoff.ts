/** How long to wait between attempts at one target. */
export interface Backoff {
  /** Before the first retry. */
  readonly baseMs: number;
  /** At most, before the jitter. */
  readonly maxMs: number;
}

/**
 * Milliseconds to wait before a retry, the first of which is 0: twice as long each time, up to a bound, and by a fifth more or
 * less, so that callers who failed together do not come back together.
 *
 * https://github.com/grpc/proposal/blob/master/A6-client-retries.md#exponential-backoff
 */
export function backoffMs(retry: number, { baseMs, maxMs }: Backoff, random: () => number): number {
  // No more doublings than reach any bound: 0 times infinity is no number.
  return Math.min(baseMs * 2 ** Math.min(retry, 60), maxMs) * (0.8 + 0.4 * random());
}
