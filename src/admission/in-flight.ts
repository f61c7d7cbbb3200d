import type { Layer } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { overloaded } from './overload.ts';

const RETRY_AFTER_MS = 1000;

/** How many calls are carried out, and whether new ones may begin. Shared by all operations of a process. */
export class InFlight {
  readonly #random: () => number;
  readonly #whenIdle: (() => void)[] = [];
  #count = 0;
  #arriving = 0;
  /** The most at once. Fewer than there are: those that are there stay. */
  limit: number;
  draining = false;

  constructor(limit: number, random: () => number = Math.random) {
    this.limit = limit;
    this.#random = random;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether there are less than `limit` calls. */
  hasRoom(limit = this.limit): boolean {
    return this.#count + this.#arriving < limit;
  }

  /**
   * Take a place for a call whose request is still to be read, where `hasRoom` has said that there is one; returns what gives it back.
   *
   * Whoever reads it gives the place back when the call begins, and takes another one for the call itself.
   */
  arrive(): () => void {
    this.#arriving++;
    let isHere = true;
    return () => {
      if (isHere) this.#arriving--;
      isHere = false;
    };
  }

  enter(): void {
    if (this.draining) {
      throw new GatewayError('draining', 'the gateway is shutting down', { retryAfterMs: RETRY_AFTER_MS });
    }
    if (this.#count >= this.limit) throw this.tooMany(this.limit);
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

  /** What a call is refused with that finds `limit` calls. */
  tooMany(limit: number): GatewayError {
    const present = this.#count + this.#arriving;
    return overloaded(`${present} calls are in flight, the limit is ${limit}`, this.#random);
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
