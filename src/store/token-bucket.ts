/** Sums of fractions are a little off: a caller who waited as long as was said must not be told to wait for 10⁻¹³ ms more. */
export const TOLERANCE = 1e-6;

/**
 * What a bucket holds that held `level` at the time `at`.
 *
 * A clock that was set back has let no time pass. Redis counts by the same steps (`redis/limits.lua`), so that both give the
 * same answers to the last bit.
 */
export function levelAt(now: number, at: number, level: number, capacity: number, refillPerMs: number): number {
  const elapsed = now - at;
  return Math.min(capacity, elapsed > 0 ? level + elapsed * refillPerMs : level);
}

/** How long a bucket takes from one level to another. */
export function msToFill(level: number, wanted: number, refillPerMs: number): number {
  if (level >= wanted) return 0;
  return refillPerMs > 0 ? (wanted - level) / refillPerMs : Number.POSITIVE_INFINITY;
}
