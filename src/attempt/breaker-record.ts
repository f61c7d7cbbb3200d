/** One thing that happened to a breaker: a call was judged, or the state changed. */
export interface HistoryEntry {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly outcome: 'success' | 'slow' | 'failure' | undefined;
  readonly state: 'closed' | 'open' | 'half_open' | undefined;
  /** What failed, or why the state changed. Empty: nothing did, or it changed by itself. */
  readonly reason: string;
}

/** Judged calls since the start or the last reset. */
export interface BreakerTotals {
  readonly calls: number;
  readonly successes: number;
  readonly failures: number;
}

const longest = 100;

/** What a breaker remembers for people, and never judges by: totals, and the last hundred things that happened. */
export class BreakerRecord {
  readonly #wall: () => number;
  #successes = 0;
  #failures = 0;
  /** A ring once it is full, in which the next entry takes the place of the oldest. */
  #entries: HistoryEntry[] = [];
  #next = 0;
  lastFailureAt: number | undefined;
  lastSuccessAt: number | undefined;

  constructor(wall: () => number) {
    this.#wall = wall;
  }

  get totals(): BreakerTotals {
    return { calls: this.#successes + this.#failures, successes: this.#successes, failures: this.#failures };
  }

  /** A call was judged. */
  judged(outcome: NonNullable<HistoryEntry['outcome']>, reason: string): void {
    const at = this.#wall();
    if (outcome === 'failure') {
      this.#failures++;
      this.lastFailureAt = at;
    } else {
      this.#successes++;
      this.lastSuccessAt = at;
    }
    this.#add({ at, outcome, state: undefined, reason });
  }

  /** The state changed. */
  changed(state: NonNullable<HistoryEntry['state']>, reason: string): void {
    this.#add({ at: this.#wall(), outcome: undefined, state, reason });
  }

  /** Oldest first. */
  history(): HistoryEntry[] {
    return [...this.#entries.slice(this.#next), ...this.#entries.slice(0, this.#next)];
  }

  /** Forget the totals and the history; when a call last succeeded and failed stays true. */
  clear(): void {
    this.#successes = 0;
    this.#failures = 0;
    this.#entries = [];
    this.#next = 0;
  }

  #add(entry: HistoryEntry): void {
    if (this.#entries.length < longest) {
      this.#entries.push(entry);
      return;
    }
    this.#entries[this.#next] = entry;
    this.#next = (this.#next + 1) % longest;
  }
}
