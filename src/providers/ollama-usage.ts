import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { JsonObject } from './json-value.ts';
import { readTokenCount } from './token-count.ts';

/**
 * Read the counts of an answer; undefined: it has none.
 *
 * A count that is missing is 0: Ollama leaves out what is, the prompt's when all of it was cached.
 */
export function readOllamaUsage({ prompt_eval_count, eval_count }: JsonObject): Usage | undefined {
  const prompt = readTokenCount(prompt_eval_count);
  const completion = readTokenCount(eval_count);
  if (prompt === undefined && completion === undefined) return undefined;
  const promptTokens = prompt ?? 0;
  const completionTokens = completion ?? 0;
  return {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens: promptTokens + completionTokens,
    estimated: false,
  };
}
