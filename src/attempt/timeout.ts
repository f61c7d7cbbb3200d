import { GatewayError } from '../errors.ts';

/**
 * Watches one attempt and ends it when the provider keeps it waiting too long.
 *
 * Only time spent waiting for the provider counts: a caller who reads slowly is not the provider's fault. One timer serves the
 * whole attempt; events only note the time, since a timer for each would cost more than the event.
 */
export class Watchdog {
  readonly #expire: (error: GatewayError) => void;
  readonly #provider: string;
  #limitMs: number;
  #what: string;
  #waitingSince: number | undefined;
  #timer: NodeJS.Timeout;

  constructor(provider: string, limitMs: number, what: string, expire: (error: GatewayError) => void) {
    this.#provider = provider;
    this.#limitMs = limitMs;
    this.#what = what;
    this.#expire = expire;
    this.#timer = setTimeout(this.#check, limitMs);
  }

  /** From now on the provider keeps us waiting. */
  wait(): void {
    this.#waitingSince ??= performance.now();
  }

  /** The provider has sent something that counts. */
  heard(): void {
    this.#waitingSince = undefined;
  }

  /** Change the limit, from the next wait on. */
  limit(limitMs: number, what: string): void {
    if (limitMs < this.#limitMs) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(this.#check, limitMs);
    }
    this.#limitMs = limitMs;
    this.#what = what;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  readonly #check = (): void => {
    const waited = this.#waitingSince === undefined ? 0 : performance.now() - this.#waitingSince;
    // Node's timers may fire up to a millisecond early.
    if (waited < this.#limitMs - 1) {
      this.#timer = setTimeout(this.#check, this.#limitMs - waited);
      return;
    }
    const message = `${this.#provider} sent no ${this.#what} within ${this.#limitMs} ms`;
    this.#expire(new GatewayError('provider_timeout', message, { provider: this.#provider }));
  };
}
