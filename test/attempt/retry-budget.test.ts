import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RetryBudget, type RetryBudgetOptions } from '../../src/attempt/retry-budget.ts';

/** A budget and its clock. */
function openBudget(ratio: number, options?: RetryBudgetOptions) {
  const clock = { ms: 0 };
  const budget = new RetryBudget(ratio, () => clock.ms, options);
  const attempted = (count: number) => {
    for (let attempt = 0; attempt < count; attempt++) budget.attempted();
  };
  const spendAll = () => {
    let count = 0;
    while (budget.spend()) count++;
    return count;
  };
  return { budget, clock, attempted, spendAll };
}

describe('a retry budget', () => {
  it('allows its share of the first attempts', () => {
    const { budget, attempted, spendAll } = openBudget(0.2);

    attempted(100);
    expect(budget.spent).toBe(false);

    expect(spendAll()).toBe(20);
    expect(budget.spent).toBe(true);
  });

  it('allows a few however little traffic there is', () => {
    const { spendAll } = openBudget(0.2);

    expect(spendAll()).toBe(3);
  });

  it('allows none at all for a share of 0', () => {
    const { budget, attempted, spendAll } = openBudget(0);

    attempted(100);

    expect(budget.spent).toBe(true);
    expect(spendAll()).toBe(0);
  });

  it('counts what it has counted by another share when that changes', () => {
    const { budget, attempted, spendAll } = openBudget(0.2);

    attempted(100);
    expect(spendAll()).toBe(20);
    budget.configure(0.5);
    expect(spendAll()).toBe(30);

    budget.configure(0);
    attempted(100);
    expect(spendAll()).toBe(0);
  });

  it('is not used up by asking', () => {
    const { budget } = openBudget(0.2);

    for (let ask = 0; ask < 10; ask++) expect(budget.spent).toBe(false);
  });

  it('grows with first attempts, and forgets them and the retries as the window slides', () => {
    const { clock, attempted, spendAll } = openBudget(0.5);

    attempted(10);
    expect(spendAll()).toBe(5);
    attempted(2);
    expect(spendAll()).toBe(1);

    clock.ms = 30_000;
    expect(spendAll()).toBe(3);
  });

  it('never allows more within its window than the share or the floor, nor refuses less, over any history', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ attempted: fc.integer({ min: 1, max: 20 }) }) },
      { weight: 4, arbitrary: fc.constant('spend' as const) },
      { weight: 2, arbitrary: fc.record({ passMs: fc.integer({ min: 1, max: 400 }) }) },
      { weight: 1, arbitrary: fc.record({ passMs: fc.constantFrom(1_000, 2 ** 40) }) },
    );
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.nat(5),
        fc.array(step, { maxLength: 100, size: 'max' }),
        (ratio, floor, steps) => {
          const { budget, clock, attempted } = openBudget(ratio, { windowMs: 1_000, floor });
          const happened: { retry: boolean; bucket: number }[] = [];
          const within = (retry: boolean) =>
            happened.filter((one) => one.retry === retry && one.bucket > Math.floor(clock.ms / 100) - 10).length;
          for (const each of steps) {
            const bucket = Math.floor(clock.ms / 100);
            if (each === 'spend') {
              const allowed = budget.spend();
              expect(allowed).toBe(within(true) + 1 <= Math.max(floor, ratio * within(false)));
              if (allowed) happened.push({ retry: true, bucket });
            } else if ('attempted' in each) {
              attempted(each.attempted);
              for (let attempt = 0; attempt < each.attempted; attempt++) happened.push({ retry: false, bucket });
            } else clock.ms += each.passMs;
          }
        },
      ),
    );
  });
});
