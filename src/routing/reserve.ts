import type { Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { costOf, type Target } from '../providers/target.ts';
import type { Need } from './need.ts';

/** What a call may take at most, wherever it goes. */
export interface MostTaken {
  readonly promptTokens: number;
  /** Of all answers together: as many as the request allows, or a usual number where it leaves that to the model. */
  readonly completionTokens: number;
  /** At the dearest target; where the request does not bound its answer, for the longest that the model writes. */
  readonly usd: number | undefined;
  /** A target whose price is unknown, as `provider/model`; undefined: all are known. */
  readonly unpriced: string | undefined;
  /** Whether the request itself bounds its answers. */
  readonly bounded: boolean;
}

/** What an answer is usually no longer than, where the request does not say. */
const USUAL_OUTPUT_TOKENS = 1024;
/** What it may be where nobody knows either. */
const UNKNOWN_OUTPUT_TOKENS = 4096;

/**
 * What a call may take at most at any of its targets.
 *
 * Money is reserved for the longest answer there can be: calls at once would else spend more than there is. Tokens are reserved
 * for a usual one: models allow a hundred times what they write, and a limit by the minute pays back what was too little.
 */
export function mostTaken(
  targets: readonly Pick<Target, 'provider' | 'model' | 'priceOf' | 'maxOutputTokens'>[],
  { promptTokens, outputTokens, n }: Need,
): MostTaken {
  let usd: number | undefined = 0;
  let unpriced: string | undefined;
  for (const { provider, model, priceOf, maxOutputTokens = UNKNOWN_OUTPUT_TOKENS } of targets) {
    const cost = costOf(usageOf(promptTokens, n * (outputTokens ?? maxOutputTokens)), priceOf(model));
    if (cost?.totalUsd === undefined) unpriced ??= `${provider.name}/${model}`;
    else usd = Math.max(usd, cost.totalUsd);
  }
  if (unpriced !== undefined) usd = undefined;
  const completionTokens = n * (outputTokens ?? USUAL_OUTPUT_TOKENS);
  return { promptTokens, completionTokens, usd, unpriced, bounded: outputTokens !== undefined };
}

function usageOf(promptTokens: number, completionTokens: number): Usage {
  const totalTokens = promptTokens + completionTokens;
  return { $typeName: 'llmgateway.v1.Usage', promptTokens, completionTokens, totalTokens, estimated: true };
}
