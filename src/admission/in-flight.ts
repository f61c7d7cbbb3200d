import type { Layer } from '../completion.ts';
import { GatewayError } from '../errors.ts';

const RETRY_AFTER_MS = 1000;

/** How many calls are carried out, and whether new ones may begin. Shared by all operations of a process. */
export class InFlight {
  readonly #whenIdle: (() => void)[] = [];
  #count = 0;
  /** The most at once. Fewer than there are: those that are there stay. */
  limit: number;
  draining = false;

  constructor(limit: number) {
    this.limit = limit;
  }

  get count(): number {
    return this.#count;
  }

  enter(): void {
    if (this.draining) {
      throw new GatewayError('draining', 'the gateway is shutting down', { retryAfterMs: RETRY_AFTER_MS });
    }
    if (this.#count >= this.limit) {
      const message = `${this.#count} calls are in flight, the limit is ${this.limit}`;
      throw new GatewayError('overloaded', message, { retryAfterMs: RETRY_AFTER_MS });
    }
    this.#count++;
  }

  leave(): void {
    this.#count--;
    if (this.#count === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  /** Resolves once no call is in flight. */
  idle(): Promise<void> {
    return this.#count === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenIdle.push(resolve));
  }
}

/** Refuse calls while the process drains or has too many already. */
export function admit<Request, Event>(inFlight: InFlight): Layer<Request, Event> {
  return (next) => (request, context) => {
    inFlight.enter();
    context.ends.push(() => inFlight.leave());
    return next(request, context);
  };
}
