// What is kept of callers between calls. Memory, Redis and SQLite keep the same things; what may be asked of them is here.

interface LimitBase {
  /** Whose it is. What belongs to one subject is kept in one place, so that one step can take from all of it. */
  readonly subject: string;
  /** What it is among the limits of its subject. */
  readonly name: string;
  /** The most there is. */
  readonly capacity: number;
  /** What the call takes. */
  readonly amount: number;
}

/** A token bucket: starts full, and refills all the time. */
export interface BucketLimit extends LimitBase {
  /** Calls are taken for good; tokens are reserved until the call tells how many it used. */
  readonly kind: 'requests' | 'tokens';
  readonly refillPerMs: number;
}

/** Calls at the same time: taken until the call is over. */
export interface ConcurrencyLimit extends LimitBase {
  readonly kind: 'concurrent';
}

/** Money, in nano-dollars, which are integers: reserved until the call tells what it cost. */
export interface BudgetLimit extends LimitBase {
  readonly kind: 'budget';
  /** Periods follow each other since 1970. */
  readonly periodMs: number;
}

/** One limit of a call, and what the call takes of it. */
export type Limit = BucketLimit | ConcurrencyLimit | BudgetLimit;

/** The subject of limits that all callers have together: they are nobody's own. */
export const GLOBAL = 'global';

/** How a limit stands. */
export interface Standing {
  readonly limit: Limit;
  /** What is left; less than 0 when calls used more than they had reserved. */
  readonly remaining: number;
  /** How long until all of it is back; Infinity: it does not come back by itself. */
  readonly resetMs: number;
}

/** How a limit stands, and what of it is reserved by calls that are not over. */
export interface Holding extends Standing {
  readonly reserved: number;
}

/** What a call holds until it is settled. Only the store that gave it can read it. */
export interface Reservation {
  readonly id: string;
}

/** The answer to a call that asks to be let in. */
export type Taken =
  | {
      readonly admitted: true;
      /** Undefined: the call holds nothing, and there is nothing to settle. */
      readonly reservation: Reservation | undefined;
      readonly standings: readonly Standing[];
    }
  | {
      readonly admitted: false;
      /** The limit that takes longest to have room for this call. */
      readonly refusedBy: Limit;
      /** How long until it has. Infinity: never. */
      readonly waitMs: number;
      readonly standings: readonly Standing[];
    };

/** What a call used in the end. */
export interface Used {
  readonly tokens: number;
  readonly nanoUsd: number;
}

/**
 * Keeps the limits of callers.
 *
 * - What is reserved is leased: unless it is renewed it comes back once the lease is over, as if the call had never been. So
 *   nothing stays reserved for a process that was killed.
 * - The clock is the store's own. One that is set back refills nothing, and takes nothing away.
 */
export interface LimitStore {
  /** Take from all limits at once, or from none. A store that answers at once gives no promise: it would cost a call a turn. */
  take(limits: readonly Limit[]): Taken | Promise<Taken>;
  /**
   * End a reservation: slots come back, and what the call did not use. What it used beyond its reservation is taken, down to one
   * capacity below nothing.
   *
   * Does not wait, and never throws. A second time it does nothing. After the lease is over it takes what was used.
   */
  settle(reservation: Reservation, used: Used): void;
  /** Begin the lease of each anew; one that is over is taken up again. */
  renew(reservations: readonly Reservation[]): void;
  /** How limits stand, without taking. */
  look(limits: readonly Limit[]): readonly Holding[] | Promise<readonly Holding[]>;
  /** Resolves once all that was told so far is kept, or cannot be. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** What is counted of calls. */
export interface UsageCounts {
  calls: number;
  /** Those of them that failed, or whose caller left. */
  failedCalls: number;
  promptTokens: number;
  completionTokens: number;
  /** Those of the prompt that were read from the provider's cache. */
  cachedPromptTokens: number;
  /** Those of the prompt that were written to it. */
  cacheWritePromptTokens: number;
  /** Those of the completion that went into reasoning. */
  reasoningTokens: number;
  nanoUsd: number;
  /** Calls whose cost is unknown. */
  unpricedCalls: number;
}

/** Whose calls, answered by what, and when. */
export interface UsageKey {
  /** Day in UTC, as `2026-11-23`. */
  readonly day: string;
  /** Name of the key. */
  readonly key: string;
  /** Empty: nobody answered. */
  readonly provider: string;
  readonly model: string;
}

export type UsageRow = UsageKey & Readonly<UsageCounts>;

/** Which usage is asked for. */
export interface UsageFilter {
  /** First and last day, both included. */
  readonly from: string;
  readonly to: string;
  /** Only of this key. */
  readonly key?: string | undefined;
  /** Only of this model. */
  readonly model?: string | undefined;
}

/** Keeps what was used by key, provider, model and day. */
export interface UsageStore {
  /** Count. Does not wait, and never throws. */
  add(row: UsageRow): void;
  /** Rows in the order of day, key, provider and model. */
  find(filter: UsageFilter): Promise<readonly UsageRow[]>;
  flush(): Promise<void>;
  close(): Promise<void>;
}
