import type { Choice, Completion, CompletionEvent } from '../gen/llmgateway/v1/completion_pb.ts';

/**
 * What was found out about a request that comes again and again, to the letter.
 *
 * The layers of its calls write here what depends on nothing else, or together with what else it depends on, and need not find
 * it out again. Requests that have facts never change.
 */
export class RequestFacts {
  /** Whether it keeps the rules of the contract. */
  isSound = false;
  /** Its last key in the response cache. */
  key: KnownKey | undefined;
  /** The last answer that the response cache had for it. */
  answer: OpenedAnswer | undefined;
  /** How the door words that answer's choices, and all that follows them. */
  wording: { readonly choices: readonly Choice[]; readonly text: string } | undefined;
}

/** A key that was made before, and what it depends on beside the request. */
export interface KnownKey {
  readonly key: string;
  readonly scope: string;
  /** Known by being the same list. */
  readonly targets: readonly object[];
  readonly choice: string;
}

/** An answer as it was stored, what these bytes mean, and the events that tell it: shared by all calls that get it, and never changed. */
export interface OpenedAnswer {
  readonly bytes: Uint8Array;
  readonly completion: Completion;
  readonly events: readonly CompletionEvent[];
}
