import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../src/attempt/backoff.ts';

describe('the wait before a retry', () => {
  it('doubles each time, up to its bound', () => {
    const waits = [0, 1, 2, 3, 4, 5, 2_000].map((retry) => backoffMs(retry, { baseMs: 100, maxMs: 2_000 }, () => 0.5));

    expect(waits).toEqual([100, 200, 400, 800, 1_600, 2_000, 2_000]);
  });

  it('varies by a fifth, and uses all of that', () => {
    const wait = (random: number) => backoffMs(0, { baseMs: 1_000, maxMs: 2_000 }, () => random);

    expect(wait(0)).toBe(800);
    expect(wait(0.25)).toBe(900);
    expect(wait(0.999_999)).toBeCloseTo(1_200, 2);
  });

  it('never leaves its bounds', () => {
    fc.assert(
      fc.property(
        fc.nat(10_000),
        fc.nat(1e6),
        fc.nat(1e6),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (...drawn) => {
          const [retry, baseMs, maxMs, random] = drawn;
          const wait = backoffMs(retry, { baseMs, maxMs }, () => random);
          expect(wait).toBeGreaterThanOrEqual(0.8 * Math.min(baseMs, maxMs));
          expect(wait).toBeLessThanOrEqual(1.2 * maxMs);
        },
      ),
    );
  });
});
