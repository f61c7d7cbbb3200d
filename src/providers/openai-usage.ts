import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, type JsonObject } from './json-value.ts';
import { readTokenCount } from './token-count.ts';

/** What was read of a provider's account. */
export interface ReadUsage {
  readonly usage: Usage;
  /** Keys without a field, same nesting; undefined: there are none. */
  readonly rest: JsonObject | undefined;
}

const promptDetails = new Set(['cached_tokens', 'cache_write_tokens', 'audio_tokens']);
const completionDetails = new Set([
  'reasoning_tokens',
  'audio_tokens',
  'accepted_prediction_tokens',
  'rejected_prediction_tokens',
]);
const typedKeys = new Set(['prompt_tokens', 'completion_tokens', 'total_tokens']);

/** Read OpenAI's `usage`, and what others made of it; undefined: it tells nothing. */
export function readUsage(value: unknown): ReadUsage | undefined {
  if (!isObject(value)) return undefined;
  const said = { prompt: readTokenCount(value.prompt_tokens), completion: readTokenCount(value.completion_tokens) };
  if (said.prompt === undefined && said.completion === undefined) return undefined;
  const prompt = isObject(value.prompt_tokens_details) ? value.prompt_tokens_details : {};
  const completion = isObject(value.completion_tokens_details) ? value.completion_tokens_details : {};
  const reasoning = readTokenCount(completion.reasoning_tokens) ?? readTokenCount(value.reasoning_tokens);
  const promptTokens = said.prompt ?? 0;
  let completionTokens = said.completion ?? 0;
  // xAI counts reasoning beside the completion: only its total has both.
  if (reasoning && readTokenCount(value.total_tokens) === promptTokens + completionTokens + reasoning)
    completionTokens += reasoning;
  const usage: Usage = {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens: promptTokens + completionTokens,
    estimated: false,
  };
  set(usage, 'cachedPromptTokens', prompt.cached_tokens ?? value.prompt_cache_hit_tokens ?? value.cached_tokens);
  set(usage, 'cacheWritePromptTokens', prompt.cache_write_tokens ?? value.cache_creation_input_tokens);
  set(usage, 'reasoningTokens', reasoning);
  set(usage, 'promptAudioTokens', prompt.audio_tokens);
  set(usage, 'completionAudioTokens', completion.audio_tokens);
  set(usage, 'acceptedPredictionTokens', completion.accepted_prediction_tokens);
  set(usage, 'rejectedPredictionTokens', completion.rejected_prediction_tokens);
  return { usage, rest: restOf(value, prompt, completion) };
}

type OptionalCount = Exclude<
  keyof Usage,
  '$typeName' | '$unknown' | 'promptTokens' | 'completionTokens' | 'totalTokens' | 'estimated'
>;

/** Set what is known: an unset field differs from 0. */
function set(usage: Usage, field: OptionalCount, value: unknown): void {
  const tokens = readTokenCount(value);
  if (tokens !== undefined) usage[field] = tokens;
}

function restOf(value: JsonObject, prompt: JsonObject, completion: JsonObject): JsonObject | undefined {
  let rest: JsonObject | undefined;
  for (const key in value) {
    if (typedKeys.has(key) || value[key] === null) continue;
    const kept =
      key === 'prompt_tokens_details'
        ? without(prompt, promptDetails)
        : key === 'completion_tokens_details'
          ? without(completion, completionDetails)
          : value[key];
    if (kept === undefined) continue;
    rest ??= {};
    rest[key] = kept;
  }
  return rest;
}

function without(object: JsonObject, keys: ReadonlySet<string>): JsonObject | undefined {
  const kept = Object.entries(object).filter(([key, value]) => !keys.has(key) && value !== null);
  return kept.length > 0 ? Object.fromEntries(kept) : undefined;
}
