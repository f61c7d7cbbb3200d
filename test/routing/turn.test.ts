import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Turn } from '../../src/routing/turn.ts';
import { names, rated } from './rated.ts';

const weighted = (weights: readonly number[]) => weights.map((weight, index) => rated(`t${index}`, { weight }));

/** How often each target is first in so many turns. */
function firsts(turn: Turn, targets: ReturnType<typeof weighted>, turns: number): number[] {
  const counts = new Map(targets.map(({ model }) => [model, 0]));
  for (let i = 0; i < turns; i++) {
    const model = turn.next(targets)[0]?.model ?? '';
    counts.set(model, (counts.get(model) ?? 0) + 1);
  }
  return [...counts.values()];
}

describe('turns', () => {
  it('rotate among equals', () => {
    const turn = new Turn();
    const targets = weighted([1, 1, 1]);
    expect(Array.from({ length: 4 }, () => names(turn.next(targets)))).toEqual([
      't0 t1 t2',
      't1 t2 t0',
      't2 t0 t1',
      't0 t1 t2',
    ]);
  });

  it('of a heavy target are spread out', () => {
    const turn = new Turn();
    const targets = weighted([5, 1, 1]);
    const first = Array.from({ length: 7 }, () => turn.next(targets)[0]?.model);
    expect(first).toEqual(['t0', 't0', 't1', 't0', 't2', 't0', 't0']);
  });

  it('give three equal targets 1,000 each of 3,000', () => {
    expect(firsts(new Turn(), weighted([1, 1, 1]), 3_000)).toEqual([1_000, 1_000, 1_000]);
  });

  it('leave each group its own, however calls of several are interleaved, with no two equals more than one apart', () => {
    const calls = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 200 });
    fc.assert(
      fc.property(calls, fc.integer({ min: 1, max: 7 }), (groups, size) => {
        const targets = weighted(Array(size).fill(0.3));
        const turns = [new Turn(), new Turn(), new Turn()];
        const counts = turns.map(() => new Map(targets.map(({ model }) => [model, 0])));
        for (const group of groups) {
          const model = turns[group]?.next(targets)[0]?.model ?? '';
          const ofGroup = counts[group];
          ofGroup?.set(model, (ofGroup.get(model) ?? 0) + 1);
        }
        for (const ofGroup of counts) {
          expect(Math.max(...ofGroup.values()) - Math.min(...ofGroup.values())).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('follow whole weights to the letter over each full cycle', () => {
    const weights = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(weights, (weights) => {
        fc.pre(weights.some((weight) => weight > 0));
        const turn = new Turn();
        const cycle = weights.reduce((sum, weight) => sum + weight);
        for (let i = 0; i < 3; i++) expect(firsts(turn, weighted(weights), cycle)).toEqual(weights);
      }),
    );
  });

  it('follow fractions, too', () => {
    expect(firsts(new Turn(), weighted([0.7, 0.2, 0.1]), 1_000)).toEqual([700, 200, 100]);
  });

  it('never come to a target without weight, unless there are no others', () => {
    const steps = fc.array(fc.subarray([0, 1, 2, 3, 4], { minLength: 1 }), { maxLength: 100 });
    fc.assert(
      fc.property(steps, (present) => {
        const turn = new Turn();
        const targets = weighted([0, 2, 0, 1, 3]);
        for (const indices of present) {
          const given = targets.filter((_, index) => indices.includes(index));
          const order = turn.next(given).map(({ weight }) => weight > 0);
          expect(order).toEqual(order.toSorted((a, b) => Number(b) - Number(a)));
        }
      }),
    );
    expect(firsts(new Turn(), weighted([0, 0]), 10)).toEqual([5, 5]);
  });

  it('of a target that was missing are neither lost nor made up for', () => {
    const turn = new Turn();
    const [a, b, c] = [rated('a'), rated('b'), rated('c')];
    turn.next([a, b, c]);
    turn.next([a, b, c]);
    // Next would be c. Whatever the others do meanwhile, it is next once it is back, and then it waits as they do.
    for (let i = 0; i < 10; i++) turn.next([a, b]);
    expect(turn.next([a, b, c])[0]).toBe(c);
    expect(firsts(turn, [a, b, c], 300)).toEqual([100, 100, 100]);
  });

  it('stay fair however targets come and go', () => {
    const steps = fc.array(fc.subarray([0, 1, 2, 3], { minLength: 1 }), { maxLength: 300 });
    fc.assert(
      fc.property(steps, (present) => {
        const turn = new Turn();
        const targets = weighted([1, 1, 1, 1]);
        const owed = new Map(targets.map((target) => [target, 0]));
        for (const indices of present) {
          const given = targets.filter((_, index) => indices.includes(index));
          for (const target of given) owed.set(target, (owed.get(target) ?? 0) + 1);
          const [first] = turn.next(given);
          if (first) owed.set(first, (owed.get(first) ?? 0) - given.length);
        }
        // Each turn is paid for by all who could have had it. Of four targets none is ever more than three ahead or behind.
        for (const debt of owed.values()) expect(Math.abs(debt)).toBeLessThanOrEqual(3);
      }),
    );
  });

  it('are taken from a target by its name, whatever object stands for it', () => {
    const turn = new Turn();
    expect(turn.next(weighted([1, 1]))[0]?.model).toBe('t0');
    expect(turn.next(weighted([1, 1]).reverse())[0]?.model).toBe('t1');
  });

  it('can be looked ahead at without being taken', () => {
    const turn = new Turn();
    const targets = weighted([1, 1, 1]);
    turn.next(targets);
    expect(names(turn.copy().next(targets))).toBe('t1 t2 t0');
    expect(names(turn.next(targets))).toBe('t1 t2 t0');
  });

  it.each([
    ['keep the place of a target while a few others pass', 9, 'missing'],
    ['forget a target that is gone before such pile up', 999, 'lasting'],
  ])('%s', (_, passing, next) => {
    const turn = new Turn();
    const [lasting, missing] = [rated('lasting'), rated('missing')];
    turn.next([lasting, missing]);
    for (let i = 0; i < passing; i++) turn.next([lasting, rated(`passing-${i}`)]);
    expect(turn.next([lasting, missing])[0]?.model).toBe(next);
  });
});
