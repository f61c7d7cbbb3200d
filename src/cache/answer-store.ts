/** An answer as it is kept: the binary form of a Completion. */
export interface StoredAnswer {
  readonly bytes: Uint8Array;
  /** How long ago it was stored, in milliseconds. */
  readonly ageMs: number;
}

/** Which answers: one by its key, those that were stored with a tag, or all. */
export type Selection = { readonly key: string } | { readonly tag: string } | 'all';

/**
 * Keeps answers by key for a while. Memory and Redis keep the same things.
 *
 * A store that answers at once gives no promise: it would cost a call a turn of the event loop. One that cannot be reached
 * rejects, and the call goes on without it.
 */
export interface AnswerStore {
  get(key: string): StoredAnswer | undefined | Promise<StoredAnswer | undefined>;
  /** Keep an answer for `ttlMs`. By its tags it can be found again to be forgotten. */
  set(key: string, bytes: Uint8Array, ttlMs: number, tags: readonly string[]): void | Promise<void>;
  /** Forget answers; tells how many. */
  purge(selection: Selection): number | Promise<number>;
}
