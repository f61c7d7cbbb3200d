import type { Cost, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { Provider } from './provider.ts';

/** USD for a million tokens; what is unset is unknown. */
export interface Rates {
  readonly input?: number | undefined;
  readonly output?: number | undefined;
  /** Of prompt tokens read from the provider's cache; unset: as `input`. */
  readonly cachedInput?: number | undefined;
  /** Of prompt tokens written to the provider's cache; unset: as `input`. */
  readonly cacheWrite?: number | undefined;
  /** Of prompt tokens of sound; unset: as `input`. */
  readonly audioInput?: number | undefined;
  /** Of completion tokens of sound; unset: as `output`. */
  readonly audioOutput?: number | undefined;
}

/** What a model costs. */
export interface Price extends Rates {
  /** What the whole call costs instead when its prompt has more than `above` tokens, shortest first. */
  readonly tiers?: readonly (Rates & { readonly above: number })[] | undefined;
}

/** How long one attempt may take, in milliseconds. */
export interface AttemptLimits {
  /** A whole answer that is not streamed. */
  readonly unaryMs: number;
  /** To the first content of a stream. */
  readonly firstTokenMs: number;
  /** Between two events of a stream. */
  readonly idleMs: number;
  /** What is slow, though it is no failure: to the first content of a stream. */
  readonly slowFirstTokenMs: number;
  /** The same for a whole answer that is not streamed. */
  readonly slowUnaryMs: number;
}

/** What a model can do; what is unset is unknown. */
export interface Capabilities {
  /** Call tools. */
  readonly tools?: boolean;
  /** Read images. */
  readonly vision?: boolean;
  /** Keep to a JSON schema. */
  readonly jsonSchema?: boolean;
  /** Reason before it answers. */
  readonly reasoning?: boolean;
}

/** A provider with one model: somewhere a call can go. */
export interface Target {
  readonly provider: Provider;
  /** The model's id at the provider. */
  readonly model: string;
  /** What a call costs that was answered by this model, which may be another than was asked; undefined: unknown. */
  readonly priceOf: (answered: string) => Price | undefined;
  /** The most tokens of prompt and answer together; undefined: unknown. */
  readonly contextWindow: number | undefined;
  /** The most tokens of one answer; undefined: unknown. */
  readonly maxOutputTokens: number | undefined;
  readonly capabilities: Capabilities | undefined;
  /** Quality score, 0 to 1; undefined: unknown. */
  readonly quality: number | undefined;
  /** Its share under the strategies that have shares. */
  readonly weight: number;
  readonly limits: AttemptLimits;
  /** Whether the configuration or the provider itself names the model; if not, only the caller does. */
  readonly listed: boolean;
}

const MILLION = 1_000_000;

/**
 * What the usage costs at the price; undefined where a rate that it takes is unknown: unknown is never 0.
 *
 * - Cached, written and spoken tokens are part of the prompt, each counted once; reasoning is part of the completion.
 * - The length of the whole prompt decides on the tier, and the tier holds for the answer, too.
 * - Fees that are not for tokens, such as those of a provider's own search, are not in it.
 */
export function costOf(usage: Usage | undefined, price: Price | undefined): Cost | undefined {
  if (usage === undefined || price === undefined) return undefined;
  const rates = price.tiers?.findLast(({ above }) => usage.promptTokens > above) ?? price;
  const promptUsd = usdOf(usage.promptTokens, rates.input, [
    [usage.cachedPromptTokens, rates.cachedInput],
    [usage.cacheWritePromptTokens, rates.cacheWrite],
    [usage.promptAudioTokens, rates.audioInput],
  ]);
  const completionUsd = usdOf(usage.completionTokens, rates.output, [[usage.completionAudioTokens, rates.audioOutput]]);
  if (promptUsd === undefined || completionUsd === undefined) return undefined;
  return { $typeName: 'llmgateway.v1.Cost', promptUsd, completionUsd, totalUsd: promptUsd + completionUsd };
}

/** What tokens cost of which some have rates of their own; those without one are as the rest. */
function usdOf(
  tokens: number,
  rate: number | undefined,
  special: readonly (readonly [tokens: number | undefined, rate: number | undefined])[],
): number | undefined {
  let rest = tokens;
  let usd = 0;
  for (const [counted = 0, ownRate] of special) {
    if (ownRate === undefined) continue;
    const charged = Math.min(counted, rest);
    usd += charged * ownRate;
    rest -= charged;
  }
  if (rest > 0 && rate === undefined) return undefined;
  return (usd + rest * (rate ?? 0)) / MILLION;
}
