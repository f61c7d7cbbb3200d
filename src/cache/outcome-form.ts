import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type CompletionEvent,
  type CompletionRequest,
  CompletionSchema,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  type EmbeddingRequest,
  type EmbeddingResult,
  EmbeddingResultSchema,
} from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { replay } from '../completion.ts';
import type { Room } from '../room.ts';
import { completionFingerprint, embeddingFingerprint } from './key.ts';
import { Recording } from './recording.ts';

/** How the answers of one operation are kept, and given again. */
export interface OutcomeForm<Request, Event> {
  /** What tells one request from another. */
  fingerprintOf(request: Request): string;
  /** Makes what puts one answer together. */
  recorder(): Recorder<Event>;
  isLast(event: Event): boolean;
  /** The events of an answer. Throws if the bytes are none. */
  replay(bytes: Uint8Array): Iterable<Event>;
  /** An event of an earlier answer, as it is told to a call of this id. */
  tell(event: Event, requestId: string): Event;
}

/** Puts one answer together while it passes by. */
export interface Recorder<Event> {
  /** Take the next event. The last one gives the whole; undefined then: the answer is not to be kept. */
  add(event: Event): Uint8Array | undefined;
  /** Nothing more is to come. */
  end(): void;
}

/** Completions; `sizeOf` tells about how many bytes an event takes. */
export function completionOutcomes(
  sizeOf: (event: CompletionEvent) => number,
  room: Room,
): OutcomeForm<CompletionRequest, CompletionEvent> {
  return {
    fingerprintOf: completionFingerprint,
    recorder() {
      const recording = new Recording(sizeOf, room);
      return {
        add(event) {
          const whole = recording.add(event);
          return whole && toBinary(CompletionSchema, whole);
        },
        end: () => recording.end(),
      };
    },
    isLast: ({ event }) => event.case === 'finished',
    replay: (bytes) => replay(fromBinary(CompletionSchema, bytes)),
    tell(told, requestId) {
      const { case: kind, value } = told.event;
      return kind === 'started' ? { ...told, event: { case: kind, value: { ...value, requestId } } } : told;
    },
  };
}

/** Embeddings, whose answer is one event. */
export const embeddingOutcomes: OutcomeForm<EmbeddingRequest, EmbeddingResult> = {
  fingerprintOf: embeddingFingerprint,
  recorder: () => ({ add: (result) => toBinary(EmbeddingResultSchema, result), end: () => {} }),
  isLast: () => true,
  replay: (bytes) => [fromBinary(EmbeddingResultSchema, bytes)],
  tell: (result, requestId) => ({ ...result, requestId }),
};
