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
import { completionFingerprint, embeddingFingerprint } from './key.ts';
import { Recording } from './recording.ts';

/** How the answers of one operation are kept, and given again. */
export interface OutcomeForm<Request, Event> {
  /** What tells one request from another. */
  fingerprintOf(request: Request): string;
  /** Makes what puts one answer together: its last event gives the whole. Undefined: the answer is not to be kept. */
  recorder(): (event: Event) => Uint8Array | undefined;
  isLast(event: Event): boolean;
  /** The events of an answer. Throws if the bytes are none. */
  replay(bytes: Uint8Array): Iterable<Event>;
  /** An event of an earlier answer, as it is told to a call of this id. */
  tell(event: Event, requestId: string): Event;
}

/** Completions; `sizeOf` tells about how many bytes an event takes. */
export function completionOutcomes(
  sizeOf: (event: CompletionEvent) => number,
): OutcomeForm<CompletionRequest, CompletionEvent> {
  return {
    fingerprintOf: completionFingerprint,
    recorder() {
      const recording = new Recording(sizeOf);
      return (event) => {
        const whole = recording.add(event);
        return whole && toBinary(CompletionSchema, whole);
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
  recorder: () => (result) => toBinary(EmbeddingResultSchema, result),
  isLast: () => true,
  replay: (bytes) => [fromBinary(EmbeddingResultSchema, bytes)],
  tell: (result, requestId) => ({ ...result, requestId }),
};
