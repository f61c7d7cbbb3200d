import type { TokenLogprob } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';

/** Read a list of log probabilities as OpenAI writes them, and others after it. */
export function readTokenLogprobs(list: unknown): TokenLogprob[] {
  if (!Array.isArray(list)) return [];
  return list.filter(isObject).map((token) => ({
    $typeName: 'llmgateway.v1.TokenLogprob',
    ...readToken(token),
    topLogprobs: Array.isArray(token.top_logprobs)
      ? token.top_logprobs
          .filter(isObject)
          .map((top) => ({ $typeName: 'llmgateway.v1.TopLogprob' as const, ...readToken(top) }))
      : [],
  }));
}

function readToken({ token, logprob, bytes }: JsonObject): {
  token: string;
  logprob: number;
  bytes?: Uint8Array<ArrayBuffer>;
} {
  return {
    token: textOf(token).toWellFormed(),
    logprob: typeof logprob === 'number' ? logprob : 0,
    ...(Array.isArray(bytes) && { bytes: Uint8Array.from(bytes) }),
  };
}
