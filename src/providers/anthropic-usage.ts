import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, type JsonObject } from './json-value.ts';
import { readTokenCount } from './token-count.ts';

/** What was read of a provider's account. */
export interface ReadUsage {
  readonly usage: Usage;
  /** Keys without a field, same nesting; undefined: there are none. */
  readonly rest: JsonObject | undefined;
}

const typedKeys = new Set([
  'input_tokens',
  'cache_creation_input_tokens',
  'cache_read_input_tokens',
  'output_tokens',
  'output_tokens_details',
]);

/** Put what a later event says of the usage over what was said before: every number is cumulative, and not every one is repeated. */
export function mergeUsage(before: JsonObject, said: unknown): JsonObject {
  if (!isObject(said)) return before;
  const set = Object.entries(said).filter(([, value]) => value !== null && value !== undefined);
  return set.length > 0 ? { ...before, ...Object.fromEntries(set) } : before;
}

/** Read Anthropic's `usage`; undefined: it tells nothing. Its `input_tokens` leave out what the cache has to do with. */
export function readUsage(said: JsonObject): ReadUsage | undefined {
  const input = readTokenCount(said.input_tokens);
  const output = readTokenCount(said.output_tokens);
  if (input === undefined && output === undefined) return undefined;
  const written = readTokenCount(said.cache_creation_input_tokens);
  const cached = readTokenCount(said.cache_read_input_tokens);
  const details = isObject(said.output_tokens_details) ? said.output_tokens_details : {};
  const reasoning = readTokenCount(details.thinking_tokens);
  const promptTokens = (input ?? 0) + (written ?? 0) + (cached ?? 0);
  const completionTokens = output ?? 0;
  const usage: Usage = {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens: promptTokens + completionTokens,
    estimated: false,
    ...(cached !== undefined && { cachedPromptTokens: cached }),
    ...(written !== undefined && { cacheWritePromptTokens: written }),
    ...(reasoning !== undefined && { reasoningTokens: reasoning }),
  };
  const rest = Object.entries(said).filter(([key]) => !typedKeys.has(key));
  return { usage, rest: rest.length > 0 ? Object.fromEntries(rest) : undefined };
}
