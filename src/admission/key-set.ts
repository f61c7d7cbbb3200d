import { createLocalJWKSet, type JSONWebKeySet } from 'jose';
import type { Logger } from 'pino';
import { GatewayError } from '../errors.ts';

/** Finds the key that signed a token; of jose. */
export type FindKey = ReturnType<typeof createLocalJWKSet>;

/** Brings an issuer's key set; throws if it cannot. */
export type LoadKeySet = () => Promise<JSONWebKeySet>;

/** After so long the set is fetched again, while the old one goes on being used. */
const FRESH_MS = 10 * 60_000;
/** After so long without a new one, the old one is used no more. */
const USABLE_MS = 24 * 3_600_000;
/** At most so often is it fetched for the sake of a token whose key it does not have. */
const RENEW_EVERY_MS = 30_000;
/** After a failure it is left alone for so long. */
const FAILURE_REST_MS = 5_000;

/**
 * The public keys of an issuer: fetched when the first token comes, and again when they are old or a token names a new one.
 *
 * - Tokens with made-up key names cost a fetch in half a minute, however many come.
 * - An issuer that is away changes nothing for as long as a day, since its keys are there. Without any, tokens can neither be taken
 *   nor refused: the answer is `overloaded`, with the time of the next try, and never a false `unauthenticated`.
 */
export class KeySet {
  readonly #issuer: string;
  readonly #load: LoadKeySet;
  readonly #log: Logger;
  readonly #now: () => number;
  #findKey: FindKey | undefined;
  #loadedAt = Number.NEGATIVE_INFINITY;
  #failedAt = Number.NEGATIVE_INFINITY;
  #loading: Promise<FindKey | undefined> | undefined;

  constructor(issuer: string, load: LoadKeySet, log: Logger, now: () => number) {
    this.#issuer = issuer;
    this.#load = load;
    this.#log = log;
    this.#now = now;
  }

  /** The keys as they are known. */
  async current(): Promise<FindKey> {
    const age = this.#now() - this.#loadedAt;
    if (this.#findKey && age < USABLE_MS) {
      if (age >= FRESH_MS) void this.#refresh();
      return this.#findKey;
    }
    const found = await this.#refresh();
    if (found) return found;
    throw new GatewayError(
      'overloaded',
      `the keys of the issuer ${this.#issuer} cannot be fetched, so that its tokens cannot be checked now`,
      { retryAfterMs: Math.max(0, Math.ceil(this.#failedAt + FAILURE_REST_MS - this.#now())) },
    );
  }

  /** Keys that were fetched later than `known`, which lack one; undefined: there are none, or it is too early to ask again. */
  async newerThan(known: FindKey): Promise<FindKey | undefined> {
    if (this.#findKey !== known) return this.#findKey;
    if (this.#now() - this.#loadedAt < RENEW_EVERY_MS) return undefined;
    return this.#refresh();
  }

  /** Whoever comes while a fetch is on its way waits for the same. */
  #refresh(): Promise<FindKey | undefined> {
    if (this.#now() - this.#failedAt < FAILURE_REST_MS) return Promise.resolve(undefined);
    this.#loading ??= this.#loadOnce().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #loadOnce(): Promise<FindKey | undefined> {
    try {
      this.#findKey = createLocalJWKSet(await this.#load());
      this.#loadedAt = this.#now();
      return this.#findKey;
    } catch (error) {
      this.#failedAt = this.#now();
      this.#log.warn({ issuer: this.#issuer, error: String(error) }, 'the keys of an issuer cannot be fetched');
      return undefined;
    }
  }
}
