import { MemoryCache, type MemoryCacheOptions } from './memory-cache.ts';
import type { Claim, OutcomeStore } from './outcome-store.ts';

/** SHA-256 in hexadecimal. */
const FINGERPRINT_LENGTH = 64;

/** Keeps outcomes in memory, for one process. What it carries out itself needs no lease: it ends with the process. */
export class MemoryOutcomes implements OutcomeStore {
  readonly #known: MemoryCache;
  /** Fingerprints of calls that are being carried out, by key. */
  readonly #claimed = new Map<string, string>();

  constructor(options: MemoryCacheOptions) {
    this.#known = new MemoryCache(options);
  }

  claim(key: string, fingerprint: string): Claim {
    const known = this.find(key);
    if (known) return known;
    const present = this.#claimed.get(key);
    if (present !== undefined) return { state: 'awaited', fingerprint: present };
    this.#claimed.set(key, fingerprint);
    const release = () => {
      this.#claimed.delete(key);
    };
    return {
      state: 'claimed',
      lease: {
        renew: () => {},
        settle: (outcome, ttlMs) => {
          release();
          this.keep(key, fingerprint, outcome, ttlMs);
        },
        release,
      },
    };
  }

  set maxBytes(bytes: number) {
    this.#known.maxBytes = bytes;
  }

  /** The outcome of a call, if there is one. */
  find(key: string): Extract<Claim, { state: 'known' }> | undefined {
    const bytes = this.#known.get(key)?.bytes;
    if (bytes === undefined) return undefined;
    const fingerprint = Buffer.from(bytes.subarray(0, FINGERPRINT_LENGTH)).toString('latin1');
    return { state: 'known', fingerprint, outcome: bytes.subarray(FINGERPRINT_LENGTH) };
  }

  keep(key: string, fingerprint: string, outcome: Uint8Array, ttlMs: number): void {
    this.#known.set(key, Buffer.concat([Buffer.from(fingerprint, 'latin1'), outcome]), ttlMs, []);
  }
}
