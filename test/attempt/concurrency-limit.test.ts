import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConcurrencyLimit } from '../../src/attempt/concurrency-limit.ts';
import { Stop } from '../../src/stop.ts';

/** A limit that is reached, and calls in line who note how it ended for them. */
function fullLimit(most: number, waiting: string, longestLine?: number) {
  const limit = new ConcurrencyLimit(most, longestLine === undefined ? {} : { longestLine });
  for (let place = 0; place < most; place++) limit.tryEnter();
  const ended: string[] = [];
  const stops: Record<string, AbortController> = {};
  for (const name of waiting) {
    const stop = new AbortController();
    stops[name] = stop;
    limit.enter(stop.signal).then(
      (entered) => ended.push(`${name} ${entered ? 'in' : 'out'}`),
      (reason) => ended.push(`${name} ${reason}`),
    );
  }
  /** Nobody listens, and no timer runs. */
  const nothingIsLeft = () => {
    for (const stop of Object.values(stops)) expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  };
  return { limit, ended, stops, nothingIsLeft };
}

/** Lets all promises settle. */
const later = () => vi.advanceTimersByTimeAsync(0);

describe('a concurrency limit', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('lets so many in, and another for each who leaves', () => {
    const limit = new ConcurrencyLimit(2);

    expect([limit.tryEnter(), limit.tryEnter(), limit.free, limit.tryEnter()]).toEqual([true, true, false, false]);
    expect(limit.active).toBe(2);

    limit.leave();
    expect([limit.active, limit.free, limit.tryEnter(), limit.tryEnter()]).toEqual([1, true, true, false]);
  });

  it('lets anybody in without waiting while there is a place', async () => {
    const limit = new ConcurrencyLimit(1);

    expect(await limit.enter(new Stop())).toBe(true);

    expect([limit.active, vi.getTimerCount()]).toEqual([1, 0]);
  });

  it('lets everybody in when it is 0', async () => {
    const limit = new ConcurrencyLimit(0);

    for (let call = 0; call < 1_000; call++) expect(limit.tryEnter()).toBe(true);
    expect(await limit.enter(new Stop())).toBe(true);

    expect(limit.active).toBe(1_001);
  });

  it('gives places to those in line in their order, and before all who come later', async () => {
    const { limit, ended, nothingIsLeft } = fullLimit(2, 'abc');
    expect([limit.active, limit.waiting]).toEqual([2, 3]);

    limit.leave();
    limit.leave();
    expect(limit.tryEnter()).toBe(false);
    await later();
    expect(ended).toEqual(['a in', 'b in']);
    expect([limit.active, limit.waiting]).toEqual([2, 1]);

    limit.leave();
    await later();
    expect(ended).toEqual(['a in', 'b in', 'c in']);
    nothingIsLeft();
  });

  it('lets nobody past those in line, though there were room for them for a moment', async () => {
    const { limit } = fullLimit(1, 'a');

    limit.configure(2);
    expect(limit.tryEnter()).toBe(false);
    limit.configure(3);
    expect(limit.tryEnter()).toBe(true);
  });

  it('sends those away who have waited for their time', async () => {
    const { limit, ended, nothingIsLeft } = fullLimit(1, 'ab');

    await vi.advanceTimersByTimeAsync(999);
    expect(ended).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(ended).toEqual(['a out', 'b out']);
    expect([limit.active, limit.waiting]).toEqual([1, 0]);
    nothingIsLeft();

    limit.leave();
    expect([limit.active, limit.free]).toEqual([0, true]);
  });

  it('sends those away at once for whom the line is too long', async () => {
    const { limit, ended } = fullLimit(1, 'abc', 2);

    await later();

    expect(ended).toEqual(['c out']);
    expect(limit.waiting).toBe(2);
  });

  it('makes nobody wait when there is no time to', async () => {
    const limit = new ConcurrencyLimit(1, { waitMs: 0 });

    expect(await limit.enter(new Stop())).toBe(true);
    expect(await limit.enter(new Stop())).toBe(false);

    expect(vi.getTimerCount()).toBe(0);
  });

  it('tells a caller who leaves the line why, and gives the next place to the next', async () => {
    const { limit, ended, stops, nothingIsLeft } = fullLimit(1, 'abc');

    stops.a?.abort('has left');
    await later();
    expect(ended).toEqual(['a has left']);
    expect(limit.waiting).toBe(2);

    limit.leave();
    await later();
    expect(ended).toEqual(['a has left', 'b in']);
    limit.leave();
    await later();
    expect(limit.active).toBe(1);
    nothingIsLeft();
  });

  it('hands a place on when the one it was given to leaves in that moment', async () => {
    const { limit, ended, stops, nothingIsLeft } = fullLimit(1, 'ab');

    limit.leave();
    stops.a?.abort('has left');
    await later();

    expect(ended.toSorted()).toEqual(['a has left', 'b in']);
    expect([limit.active, limit.waiting]).toEqual([1, 0]);
    nothingIsLeft();
  });

  it('lets nobody in who had left before they came', async () => {
    const limit = new ConcurrencyLimit(1);
    const stop = new Stop();
    stop.abort(new Error('has left'));

    await expect(limit.enter(stop)).rejects.toThrow('has left');

    expect(limit.active).toBe(0);
  });

  it('lets more in at once when it is raised, and all when it is lifted', async () => {
    const { limit, ended } = fullLimit(1, 'abcde');

    limit.configure(3);
    await later();
    expect(ended).toEqual(['a in', 'b in']);

    limit.configure(0);
    await later();
    expect(ended).toHaveLength(5);
    expect(limit.active).toBe(6);
  });

  it('sends nobody away when it is lowered, but lets nobody in until enough have left', async () => {
    const { limit, ended } = fullLimit(3, 'a');

    limit.configure(1);
    limit.leave();
    limit.leave();
    await later();
    expect([limit.active, ended]).toEqual([1, []]);

    limit.leave();
    await later();
    expect([limit.active, ended]).toEqual([1, ['a in']]);
  });

  it('never lets too many in nor loses a place, and keeps the order of the line, over any history', async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant('enter' as const) },
      { weight: 1, arbitrary: fc.constant('try' as const) },
      { weight: 3, arbitrary: fc.constant('leave' as const) },
      { weight: 2, arbitrary: fc.record({ abort: fc.nat(20) }) },
      { weight: 2, arbitrary: fc.constant('settle' as const) },
      { weight: 1, arbitrary: fc.record({ passMs: fc.integer({ min: 1, max: 700 }) }) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(step, { maxLength: 60, size: 'max' }),
        async (most, steps) => {
          const limit = new ConcurrencyLimit(most, { waitMs: 1_000, longestLine: 5 });
          const stops: Stop[] = [];
          const called: number[] = [];
          let inside = 0;
          let unsettled = 0;
          for (const each of steps) {
            if (each === 'enter') {
              const stop = new Stop();
              const number = stops.push(stop);
              unsettled++;
              const before = limit.waiting;
              const entering = limit.enter(stop);
              const waits = limit.waiting > before;
              entering.then(
                (got) => {
                  unsettled--;
                  if (!got) return;
                  inside++;
                  if (waits) called.push(number);
                },
                () => unsettled--,
              );
            } else if (each === 'try') inside += limit.tryEnter() ? 1 : 0;
            else if (each === 'leave') {
              if (inside > 0) {
                inside--;
                limit.leave();
              }
            } else if (each === 'settle') await later();
            else if ('abort' in each) stops[each.abort]?.abort('has left');
            else await vi.advanceTimersByTimeAsync(each.passMs);
            expect(limit.active).toBeLessThanOrEqual(most);
            expect(inside).toBeLessThanOrEqual(limit.active);
            expect(limit.waiting).toBeLessThanOrEqual(5);
            if (limit.waiting > 0) expect(limit.active).toBe(most);
          }
          await vi.advanceTimersByTimeAsync(1_000);
          expect({ active: limit.active, waiting: limit.waiting, unsettled }).toEqual({
            active: inside,
            waiting: 0,
            unsettled: 0,
          });
          expect(called).toEqual(called.toSorted((a, b) => a - b));
          expect(vi.getTimerCount()).toBe(0);
        },
      ),
    );
  });
});
