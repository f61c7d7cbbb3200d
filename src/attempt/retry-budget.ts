import { SlidingCounts } from './sliding-counts.ts';

const firsts = 0;
const retries = 1;

/** How a retry budget counts. */
export interface RetryBudgetOptions {
  /** The time it looks back. */
  readonly windowMs?: number;
  /** Retries allowed within that time however few first attempts there were. */
  readonly floor?: number;
}

/**
 * Lets retries and hedges be no more than a share of first attempts, lest they bury a target that is already failing.
 *
 * A few are always allowed, since a share of nearly no traffic is nothing; but a share of 0 allows none at all.
 */
export class RetryBudget {
  #ratio: number;
  readonly #floor: number;
  readonly #counts: SlidingCounts;

  constructor(ratio: number, now: () => number, { windowMs = 30_000, floor = 3 }: RetryBudgetOptions = {}) {
    this.#ratio = ratio;
    this.#floor = floor;
    this.#counts = new SlidingCounts(2, windowMs, now);
  }

  /** Go on by another share; what has been counted stays. */
  configure(ratio: number): void {
    this.#ratio = ratio;
  }

  /** A first attempt was made. */
  attempted(): void {
    this.#counts.add(firsts);
  }

  /** Take a retry or a hedge; false: there is none left. */
  spend(): boolean {
    if (this.spent) return false;
    this.#counts.add(retries);
    return true;
  }

  /** Whether there is none left. */
  get spent(): boolean {
    if (this.#ratio === 0) return true;
    const most = Math.max(this.#floor, this.#ratio * this.#counts.total(firsts));
    return this.#counts.total(retries) + 1 > most;
  }
}
