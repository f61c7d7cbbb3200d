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
  /** How long Redis may be away before it is done without. The default value is 2 s. */
  readonly patienceMs?: number;
}

/** Of the names of keys and of what they hold: gateways of two versions may share one Redis while they are replaced. */
const VERSION = 'v1';
const MAX_OUTCOME_BYTES = 4 * 1024 * 1024;
const PATIENCE_MS = 2000;
const AGAIN_MS = 50;

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
 * - A call is one text: `claimed TOKEN FINGERPRINT` while somebody carries it out, then `known FINGERPRINT BASE64`.
 * - A Redis that does not answer is tried again for a while: a moment's silence is no reason to carry out a call that others know.
 *   One that has been away for longer is done without at once.
 */
export class RedisOutcomes implements OutcomeStore {
  readonly #redis: Pick<RedisGuard, 'send' | 'run'>;
  readonly #prefix: string;
  readonly #leaseMs: string;
  readonly #maxOutcomeBytes: number;
  readonly #process = randomBytes(9).toString('base64url');
  readonly #patienceMs: number;
  #claims = 0;
  #awaySince: number | undefined;

  constructor({
    redis,
    keyPrefix,
    leaseMs,
    maxOutcomeBytes = MAX_OUTCOME_BYTES,
    patienceMs = PATIENCE_MS,
  }: RedisOutcomesOptions) {
    this.#redis = redis;
    this.#prefix = `${keyPrefix}idempotency:${VERSION}:`;
    this.#leaseMs = String(leaseMs);
    this.#maxOutcomeBytes = maxOutcomeBytes;
    this.#patienceMs = patienceMs;
  }

  async claim(key: string, fingerprint: string): Promise<Claim> {
    const name = this.#prefix + key;
    const claim = `claimed ${this.#process}-${++this.#claims} ${fingerprint}`;
    const present = await this.#patiently(() => this.#redis.run(scripts.claim, [name], [claim, this.#leaseMs]));
    // Its own: Redis took the claim, and did not say so in time.
    if (typeof present !== 'string' || present === claim)
      return { state: 'claimed', lease: this.#lease(name, claim, fingerprint) };
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
        const known = [`known ${fingerprint} ${base64}`, String(Math.ceil(ttlMs))];
        await this.#patiently(() => redis.run(scripts.settle, [name], known));
      },
    };
  }

  async #patiently<Result>(act: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        const result = await act();
        this.#awaySince = undefined;
        return result;
      } catch (error) {
        const now = performance.now();
        this.#awaySince ??= now;
        if (now - this.#awaySince >= this.#patienceMs) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}
