import { type CallOptions, Guarantee, RoutingStrategy } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { durationOf } from '../../time.ts';
import { readCacheControl } from '../cache-control.ts';
import type { Exchange } from './exchange.ts';
import { inWords, readBoolean, readNumber, readText, readTexts, readWord, wrong } from './fields.ts';

/** A reader of one field of a body into what is being filled. */
export type ReadField<Target> = (target: Target, value: unknown, at: string) => void;

const strategies: Readonly<Record<string, RoutingStrategy>> = {
  round_robin: RoutingStrategy.ROUND_ROBIN,
  least_latency: RoutingStrategy.LEAST_LATENCY,
  lowest_cost: RoutingStrategy.LOWEST_COST,
  highest_quality: RoutingStrategy.HIGHEST_QUALITY,
  quality: RoutingStrategy.HIGHEST_QUALITY,
  random: RoutingStrategy.RANDOM,
  failover: RoutingStrategy.FAILOVER,
};

/** The word for a strategy. */
export function strategyWord(strategy: RoutingStrategy): string {
  return Object.keys(strategies).find((word) => strategies[word] === strategy) ?? 'failover';
}

const guarantees: Readonly<Record<string, Guarantee>> = { buffered: Guarantee.BUFFERED, none: Guarantee.NONE };

const MIN_TIMEOUT = 1;
const MAX_TIMEOUT = 300;

/** The gateway's own fields, which stand flat in the body beside OpenAI's. */
export const optionFields: Readonly<Record<string, ReadField<CallOptions>>> = {
  provider: (options, value, at) => {
    options.provider = readText(value, at);
  },
  routing_strategy: (options, value, at) => {
    options.routingStrategy = readWord(value, at, strategies);
  },
  fallback: (options, value, at) => {
    options.fallback = readBoolean(value, at);
  },
  timeout: (options, value, at) => {
    const seconds = readNumber(value, at);
    // Checked here too: the words of the contract's own rule are Durations, the caller's are seconds.
    if (seconds < MIN_TIMEOUT || seconds > MAX_TIMEOUT) {
      throw wrong(at, `must be from ${MIN_TIMEOUT} to ${MAX_TIMEOUT} seconds, not ${inWords(value)}`);
    }
    options.timeout = durationOf(seconds * 1000);
  },
  guarantee: (options, value, at) => {
    options.guarantee = readWord(value, at, guarantees);
  },
  metadata: (options, value, at) => {
    options.metadata = readTexts(value, at);
  },
  request_id: (options, value, at) => {
    options.requestId = readText(value, at);
  },
};

/** The headers that give options. */
export const optionHeaders = ['idempotency-key', 'cache-control'] as const;

/** Whether a request has any of them. */
export function hasOptions(exchange: Exchange): boolean {
  return optionHeaders.some((name) => exchange.header(name) !== undefined);
}

/** Options as the request's headers alone give them: see `optionHeaders`. */
export function optionsFromHeaders(exchange: Exchange): CallOptions {
  return {
    $typeName: 'llmgateway.v1.CallOptions',
    provider: '',
    routingStrategy: RoutingStrategy.UNSPECIFIED,
    ...readCacheControl(exchange.header('cache-control')),
    idempotencyKey: exchange.header('idempotency-key') ?? '',
    requestId: '',
    userId: '',
    metadata: {},
    guarantee: Guarantee.UNSPECIFIED,
  };
}
