import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { Account } from '../completion.ts';

/** About what a token holds of an answer that was cut, where nobody tells. */
const CHARACTERS_PER_TOKEN = 4;

/**
 * What a call has used, when it is over; undefined: nothing.
 *
 * - A whole answer tells. One that was cut has taken its prompt and what was streamed of it, estimated, and what was told before.
 * - A call that failed before its first content has used nothing; neither has one whose answer some other call pays for.
 */
export function usageOf({ free, spent, characters = 0, whole }: Account, promptTokens: number): Usage | undefined {
  if (free) return undefined;
  const told = spent?.usage;
  if (told && whole) return told;
  const streamed = Math.ceil(characters / CHARACTERS_PER_TOKEN);
  if (told === undefined) return streamed === 0 ? undefined : usageFrom(promptTokens, streamed);
  if (streamed <= told.completionTokens) return told;
  return { ...told, ...usageFrom(told.promptTokens, streamed) };
}

function usageFrom(promptTokens: number, completionTokens: number): Usage {
  return {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens: promptTokens + completionTokens,
    estimated: true,
  };
}

/** What usage has cost the caller, in dollars; undefined: unknown. */
export function usdOf({ spent, costOf, whole }: Account, usage: Usage): number | undefined {
  if (whole && spent?.usage === usage && spent.cost) return spent.cost.totalUsd;
  return costOf?.(usage)?.totalUsd;
}
