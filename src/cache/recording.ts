import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type Completion,
  type CompletionEvent,
  CompletionSchema,
  FinishReason,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold, replay } from '../completion.ts';
import type { OpenedAnswer, RequestFacts } from '../request-facts.ts';
import type { Room } from '../room.ts';

/** A longer answer is not kept: it would have to be held in memory while it comes. */
const MOST_BYTES = 8 * 1024 * 1024;

/** Puts an answer together while it passes by. */
export class Recording {
  readonly #sizeOf: (event: CompletionEvent) => number;
  readonly #room: Room;
  #fold: CompletionFold | undefined = new CompletionFold();
  #bytes = 0;

  constructor(sizeOf: (event: CompletionEvent) => number, room: Room) {
    this.#sizeOf = sizeOf;
    this.#room = room;
  }

  /** Take the next event. The last one gives the whole answer, unless it is too long, finds no room or makes no sense. */
  add(event: CompletionEvent): Completion | undefined {
    if (this.#fold === undefined) return undefined;
    if (!this.#grow(this.#sizeOf(event))) return void this.end();
    try {
      this.#fold.add(event);
      if (event.event.case !== 'finished') return undefined;
      const whole = this.#fold.result();
      this.end();
      return whole;
    } catch {
      // Whoever reads the answer whole folds it too, and says what is wrong.
      return void this.end();
    }
  }

  /** Let go of what was recorded: nothing more is to come. */
  end(): void {
    this.#fold = undefined;
    this.#room.giveBack(this.#bytes);
    this.#bytes = 0;
  }

  #grow(bytes: number): boolean {
    if (this.#bytes + bytes > MOST_BYTES || !this.#room.take(bytes)) return false;
    this.#bytes += bytes;
    return true;
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

/** An answer as it is stored for other calls: without what belongs to the call that got it first. Its cost and time are what they save. */
export function packForOthers(completion: Completion): Uint8Array {
  const { createdAt, ...kept } = completion;
  return toBinary(CompletionSchema, { ...kept, id: '', requestId: '', attempts: [] });
}

/** A longer one is not kept opened. */
const MOST_OPENED = 4 * 1024;

/** An answer as it was stored; undefined if the bytes are none. The last one of a request stays opened in its `facts`. */
export function opened(bytes: Uint8Array, facts: RequestFacts | undefined): OpenedAnswer | undefined {
  const last = facts?.answer;
  if (last && areEqual(last.bytes, bytes)) return last;
  const completion = unpack(bytes);
  if (completion === undefined) return undefined;
  const answer = { bytes, completion, events: [...replay(completion)] };
  if (facts && bytes.byteLength <= MOST_OPENED) facts.answer = answer;
  return answer;
}

function areEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one === other || (one.byteLength === other.byteLength && Buffer.compare(one, other) === 0);
}

function unpack(bytes: Uint8Array): Completion | undefined {
  try {
    return fromBinary(CompletionSchema, bytes);
  } catch {
    return undefined;
  }
}
