import { clientNetwork } from './client-network.ts';

/** How many tries without a valid key a client has, and how many clients are remembered. */
export interface TryLimits {
  /** At once. */
  readonly burst: number;
  /** That come back in a second. */
  readonly perSecond: number;
  /** Of those who tried, the latest are remembered. */
  readonly clients: number;
}

export const usualTryLimits: TryLimits = { burst: 20, perSecond: 1, clients: 10_000 };

interface Bucket {
  left: number;
  atMs: number;
}

/**
 * Counts tries without a valid key, in a bucket for each client address.
 *
 * It costs the same however many there are: no clock, no store, and a bounded number of buckets, of which the one that was used
 * least recently goes.
 */
export class FailedTries {
  readonly #limits: TryLimits;
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: TryLimits) {
    this.#limits = limits;
  }

  /** Count a try; a number: it was one too many, and the next is due in so many milliseconds. */
  add(address: string, nowMs: number): number | undefined {
    const { burst, perSecond, clients } = this.#limits;
    const client = clientNetwork(address);
    const bucket = this.#buckets.get(client) ?? { left: burst, atMs: nowMs };
    this.#buckets.delete(client);
    this.#buckets.set(client, bucket);
    if (this.#buckets.size > clients) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    // A clock that went back gives nothing.
    const passedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.left = Math.min(burst, bucket.left + (passedMs / 1000) * perSecond);
    bucket.atMs = nowMs;
    if (bucket.left < 1) return Math.ceil(((1 - bucket.left) / perSecond) * 1000);
    bucket.left--;
    return undefined;
  }

  /** Clients that are remembered. */
  get size(): number {
    return this.#buckets.size;
  }
}
