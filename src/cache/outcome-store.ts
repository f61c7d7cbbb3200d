/** The right to carry out a call, for as long as it is renewed. */
export interface Lease {
  /** Hold it for another while. Never throws. */
  renew(): void;
  /** Keep the outcome, in place of the lease. */
  settle(outcome: Uint8Array, ttlMs: number): void | Promise<void>;
  /** Give it back: there is no outcome to keep. Never throws. */
  release(): void;
}

/** What is known of a call when it comes again. */
export type Claim =
  /** Nothing: whoever asked carries it out. */
  | { readonly state: 'claimed'; readonly lease: Lease }
  /** Somebody carries it out, or did until a short while ago. */
  | { readonly state: 'awaited'; readonly fingerprint: string }
  | { readonly state: 'known'; readonly fingerprint: string; readonly outcome: Uint8Array };

/**
 * Keeps what became of calls, so that a call that comes again is not carried out again.
 *
 * The fingerprint is that of the request; a call that comes with another one is another call. A lease that is not renewed runs
 * out: so nothing stays claimed for a process that was killed.
 */
export interface OutcomeStore {
  claim(key: string, fingerprint: string): Claim | Promise<Claim>;
}
