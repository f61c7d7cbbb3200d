const TICK_MS = 10;

/** Knows when this process stood still. */
export interface Standstills {
  /** For how long it did since then, in milliseconds, on the clock of `performance.now()`. */
  since(from: number): number;
  stop(): void;
}

/**
 * Watch for moments in which this process did nothing, since the machine was busy with others.
 *
 * Callers, gateway and providers are one process in tests, and no timer in it can be more exact than that.
 */
export function watchStandstills(): Standstills {
  const found: { readonly at: number; readonly ms: number }[] = [];
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    if (now - last > 2 * TICK_MS) found.push({ at: now, ms: now - last - TICK_MS });
    last = now;
  }, TICK_MS);
  return {
    since: (from) =>
      found.filter(({ at }) => at > from).reduce((sum, { ms }) => sum + ms, 0) +
      Math.max(0, performance.now() - Math.max(last, from) - TICK_MS),
    stop: () => clearInterval(timer),
  };
}
