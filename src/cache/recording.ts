import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type Completion,
  type CompletionEvent,
  CompletionSchema,
  FinishReason,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold } from '../completion.ts';

/** A longer answer is not kept: it would have to be held in memory while it comes. */
const MOST_BYTES = 8 * 1024 * 1024;

/** Puts an answer together while it passes by. */
export class Recording {
  readonly #sizeOf: (event: CompletionEvent) => number;
  #fold: CompletionFold | undefined = new CompletionFold();
  #bytes = 0;

  constructor(sizeOf: (event: CompletionEvent) => number) {
    this.#sizeOf = sizeOf;
  }

  /** Take the next event. The last one gives the whole answer, unless it is too long or makes no sense. */
  add(event: CompletionEvent): Completion | undefined {
    if (this.#fold === undefined) return undefined;
    this.#bytes += this.#sizeOf(event);
    try {
      this.#fold.add(event);
      if (event.event.case === 'finished') return this.#fold.result();
      if (this.#bytes > MOST_BYTES) this.#fold = undefined;
    } catch {
      // Whoever reads the answer whole folds it too, and says what is wrong.
      this.#fold = undefined;
    }
    return undefined;
  }
}

/** Whether an answer is worth having again: whole, and neither refused nor withheld. */
export function isKeepable({ choices }: Completion): boolean {
  return (
    choices.length > 0 &&
    choices.every(
      ({ finishReason, message }) =>
        (finishReason === FinishReason.STOP || finishReason === FinishReason.TOOL_CALLS) &&
        message?.parts.every(({ kind }) => kind.case !== 'refusal'),
    )
  );
}

/** An answer as it is stored for other calls: without what belongs to the call that got it first. Its cost is what they save. */
export function packForOthers(completion: Completion): Uint8Array {
  const { createdAt, duration, ...kept } = completion;
  return toBinary(CompletionSchema, { ...kept, id: '', requestId: '', attempts: [] });
}

/** An answer as it was stored; undefined if the bytes are none. */
export function unpack(bytes: Uint8Array): Completion | undefined {
  try {
    return fromBinary(CompletionSchema, bytes);
  } catch {
    return undefined;
  }
}
