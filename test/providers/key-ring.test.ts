import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyRing } from '../../src/providers/key-ring.ts';

function ringOf(count: number) {
  const clock = { ms: 0 };
  return { clock, ring: new KeyRing(count, () => clock.ms) };
}

describe('a key ring', () => {
  it('uses the keys in turn', () => {
    const { ring } = ringOf(3);
    expect([1, 2, 3, 4].map(() => ring.next('m'))).toEqual([0, 1, 2, 0]);
  });

  it('passes over a key that rests for the model, until its rest is over', () => {
    const { ring, clock } = ringOf(3);
    ring.rest(1, 'm', 100);
    expect([1, 2, 3].map(() => ring.next('m'))).toEqual([0, 2, 0]);
    expect([1, 2].map(() => ring.next('other'))).toEqual([1, 2]);
    clock.ms = 101;
    expect([1, 2, 3].map(() => ring.next('m'))).toEqual([0, 1, 2]);
  });

  it('lets a refused key rest for every model', () => {
    const { ring } = ringOf(2);
    ring.rest(0, '', 100);
    expect(['m', 'n', 'o'].map((model) => ring.next(model))).toEqual([1, 1, 1]);
  });

  it('gives the key that is ready soonest when all rest, and says when', () => {
    const { ring } = ringOf(2);
    ring.rest(0, 'm', 300);
    expect(ring.readyInMs('m')).toBe(0);
    ring.rest(1, 'm', 200);
    expect(ring.readyInMs('m')).toBe(200);
    expect(ring.next('m')).toBe(1);
  });

  // A second, shorter limit must not end the first one early.
  it('keeps the longer of two rests', () => {
    const { ring } = ringOf(2);
    ring.rest(0, 'm', 7_000);
    ring.rest(0, 'm', 1_000);
    ring.rest(1, 'm', 9_000);
    expect(ring.readyInMs('m')).toBe(7_000);
  });

  it('never lets an only key rest', () => {
    const { ring } = ringOf(1);
    ring.rest(0, 'm', 1_000);
    expect([ring.next('m'), ring.readyInMs('m')]).toEqual([0, 0]);
  });

  it('gives a ready key whenever there is one, whatever happened', () => {
    const step = fc.record({
      key: fc.nat(3),
      model: fc.constantFrom('', 'a', 'b'),
      ms: fc.nat(500),
      pass: fc.nat(200),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const { ring, clock } = ringOf(4);
        const until = new Map<string, number>();
        for (const { key, model, ms, pass } of steps) {
          ring.rest(key, model, ms);
          until.set(`${key}${model}`, Math.max(until.get(`${key}${model}`) ?? 0, clock.ms + ms));
          clock.ms += pass;
          const rests = (each: number) =>
            Math.max(0, (until.get(`${each}a`) ?? 0) - clock.ms, (until.get(`${each}`) ?? 0) - clock.ms);
          const soonest = Math.min(...[0, 1, 2, 3].map(rests));
          expect(ring.readyInMs('a')).toBe(soonest);
          expect(rests(ring.next('a'))).toBe(soonest);
        }
      }),
    );
  });
});
