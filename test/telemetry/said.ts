import { create } from '@bufbuild/protobuf';
import {
  type CompletionEvent,
  type CompletionRequest,
  CompletionRequestSchema,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { textDelta } from '../../src/completion.ts';

/** A request whose messages say this. */
export function completionRequest(...texts: string[]): CompletionRequest {
  const messages = texts.map((value) => ({ parts: [{ kind: { case: 'text' as const, value } }] }));
  return create(CompletionRequestSchema, { messages });
}

/** An event with a piece of text. */
export function textEvent(text: string): CompletionEvent {
  return textDelta(0, 0, text);
}
