import type { ExplainRouteResponse, PurgeCacheRequest } from '../gen/llmgateway/v1/admin_service_pb.ts';
import type { CompletionEvent, CompletionRequest } from '../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../gen/llmgateway/v1/embedding_service_pb.ts';
import type { GetHealthResponse } from '../gen/llmgateway/v1/health_service_pb.ts';
import type { Model, Provider as ProviderMessage } from '../gen/llmgateway/v1/provider_pb.ts';
import { checkCompletion, checkEmbedding } from './admission/check-request.ts';
import { type CountUsageOptions, countUsage } from './admission/count-usage.ts';
import { admit, type InFlight } from './admission/in-flight.ts';
import { type LimitCallsOptions, limitCalls } from './admission/rate-limit.ts';
import type { UsageReports } from './admission/usage-report.ts';
import { deadline } from './attempt/deadline.ts';
import { type FirstToCommitOptions, firstToCommit } from './attempt/first-to-commit.ts';
import { heartbeats } from './attempt/heartbeat.ts';
import { completions, embeddings } from './attempt/operation.ts';
import type { BreakerControls } from './attempt/operator.ts';
import { type CacheOptions, cached } from './cache/cache.ts';
import { type IdempotencyOptions, idempotent } from './cache/idempotency.ts';
import { type CallContext, type Completer, compose, type Layer, type Principal } from './completion.ts';
import type { Asker } from './routing/explain.ts';
import type { CallSink } from './telemetry/ended-call.ts';
import { type CallCounts, observe } from './telemetry/observe.ts';
import { observedCompletions, observedEmbeddings } from './telemetry/observed-operations.ts';

/** What the doors see: every one of them calls the same functions. */
export interface Gateway extends BreakerControls, Pick<UsageReports, 'getUsage'> {
  /**
   * Carry out a completion. Throws GatewayErrors only.
   *
   * The first event is `started` (or, on streams, heartbeats before it); until it comes the status of the answer is open.
   */
  readonly complete: Completer;
  /** Carry out an embedding: yields one result. */
  readonly embed: Completer<EmbeddingRequest, EmbeddingResult>;
  /** The models that a caller may name: aliases first, then by provider. */
  listModels(principal: Principal): Promise<readonly Model[]>;
  /** Every configured provider and how it does, in the configured order. */
  listProviders(): readonly ProviderMessage[];
  getHealth(): GetHealthResponse;
  /** Where a completion would go at this moment, and why. Throws for a request that is wrong, as `complete` does. */
  explainRoute(request: CompletionRequest, asker: Asker): Promise<ExplainRouteResponse>;
  /** Forget cached answers; tells how many. */
  purgeCache(request: PurgeCacheRequest): Promise<number>;
}

/** What the path of a call is made of. */
export interface PathParts extends FirstToCommitOptions<CompletionRequest | EmbeddingRequest> {
  readonly counts: CallCounts;
  /** Told of every call that is over. */
  readonly sinks: readonly CallSink[];
  /** Whether what is said is told, too. */
  readonly keepsContent: boolean;
  readonly inFlight: InFlight;
  readonly heartbeatMs: number;
  /** The whole time a call may take, in milliseconds. */
  readonly totalMs: (request: CompletionRequest | EmbeddingRequest, context: CallContext) => number;
  readonly limits: LimitCallsOptions<CompletionRequest | EmbeddingRequest>;
  readonly usage: CountUsageOptions<CompletionRequest | EmbeddingRequest>;
  readonly idempotency: {
    readonly completions: IdempotencyOptions<CompletionRequest, CompletionEvent>;
    readonly embeddings: IdempotencyOptions<EmbeddingRequest, EmbeddingResult>;
  };
  /** Undefined: nothing is cached. */
  readonly cache: CacheOptions | undefined;
}

/**
 * THE path of a call: the layers it meets, in order. Authentication stands before it, at the doors, since it needs no request.
 *
 * account of the call -> check against the contract -> a place in flight -> heartbeats -> deadline -> the caller's limits -> count of
 * what is used -> the outcome of an earlier call with the same idempotency key -> the cache, and equal calls under way -> targets, one
 * after the other, each behind its guard
 */
export function paths(parts: PathParts): Pick<Gateway, 'complete' | 'embed'> {
  const { counts, sinks, keepsContent, inFlight, heartbeatMs, totalMs, limits, usage, idempotency, cache } = parts;
  const complete: Layer[] = [
    observe(observedCompletions(keepsContent), counts, sinks),
    checkCompletion,
    admit(inFlight),
    heartbeats(heartbeatMs),
    deadline<CompletionRequest, CompletionEvent>(totalMs),
    limitCalls<CompletionRequest, CompletionEvent>(limits),
    countUsage<CompletionRequest, CompletionEvent>(usage),
    idempotent(idempotency.completions),
    ...(cache ? [cached(cache)] : []),
  ];
  const embed: Layer<EmbeddingRequest, EmbeddingResult>[] = [
    observe(observedEmbeddings, counts, sinks),
    checkEmbedding(),
    admit(inFlight),
    deadline<EmbeddingRequest, EmbeddingResult>(totalMs),
    limitCalls<EmbeddingRequest, EmbeddingResult>(limits),
    countUsage<EmbeddingRequest, EmbeddingResult>(usage),
    idempotent(idempotency.embeddings),
  ];
  return {
    complete: compose(complete, firstToCommit(completions, parts)),
    embed: compose(embed, firstToCommit(embeddings, parts)),
  };
}
