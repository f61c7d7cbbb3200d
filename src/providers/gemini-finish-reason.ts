import { FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';

const words: Readonly<Record<string, FinishReason>> = {
  STOP: FinishReason.STOP,
  MAX_TOKENS: FinishReason.LENGTH,
  CONTINUATION: FinishReason.LENGTH,
  SAFETY: FinishReason.CONTENT_FILTER,
  RECITATION: FinishReason.CONTENT_FILTER,
  BLOCKLIST: FinishReason.CONTENT_FILTER,
  PROHIBITED_CONTENT: FinishReason.CONTENT_FILTER,
  SPII: FinishReason.CONTENT_FILTER,
  IMAGE_SAFETY: FinishReason.CONTENT_FILTER,
  IMAGE_PROHIBITED_CONTENT: FinishReason.CONTENT_FILTER,
  IMAGE_RECITATION: FinishReason.CONTENT_FILTER,
  MODEL_ARMOR: FinishReason.CONTENT_FILTER,
};

/** Why a candidate ended. Gemini says STOP after function calls too: the calls decide. A new word is OTHER. */
export function readFinishReason(word: string, calledTools: boolean): FinishReason {
  const reason = words[word] ?? FinishReason.OTHER;
  return reason === FinishReason.STOP && calledTools ? FinishReason.TOOL_CALLS : reason;
}

/** The model wrote what its own provider could not use: another try may do. */
const modelFaults = new Set(['MALFORMED_FUNCTION_CALL', 'UNEXPECTED_TOOL_CALL', 'MALFORMED_RESPONSE']);
/** The same request will end like that again. */
const requestFaults = new Set(['LANGUAGE', 'NO_IMAGE', 'TOO_MANY_TOOL_CALLS', 'MISSING_THOUGHT_SIGNATURE']);

/** The error that a finish reason stands for, in the shape of Google's errors; undefined: it stands for none. */
export function faultOf(word: string, finishMessage: string): object | undefined {
  const message = finishMessage ? `${word}: ${finishMessage}` : word;
  if (modelFaults.has(word)) return { error: { code: word, message } };
  return requestFaults.has(word) ? { error: { code: 400, status: word, message } } : undefined;
}
