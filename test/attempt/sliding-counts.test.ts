import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SlidingCounts } from '../../src/attempt/sliding-counts.ts';

/** Counts of three kinds over a second, and their clock. */
function openCounts(startMs = 0) {
  const clock = { ms: startMs };
  return { clock, counts: new SlidingCounts(3, 1_000, () => clock.ms) };
}

describe('sliding counts', () => {
  it('tell each kind by itself', () => {
    const { counts } = openCounts();

    counts.add(0);
    counts.add(2);
    counts.add(2);

    expect([counts.total(0), counts.total(1), counts.total(2)]).toEqual([1, 0, 2]);
  });

  it('forget what has left the window, a tenth of it at a time', () => {
    const { clock, counts } = openCounts();

    counts.add(0);
    clock.ms = 150;
    counts.add(0);
    clock.ms = 999;
    expect(counts.total(0)).toBe(2);

    clock.ms = 1_000;
    expect(counts.total(0)).toBe(1);
    clock.ms = 1_100;
    expect(counts.total(0)).toBe(0);
  });

  it('are empty after the clock has leapt, however far, and count on from there', () => {
    const { clock, counts } = openCounts(123_456.7);

    counts.add(1);
    clock.ms += 2 ** 45;
    expect(counts.total(1)).toBe(0);

    counts.add(1);
    expect(counts.total(1)).toBe(1);
  });

  it('are empty after they were cleared', () => {
    const { clock, counts } = openCounts();

    counts.add(0);
    counts.clear();
    counts.add(0);
    expect(counts.total(0)).toBe(1);

    clock.ms = 1_000;
    expect(counts.total(0)).toBe(0);
  });

  it('agree with a list of everything that happened, over any history', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ add: fc.nat(2) }) },
      { weight: 3, arbitrary: fc.record({ pass: fc.integer({ min: 0, max: 250 }) }) },
      { weight: 1, arbitrary: fc.record({ pass: fc.constantFrom(900, 999.9, 1_000, 1_001, 10_000, 1e12) }) },
    );
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e6, noNaN: true }),
        fc.array(step, { maxLength: 200, size: 'max' }),
        (start, steps) => {
          const { clock, counts } = openCounts(start);
          let added: { kind: number; bucket: number }[] = [];
          for (const each of steps) {
            if ('add' in each) {
              counts.add(each.add);
              added.push({ kind: each.add, bucket: Math.floor(clock.ms / 100) });
            } else clock.ms += each.pass;
            added = added.filter(({ bucket }) => bucket > Math.floor(clock.ms / 100) - 10);
            for (const kind of [0, 1, 2])
              expect(counts.total(kind)).toBe(added.filter((one) => one.kind === kind).length);
          }
        },
      ),
    );
  });
});
