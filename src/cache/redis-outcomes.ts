import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type RedisGuard, scriptOf } from '../store/redis-guard.ts';
import type { Claim, Lease, OutcomeStore } from './outcome-store.ts';

/** How outcomes are kept in Redis. */
export interface RedisOutcomesOptions {
  readonly redis: Pick<RedisGuard, 'send' | 'run'>;
  /** What the names of all keys begin with. */
  readonly keyPrefix: string;
  /** How long a claim holds that is not renewed. */
  readonly leaseMs: number;
  /** A larger outcome is not kept. The default value is 4 MiB. */
  readonly maxOutcomeBytes?: number;
}

/** Of the names of keys and of what they hold: gateways of two versions may share one Redis while they are replaced. */
const VERSION = 'v1';
const MAX_OUTCOME_BYTES = 4 * 1024 * 1024;

function load(name: string) {
  return scriptOf(readFileSync(new URL(`redis/${name}.lua`, import.meta.url), 'utf8'));
}

const scripts = {
  claim: load('claim'),
  renew: load('renew-claim'),
  settle: load('settle-claim'),
  release: load('release-claim'),
};

/**
 * Keeps outcomes in Redis, for all replicas that share it.
 *
 * A call is one text: `claimed TOKEN FINGERPRINT` while somebody carries it out, then `known FINGERPRINT BASE64`.
 */
export class RedisOutcomes implements OutcomeStore {
  readonly #redis: Pick<RedisGuard, 'send' | 'run'>;
  readonly #prefix: string;
  readonly #leaseMs: string;
  readonly #maxOutcomeBytes: number;
  readonly #process = randomBytes(9).toString('base64url');
  #claims = 0;

  constructor({ redis, keyPrefix, leaseMs, maxOutcomeBytes = MAX_OUTCOME_BYTES }: RedisOutcomesOptions) {
    this.#redis = redis;
    this.#prefix = `${keyPrefix}idempotency:${VERSION}:`;
    this.#leaseMs = String(leaseMs);
    this.#maxOutcomeBytes = maxOutcomeBytes;
  }

  async claim(key: string, fingerprint: string): Promise<Claim> {
    const name = this.#prefix + key;
    const claim = `claimed ${this.#process}-${++this.#claims} ${fingerprint}`;
    const present = await this.#redis.run(scripts.claim, [name], [claim, this.#leaseMs]);
    if (typeof present !== 'string') return { state: 'claimed', lease: this.#lease(name, claim, fingerprint) };
    const [state, first = '', second = ''] = present.split(' ', 3);
    if (state === 'known') return { state, fingerprint: first, outcome: Buffer.from(second, 'base64') };
    return { state: 'awaited', fingerprint: second };
  }

  #lease(name: string, claim: string, fingerprint: string): Lease {
    const redis = this.#redis;
    // A claim that cannot be renewed or given back runs out by itself.
    const inVain = () => {};
    return {
      renew: () => {
        redis.run(scripts.renew, [name], [claim, this.#leaseMs]).catch(inVain);
      },
      release: () => {
        redis.run(scripts.release, [name], [claim]).catch(inVain);
      },
      settle: async (outcome, ttlMs) => {
        if (outcome.byteLength > this.#maxOutcomeBytes) {
          await redis.run(scripts.release, [name], [claim]);
          return;
        }
        const base64 = Buffer.from(outcome.buffer, outcome.byteOffset, outcome.byteLength).toString('base64');
        await redis.run(scripts.settle, [name], [`known ${fingerprint} ${base64}`, String(Math.ceil(ttlMs))]);
      },
    };
  }
}
