import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, type JsonObject } from './json-value.ts';
import { readTokenCount } from './token-count.ts';

const typedKeys = new Set([
  'promptTokenCount',
  'candidatesTokenCount',
  'thoughtsTokenCount',
  'toolUsePromptTokenCount',
  'cachedContentTokenCount',
  'totalTokenCount',
]);

/**
 * Read Gemini's account; undefined: it tells nothing yet.
 *
 * Candidates do not include thoughts, and the prompt does not include what built-in tools read; cached tokens are part of it.
 */
export function readUsage(metadata: JsonObject): Usage | undefined {
  const prompt = readTokenCount(metadata.promptTokenCount);
  const candidates = readTokenCount(metadata.candidatesTokenCount);
  if (prompt === undefined && candidates === undefined) return undefined;
  const thoughts = readTokenCount(metadata.thoughtsTokenCount);
  const promptTokens = (prompt ?? 0) + (readTokenCount(metadata.toolUsePromptTokenCount) ?? 0);
  const completionTokens = (candidates ?? 0) + (thoughts ?? 0);
  const cached = readTokenCount(metadata.cachedContentTokenCount);
  const promptAudio = audioIn(metadata.promptTokensDetails);
  const completionAudio = audioIn(metadata.candidatesTokensDetails);
  return {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens: promptTokens + completionTokens,
    estimated: false,
    ...(cached !== undefined && { cachedPromptTokens: cached }),
    ...(thoughts !== undefined && { reasoningTokens: thoughts }),
    ...(promptAudio !== undefined && { promptAudioTokens: promptAudio }),
    ...(completionAudio !== undefined && { completionAudioTokens: completionAudio }),
  };
}

/** What the account holds beside the counts that have fields; undefined: nothing. */
export function restOfUsage(metadata: JsonObject): JsonObject | undefined {
  const rest = Object.entries(metadata).filter(([key, value]) => !typedKeys.has(key) && value !== null);
  return rest.length > 0 ? Object.fromEntries(rest) : undefined;
}

function audioIn(details: unknown): number | undefined {
  if (!Array.isArray(details)) return undefined;
  const audio = details.find((detail) => isObject(detail) && detail.modality === 'AUDIO');
  return audio && readTokenCount(audio.tokenCount);
}
