import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PeakEwma } from '../../src/routing/latency.ts';

/** A latency with a clock that only the test moves; it starts late, as a process does that has run for a while. */
function latencyAt(decayMs?: number) {
  const clock = { now: 5_000_000 };
  return { clock, latency: new PeakEwma(() => clock.now, decayMs) };
}

describe('the latency of a target', () => {
  it('is unknown until it is called, and then the first sample', () => {
    const { latency } = latencyAt();
    expect(latency.ms).toBeUndefined();
    latency.observe(120);
    expect(latency.ms).toBe(120);
  });

  it('follows a slower sample at once', () => {
    const { clock, latency } = latencyAt();
    latency.observe(100);
    clock.now += 5;
    latency.observe(900);
    expect(latency.ms).toBe(900);
  });

  it('follows a faster sample by the time that has passed', () => {
    const { clock, latency } = latencyAt();
    latency.observe(1_000);
    clock.now += 10_000;
    latency.observe(100);
    expect(latency.ms).toBeCloseTo(1_000 / Math.E + 100 * (1 - 1 / Math.E), 9);
  });

  it('decays as fast as it is told', () => {
    const { clock, latency } = latencyAt(1_000);
    latency.observe(1_000);
    clock.now += 1_000;
    expect(latency.cost(0)).toBeCloseTo(1_000 / Math.E, 9);
  });

  it('gets cheaper while nobody calls, and is not changed by being read', () => {
    const { clock, latency } = latencyAt();
    latency.observe(1_000);
    clock.now += 10_000 * Math.log(2);
    expect(latency.cost(0)).toBeCloseTo(500, 9);
    clock.now += 10_000 * Math.log(2);
    expect(latency.cost(0)).toBeCloseTo(250, 9);
    expect(latency.ms).toBe(1_000);
  });

  it('costs as many times as much as calls would then wait for it', () => {
    const { latency } = latencyAt();
    latency.observe(100);
    expect([0, 1, 9].map((active) => latency.cost(active))).toEqual([100, 200, 1_000]);
  });

  it('costs nothing before the first call, and more than any known while that one is under way', () => {
    const { latency } = latencyAt();
    const { latency: slow } = latencyAt();
    slow.fail(3_600_000);
    expect(latency.cost(0)).toBe(0);
    expect(latency.cost(1)).toBeGreaterThan(slow.cost(1_000));
    expect(latency.cost(2)).toBeGreaterThan(latency.cost(1));
  });

  it('counts a failure as at least a second', () => {
    const { latency } = latencyAt();
    latency.fail(3);
    expect(latency.ms).toBe(1_000);
  });

  it('counts a failure as ten times as slow as it is now', () => {
    const { clock, latency } = latencyAt();
    latency.observe(400);
    clock.now += 10_000 * Math.log(2);
    latency.fail(3);
    expect(latency.ms).toBeCloseTo(2_000, 9);
  });

  it('counts a failure as the time it took where that is more', () => {
    const { latency } = latencyAt();
    latency.observe(400);
    latency.fail(90_000);
    expect(latency.ms).toBe(90_000);
  });

  it('does not get out of reach by failing again and again', () => {
    const { clock, latency } = latencyAt();
    for (let i = 0; i < 100; i++) latency.fail(5);
    expect(latency.ms).toBe(60_000);
    clock.now += 65_000;
    expect(latency.cost(0)).toBeLessThan(100);
  });

  it('is never better than its samples nor worse than the worst of them', () => {
    const step = fc.record({ wait: fc.integer({ min: 0, max: 60_000 }), ms: fc.integer({ min: 1, max: 10_000 }) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1 }), (steps) => {
        const { clock, latency } = latencyAt();
        for (const { wait, ms } of steps) {
          clock.now += wait;
          latency.observe(ms);
          expect(latency.ms).toBeGreaterThanOrEqual(ms - 1e-9);
        }
        expect(latency.ms).toBeLessThanOrEqual(Math.max(...steps.map(({ ms }) => ms)) + 1e-9);
      }),
    );
  });
});
