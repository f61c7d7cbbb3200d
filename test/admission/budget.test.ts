import { describe, expect, it } from 'vitest';
import { budgetLimit, nanoUsd, showUsd, unpricedTargets } from '../../src/admission/budget.ts';

describe('money', () => {
  it('is whole in nano-dollars, and so are its sums', () => {
    expect(nanoUsd(0.1)).toBe(100_000_000);
    expect(nanoUsd(0.1) + nanoUsd(0.2)).toBe(nanoUsd(0.3));
    expect(nanoUsd(0.0000005)).toBe(500);
    expect(nanoUsd(9_000_000)).toBe(9e15);
  });

  it('of a call is never less than it may cost', () => {
    expect(budgetLimit('key:a', { usd: 1, periodMs: 60_000 }, 1e-10).amount).toBe(1);
    expect(budgetLimit('key:a', { usd: 1, periodMs: 60_000 }, 0).amount).toBe(0);
  });

  it.each([
    [0, 'USD 0.00'],
    [50, 'USD 50.00'],
    [1234.567, 'USD 1234.57'],
    [0.0123, 'USD 0.01'],
    [0.00123, 'USD 0.0012'],
    [0.0000005, 'USD 0.00000050'],
    [1e-12, 'USD 0.000000000'],
  ])('%d is shown as %s', (usd, shown) => {
    expect(showUsd(usd)).toBe(shown);
  });
});

describe('keys that have a budget', () => {
  const known = { provider: 'groq', model: 'a', priced: true };
  const unknown = { provider: 'local', model: 'b', priced: false };

  it('may call wherever prices are known', () => {
    expect(unpricedTargets([{ name: 'search-team', targets: [known] }])).toEqual(new Map());
    expect(unpricedTargets([])).toEqual(new Map());
  });

  it('may not call where they are not, each place named once', () => {
    const other = { ...unknown, model: 'c' };
    const keys = [
      { name: 'search-team', targets: [known, unknown, unknown] },
      { name: 'search-team', targets: [unknown, other] },
      { name: 'ads-team', targets: [known] },
    ];
    expect(unpricedTargets(keys)).toEqual(new Map([['search-team', ['local/b', 'local/c']]]));
  });
});
