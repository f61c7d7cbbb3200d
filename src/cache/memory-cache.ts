import type { AnswerStore, Selection, StoredAnswer } from './answer-store.ts';

interface Entry {
  readonly bytes: Uint8Array;
  readonly storedAt: number;
  readonly expiresAt: number;
  readonly tags: readonly string[];
  readonly size: number;
}

/** What an entry takes beside its bytes and names: measured with 300,000 answers of 1 KB. */
const ENTRY_BYTES = 850;
/** So many of the entries that were not used for longest are looked at for each one that is stored. */
const SWEPT = 2;

/** How a cache in memory is bounded. */
export interface MemoryCacheOptions {
  readonly maxBytes: number;
  /** Milliseconds, on a clock that never goes back. */
  readonly now?: () => number;
}

/**
 * Keeps answers in memory: those that were used last, within a bound of bytes.
 *
 * A Map remembers in which order its entries were put in, which is all that forgetting the least recently used one takes; the
 * index of tags has to be kept here in any case. What has expired is never told, and goes when it has not been used for longest.
 */
export class MemoryCache implements AnswerStore {
  /** The most that is kept, from the next answer on. */
  maxBytes: number;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #keysOfTag = new Map<string, Set<string>>();
  #bytes = 0;
  #evicted = 0;

  constructor({ maxBytes, now = () => performance.now() }: MemoryCacheOptions) {
    this.maxBytes = maxBytes;
    this.#now = now;
  }

  /** How many answers are kept. */
  get count(): number {
    return this.#entries.size;
  }

  /** How many bytes they take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many answers had to leave before their time, for others. */
  get evicted(): number {
    return this.#evicted;
  }

  get(key: string): StoredAnswer | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const now = this.#now();
    this.#entries.delete(key);
    if (entry.expiresAt <= now) {
      this.#unlist(key, entry);
      return undefined;
    }
    this.#entries.set(key, entry);
    return { bytes: entry.bytes, ageMs: now - entry.storedAt };
  }

  set(key: string, bytes: Uint8Array, ttlMs: number, tags: readonly string[]): void {
    this.#forget(key);
    const names = tags.reduce((length, tag) => length + tag.length, key.length);
    const size = bytes.byteLength + 2 * names + ENTRY_BYTES;
    if (size > this.maxBytes) return;
    const now = this.#now();
    this.#sweep(now);
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes + size <= this.maxBytes) break;
      this.#forget(oldest);
      this.#evicted++;
    }
    this.#entries.set(key, { bytes, storedAt: now, expiresAt: now + ttlMs, tags, size });
    this.#bytes += size;
    for (const tag of tags) {
      const keys = this.#keysOfTag.get(tag);
      if (keys) keys.add(key);
      else this.#keysOfTag.set(tag, new Set([key]));
    }
  }

  purge(selection: Selection): number {
    if (selection === 'all') {
      const { count } = this;
      this.#entries.clear();
      this.#keysOfTag.clear();
      this.#bytes = 0;
      return count;
    }
    if ('key' in selection) return this.#forget(selection.key) ? 1 : 0;
    const keys = [...(this.#keysOfTag.get(selection.tag) ?? [])];
    for (const key of keys) this.#forget(key);
    return keys.length;
  }

  #sweep(now: number): void {
    let looked = 0;
    for (const [key, entry] of this.#entries) {
      if (looked++ >= SWEPT) return;
      if (entry.expiresAt <= now) this.#forget(key);
    }
  }

  #forget(key: string): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#entries.delete(key);
    this.#unlist(key, entry);
    return true;
  }

  #unlist(key: string, { size, tags }: Entry): void {
    this.#bytes -= size;
    for (const tag of tags) {
      const keys = this.#keysOfTag.get(tag);
      keys?.delete(key);
      if (keys?.size === 0) this.#keysOfTag.delete(tag);
    }
  }
}
