import type { Hold } from './circuit-breaker.ts';
import { ConcurrencyLimit } from './concurrency-limit.ts';
import { RateWindow } from './rate-window.ts';

/** How much a provider may be asked; 0: no limit. */
export interface ProviderLimits {
  readonly requestsPerMinute: number;
  readonly requestsPerSecond: number;
  readonly maxConcurrent: number;
}

export const noLimits: ProviderLimits = { requestsPerMinute: 0, requestsPerSecond: 0, maxConcurrent: 0 };

const MINUTE_MS = 60_000;
const SECOND_MS = 1_000;

/** What all targets of a provider share: our limits on it, what it says of its own, and an operator's hold on the whole of it. */
export class ProviderGuard {
  readonly places: ConcurrencyLimit;
  /** What an operator has decided for all its models. */
  hold: Hold | undefined;
  /** Calls that the provider says it still takes in its present period; undefined: it does not say. */
  remaining: number | undefined;
  readonly #now: () => number;
  #minute: RateWindow | undefined;
  #second: RateWindow | undefined;

  constructor(limits: ProviderLimits, now: () => number) {
    this.#now = now;
    this.places = new ConcurrencyLimit(limits.maxConcurrent);
    this.configure(limits);
  }

  /** Take new limits over; what has been taken stays taken. */
  configure({ requestsPerMinute, requestsPerSecond, maxConcurrent }: ProviderLimits): void {
    this.places.configure(maxConcurrent);
    this.#minute = this.#windowOf(this.#minute, requestsPerMinute, MINUTE_MS);
    this.#second = this.#windowOf(this.#second, requestsPerSecond, SECOND_MS);
  }

  /** How long until our limits let another call pass, in milliseconds; 0: now. */
  get freeInMs(): number {
    return Math.max(this.#minute?.freeInMs ?? 0, this.#second?.freeInMs ?? 0);
  }

  /** Count a call that is sent. Only while `freeInMs` is 0. */
  take(): void {
    this.#minute?.take();
    this.#second?.take();
  }

  #windowOf(before: RateWindow | undefined, limit: number, windowMs: number): RateWindow | undefined {
    if (limit === 0) return undefined;
    if (before === undefined) return new RateWindow(limit, windowMs, this.#now);
    before.configure(limit);
    return before;
  }
}
