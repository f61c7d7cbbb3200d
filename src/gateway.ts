import type { EmbeddingRequest, EmbeddingResult } from '../gen/llmgateway/v1/embedding_service_pb.ts';
import type { GetHealthResponse } from '../gen/llmgateway/v1/health_service_pb.ts';
import type { Model, Provider as ProviderMessage } from '../gen/llmgateway/v1/provider_pb.ts';
import type { Completer, Principal } from './completion.ts';

/** What the doors see: every one of them calls the same functions. */
export interface Gateway {
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
}
