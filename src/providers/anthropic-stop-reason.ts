import { FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';

/** `pause_turn` is none of these: the provider has not finished its own tools, and wants to be asked again. */
const words: ReadonlyMap<string, FinishReason> = new Map([
  ['end_turn', FinishReason.STOP],
  ['stop_sequence', FinishReason.STOP],
  ['max_tokens', FinishReason.LENGTH],
  ['model_context_window_exceeded', FinishReason.LENGTH],
  ['tool_use', FinishReason.TOOL_CALLS],
  ['refusal', FinishReason.CONTENT_FILTER],
]);

/** Why an answer ended. Compatible servers say `end_turn` after tool calls: the calls decide. */
export function readStopReason(word: string, calledTools: boolean): FinishReason {
  const reason = words.get(word) ?? FinishReason.OTHER;
  return reason === FinishReason.STOP && calledTools ? FinishReason.TOOL_CALLS : reason;
}
