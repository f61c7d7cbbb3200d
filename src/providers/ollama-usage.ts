import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { JsonObject } from './json-value.ts';

/**
 * Read the counts of an answer; undefined: it has none.
 *
 * A count that is missing is 0: Ollama leaves out what is, the prompt's when all of it was cached.
 */
export function readOllamaUsage({ prompt_eval_count, eval_count }: JsonObject): Usage | undefined {
  if (typeof prompt_eval_count !== 'number' && typeof eval_count !== 'number') return undefined;
  const promptTokens = tokens(prompt_eval_count);
  const completionTokens = tokens(eval_count);
  return {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens: promptTokens + completionTokens,
    estimated: false,
  };
}

function tokens(value: unknown): number {
  return typeof value === 'number' && value >= 0 ? Math.min(Math.trunc(value), 0x7fffffff) : 0;
}
