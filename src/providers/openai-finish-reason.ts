import { FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';

/** OpenAI's own words, and those that compatible servers use in their place. */
const words: Readonly<Record<string, FinishReason>> = {
  stop: FinishReason.STOP,
  eos: FinishReason.STOP,
  eos_token: FinishReason.STOP,
  end_turn: FinishReason.STOP,
  stop_sequence: FinishReason.STOP,
  complete: FinishReason.STOP,
  completed: FinishReason.STOP,
  length: FinishReason.LENGTH,
  max_tokens: FinishReason.LENGTH,
  max_output_tokens: FinishReason.LENGTH,
  model_length: FinishReason.LENGTH,
  tool_calls: FinishReason.TOOL_CALLS,
  tool_use: FinishReason.TOOL_CALLS,
  function_call: FinishReason.TOOL_CALLS,
  content_filter: FinishReason.CONTENT_FILTER,
  safety: FinishReason.CONTENT_FILTER,
  refusal: FinishReason.CONTENT_FILTER,
};

/** Why a choice ended. Many say `stop` after tool calls, OpenAI too when a tool was forced: the calls decide. */
export function readFinishReason(word: string, calledTools: boolean): FinishReason {
  const reason = words[word.toLowerCase()] ?? FinishReason.OTHER;
  return reason === FinishReason.STOP && calledTools ? FinishReason.TOOL_CALLS : reason;
}
