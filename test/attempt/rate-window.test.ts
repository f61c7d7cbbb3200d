import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RateWindow } from '../../src/attempt/rate-window.ts';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

/** Bytes of all arrays in use. */
async function arrayBytes(): Promise<number> {
  collectGarbage();
  // What is still on the stack, or being swept, goes with the second.
  await new Promise(setImmediate);
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

/** A window of a second, and its clock. */
function openWindow(limit: number) {
  const clock = { ms: 0 };
  const window = new RateWindow(limit, 1_000, () => clock.ms);
  const takeAll = (most: number) => {
    let count = 0;
    while (count < most && window.take()) count++;
    return count;
  };
  return { window, clock, takeAll };
}

describe('a rate window', () => {
  it('lets its limit pass, and the next when the oldest has left the window', () => {
    const { window, clock, takeAll } = openWindow(3);

    expect(takeAll(1)).toBe(1);
    clock.ms = 400;
    expect(takeAll(9)).toBe(2);
    expect(window.freeInMs).toBe(600);

    clock.ms = 999;
    expect(window.take()).toBe(false);
    expect(window.freeInMs).toBe(1);
    clock.ms = 1_000;
    expect(window.freeInMs).toBe(0);
    expect(takeAll(9)).toBe(1);
    expect(window.freeInMs).toBe(400);
  });

  it('has no limit when that is 0, and counts from then on when one is set', () => {
    const { window, takeAll } = openWindow(0);

    expect(takeAll(10_000)).toBe(10_000);
    expect(window.freeInMs).toBe(0);

    window.configure(2);
    expect(takeAll(10)).toBe(2);
    window.configure(0);
    expect(takeAll(10_000)).toBe(10_000);
    window.configure(2);
    expect(takeAll(10)).toBe(2);
  });

  it('counts what was taken when its limit changes', () => {
    const { window, clock, takeAll } = openWindow(5);
    for (clock.ms = 0; clock.ms < 500; clock.ms += 100) takeAll(1);

    window.configure(2);
    expect(window.take()).toBe(false);
    expect(window.freeInMs).toBe(800);
    clock.ms = 1_300;
    expect(takeAll(9)).toBe(1);

    window.configure(4);
    expect(takeAll(9)).toBe(2);
  });

  it('says that one is free only when one can be taken, however the clock rounds', () => {
    const { window, clock } = openWindow(1);

    clock.ms = 1_345.374;
    window.take();
    clock.ms += 1_000;

    expect(clock.ms - 1_345.374).toBeLessThan(1_000);
    expect(window.freeInMs).toBe(1);
    expect(window.take()).toBe(false);
  });

  it('takes memory for what was taken, not for its limit, and gives it back', async () => {
    const before = await arrayBytes();

    const { window, clock, takeAll } = openWindow(4_000_000_000);
    expect((await arrayBytes()) - before).toBeLessThan(1_000);

    takeAll(1_000_000);
    expect((await arrayBytes()) - before).toBeGreaterThanOrEqual(8_000_000);

    clock.ms = 1_000;
    window.take();
    expect((await arrayBytes()) - before).toBeLessThan(1_000);
    expect(window.freeInMs).toBe(0);
  });

  it('never lets more than its limit pass within any window, nor keeps anybody out without need, over any history', () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ take: fc.integer({ min: 1, max: 40 }) }) },
      {
        weight: 3,
        arbitrary: fc.record({ passMs: fc.integer({ min: 0, max: 400_000 }).map((parts) => parts / 1_024) }),
      },
      { weight: 1, arbitrary: fc.record({ passMs: fc.constantFrom(999, 1_000, 2 ** 30) }) },
      { weight: 1, arbitrary: fc.constant('wait' as const) },
      { weight: 1, arbitrary: fc.record({ limit: fc.integer({ min: 1, max: 200 }) }) },
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.array(step, { maxLength: 100, size: 'max' }), (first, steps) => {
        const { window, clock } = openWindow(first);
        let limit = first;
        let taken: number[] = [];
        const free = () => {
          taken = taken.filter((at) => clock.ms - at < 1_000);
          return taken.length < limit;
        };
        for (const each of steps) {
          if (each === 'wait') {
            clock.ms += window.freeInMs;
            expect(free()).toBe(true);
          } else if ('take' in each) {
            for (let take = 0; take < each.take; take++) {
              const expected = free();
              expect(window.freeInMs === 0).toBe(expected);
              expect(window.take()).toBe(expected);
              if (expected) taken.push(clock.ms);
            }
          } else if ('limit' in each) {
            limit = each.limit;
            window.configure(limit);
          } else clock.ms += each.passMs;
        }
      }),
    );
  });
});
