import type { BreakerClock, Hold } from './circuit-breaker.ts';
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
  /** Calls that the provider says it still takes in its present period; undefined: it does not say. */
  remaining: number | undefined;
  readonly #clock: Pick<BreakerClock, 'now' | 'wall'>;
  #hold: Hold | undefined;
  #heldAt: number | undefined;
  #minute: RateWindow | undefined;
  #second: RateWindow | undefined;

  constructor(limits: ProviderLimits, clock: Pick<BreakerClock, 'now' | 'wall'>) {
    this.#clock = clock;
    this.places = new ConcurrencyLimit(limits.maxConcurrent);
    this.configure(limits);
  }

  /** Take new limits over; what has been taken stays taken. */
  configure({ requestsPerMinute, requestsPerSecond, maxConcurrent }: ProviderLimits): void {
    this.places.configure(maxConcurrent);
    this.#minute = this.#windowOf(this.#minute, requestsPerMinute, MINUTE_MS);
    this.#second = this.#windowOf(this.#second, requestsPerSecond, SECOND_MS);
  }

  /** What an operator has decided for all its models, those that nobody has called yet too. */
  get hold(): Hold | undefined {
    return this.#hold;
  }

  set hold(hold: Hold | undefined) {
    if (hold === this.#hold) return;
    this.#hold = hold;
    this.#heldAt = hold && this.#clock.wall();
  }

  /** When that was, in milliseconds since 1970; undefined: nothing is decided. */
  get heldAt(): number | undefined {
    return this.#heldAt;
  }

  /** How long until our limits let another call pass, in milliseconds; 0: now. */
  get freeInMs(): number {
    return Math.max(this.#minute?.freeInMs ?? 0, this.#second?.freeInMs ?? 0);
  }

  /** Calls that our limits let pass at this moment; undefined: there are none. */
  get left(): number | undefined {
    if (!this.#minute && !this.#second) return undefined;
    return Math.min(this.#minute?.left ?? Number.POSITIVE_INFINITY, this.#second?.left ?? Number.POSITIVE_INFINITY);
  }

  /** Count a call that is sent. Only while `freeInMs` is 0. */
  take(): void {
    this.#minute?.take();
    this.#second?.take();
  }

  #windowOf(before: RateWindow | undefined, limit: number, windowMs: number): RateWindow | undefined {
    if (limit === 0) return undefined;
    if (before === undefined) return new RateWindow(limit, windowMs, () => this.#clock.now());
    before.configure(limit);
    return before;
  }
}
