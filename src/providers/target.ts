import type { Cost, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { Provider } from './provider.ts';

/** USD for a million tokens; undefined: unknown. */
export interface Price {
  readonly input: number | undefined;
  readonly output: number | undefined;
  /** Of prompt tokens read from the provider's cache; undefined: as `input`. */
  readonly cachedInput: number | undefined;
}

/** How long one attempt may take, in milliseconds. */
export interface AttemptLimits {
  /** A whole answer that is not streamed. */
  readonly unaryMs: number;
  /** To the first content of a stream. */
  readonly firstTokenMs: number;
  /** Between two events of a stream. */
  readonly idleMs: number;
}

/** A provider with one model: somewhere a call can go. */
export interface Target {
  readonly provider: Provider;
  /** The model's id at the provider. */
  readonly model: string;
  readonly price: Price | undefined;
  /** The most tokens of prompt and answer together; undefined: unknown. */
  readonly contextWindow: number | undefined;
  readonly limits: AttemptLimits;
}

const MILLION = 1_000_000;

/** What the usage costs at the price; undefined where either is unknown: an unknown price is never 0. */
export function costOf(usage: Usage | undefined, price: Price | undefined): Cost | undefined {
  if (usage === undefined || price?.input === undefined || price.output === undefined) return undefined;
  const cached = Math.min(usage.cachedPromptTokens ?? 0, usage.promptTokens);
  const fresh = usage.promptTokens - cached;
  const promptUsd = (fresh * price.input + cached * (price.cachedInput ?? price.input)) / MILLION;
  const completionUsd = (usage.completionTokens * price.output) / MILLION;
  return { $typeName: 'llmgateway.v1.Cost', promptUsd, completionUsd, totalUsd: promptUsd + completionUsd };
}
