import type { BudgetLimit } from '../store/store.ts';

/** What a key may spend in a period. */
export interface Budget {
  readonly usd: number;
  readonly periodMs: number;
}

const NANO = 1e9;

/**
 * Dollars in nano-dollars, which are whole: sums of fractions of a dollar would drift, and a token costs 50 nano-dollars or less.
 *
 * Whole they are exact up to nine million dollars.
 */
export function nanoUsd(usd: number): number {
  return Math.round(usd * NANO);
}

/** The budget of a key as a limit, and what a call may cost at most. */
export function budgetLimit(subject: string, { usd, periodMs }: Budget, mayCostUsd: number): BudgetLimit {
  return {
    kind: 'budget',
    subject,
    name: 'budget',
    capacity: nanoUsd(usd),
    periodMs,
    // Up: a call of less than a nano-dollar is not free.
    amount: Math.ceil(mayCostUsd * NANO),
  };
}

/** Dollars to read: without more digits than they need, and without fewer than two. */
export function showUsd(usd: number): string {
  const digits = usd === 0 || usd >= 0.01 ? 2 : Math.min(9, 1 - Math.floor(Math.log10(usd)));
  return `USD ${usd.toFixed(digits)}`;
}

/** Somewhere a key may call. */
export interface PricedTarget {
  readonly provider: string;
  readonly model: string;
  /** Whether it is known what a call costs there. */
  readonly priced: boolean;
}

/** A key that has a budget, and the targets that its calls may be sent to. */
export interface BudgetedKey {
  readonly name: string;
  readonly targets: readonly PricedTarget[];
}

/**
 * Where keys that have a budget may call and the price is unknown, as `provider/model`, by the name of the key.
 *
 * A budget could not be kept there: nobody knows what a call takes of it.
 */
export function unpricedTargets(keys: readonly BudgetedKey[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { name, targets } of keys) {
    const unpriced = targets.filter(({ priced }) => !priced).map(({ provider, model }) => `${provider}/${model}`);
    if (unpriced.length > 0) found.set(name, [...new Set([...(found.get(name) ?? []), ...unpriced])]);
  }
  return found;
}
