import { readFileSync } from 'node:fs';
import { type RedisGuard, scriptOf } from '../store/redis-guard.ts';
import type { AnswerStore, Selection, StoredAnswer } from './answer-store.ts';

/** How answers are kept in Redis. */
export interface RedisCacheOptions {
  readonly redis: Pick<RedisGuard, 'send' | 'run'>;
  /** What the names of all keys begin with. */
  readonly keyPrefix: string;
  /** A larger answer is not stored: everything else would have to wait for it. The default value is 1 MiB. */
  readonly maxAnswerBytes?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** Of the names of keys and of what they hold: gateways of two versions may share one Redis while they are replaced. */
const VERSION = 'v1';
const MAX_ANSWER_BYTES = 1024 * 1024;
/** Keys that are forgotten in one go: more would make Redis answer others late. */
const BATCH = 500;
/** The list in which every answer is. */
const EVERY = '';

const list = scriptOf(readFileSync(new URL('redis/list.lua', import.meta.url), 'utf8'));

/**
 * Keeps answers in Redis, for all replicas that share it; Redis forgets them when their time is over.
 *
 * - An answer is a text: the time when it was stored, and its bytes in Base64. What it is worth is told by its age, so clocks of
 *   replicas should not be far apart.
 * - For each tag there is a list of keys, so that answers can be found again; what has expired is taken out when something is
 *   put in.
 */
export class RedisCache implements AnswerStore {
  readonly #redis: Pick<RedisGuard, 'send' | 'run'>;
  readonly #prefix: string;
  readonly #maxAnswerBytes: number;
  readonly #now: () => number;

  constructor({ redis, keyPrefix, maxAnswerBytes = MAX_ANSWER_BYTES, now = Date.now }: RedisCacheOptions) {
    this.#redis = redis;
    this.#prefix = `${keyPrefix}cache:${VERSION}:`;
    this.#maxAnswerBytes = maxAnswerBytes;
    this.#now = now;
  }

  async get(key: string): Promise<StoredAnswer | undefined> {
    const name = this.#answer(key);
    const text = await this.#redis.send(name, ['GET', name]);
    if (typeof text !== 'string') return undefined;
    const end = text.indexOf(' ');
    const ageMs = Math.max(0, this.#now() - Number(text.slice(0, end)));
    return { bytes: Buffer.from(text.slice(end + 1), 'base64'), ageMs };
  }

  async set(key: string, bytes: Uint8Array, ttlMs: number, tags: readonly string[]): Promise<void> {
    const name = this.#answer(key);
    if (bytes.byteLength > this.#maxAnswerBytes) {
      // An older answer must not stand for the one that is too large.
      await this.#redis.send(name, ['UNLINK', name]);
      return;
    }
    const ttl = String(Math.ceil(ttlMs));
    const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
    // The lists first: an answer that is in none could not be forgotten.
    await Promise.all([
      ...[EVERY, ...tags].map((tag) => this.#redis.run(list, [this.#list(tag)], [ttl, key])),
      this.#redis.send(name, ['SET', name, `${Math.floor(this.#now())} ${base64}`, 'PX', ttl]),
    ]);
  }

  async purge(selection: Selection): Promise<number> {
    if (selection !== 'all' && 'key' in selection) return this.#forget(selection.key);
    const name = this.#list(selection === 'all' ? EVERY : selection.tag);
    let count = 0;
    for (;;) {
      const keys = (await this.#redis.send(name, ['ZRANGE', name, '0', String(BATCH - 1)])) as string[];
      if (keys.length === 0) return count;
      for (const forgotten of await Promise.all(keys.map((key) => this.#forget(key)))) count += forgotten;
      // Only then, so that a purge which Redis does not survive can be repeated.
      await this.#redis.send(name, ['ZREM', name, ...keys]);
    }
  }

  async #forget(key: string): Promise<number> {
    const name = this.#answer(key);
    return Number(await this.#redis.send(name, ['UNLINK', name]));
  }

  #answer(key: string): string {
    return `${this.#prefix}answer:${key}`;
  }

  #list(tag: string): string {
    return `${this.#prefix}list:${tag}`;
  }
}
