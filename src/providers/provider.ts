import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import type { StopSignal } from '../stop.ts';
import type { UpstreamWatch } from '../telemetry/call-notes.ts';
import type { RateStanding } from './rate-standing.ts';

/** What an adapter is configured with. */
export interface ProviderOptions {
  readonly name: string;
  readonly kind: string;
  /** The dialect's paths are appended to it; a slash at its end does not matter. */
  readonly baseUrl: string;
  /** Used in turn. Empty: the provider wants none. */
  readonly apiKeys: readonly string[];
  readonly defaultModel: string;
  /** Sent with every request as they are. */
  readonly headers: Readonly<Record<string, string>>;
  readonly dropUnsupported: 'error' | 'drop';
  readonly connectTimeoutMs?: number | undefined;
  /** URL of the proxy on the way to the base URL; undefined: none. */
  readonly proxy?: string | undefined;
  /** The most connections. The default value is 512. */
  readonly maxConnections?: number | undefined;
}

/** What the headers of a provider's answer say beside the answer. */
export interface ProviderResponse extends Partial<RateStanding> {
  /** The provider's own id of the request. */
  readonly requestId: string | undefined;
}

/** What an adapter is told about one attempt, beside the request. */
export interface ProviderCall {
  /** The model to ask, in the provider's own word. `request.model` is the caller's word: not to be used. */
  readonly model: string;
  /** Whether to ask for a stream. */
  readonly streaming: boolean;
  /** The call's id, sent upstream as `x-request-id`. */
  readonly requestId: string;
  /** Aborts when the attempt must end. The adapter closes its socket and throws the signal's reason. */
  readonly signal: StopSignal;
  /** Hears how each request goes that the adapter sends. */
  readonly watch?: UpstreamWatch | undefined;
  /** To be called once, when the provider has answered with its headers. */
  readonly onResponse?: (response: ProviderResponse) => void;
}

/** A model as a provider lists it. */
export interface ListedModel {
  readonly id: string;
  readonly ownedBy?: string | undefined;
  /** Seconds since 1970. */
  readonly created?: number | undefined;
  readonly contextWindow?: number | undefined;
  readonly maxOutputTokens?: number | undefined;
}

/**
 * An upstream, behind one shape.
 *
 * An adapter translates, and does nothing else: it cannot retry, cache, count, or read configuration other than its own. It
 * throws only GatewayErrors of the reasons `provider_*`, `context_length`, `model_not_found` and `invalid_request`, with
 * `provider` set, or the signal's reason.
 */
export interface Provider {
  readonly name: string;
  readonly kind: string;
  /** The model asked when a call names none; empty: the provider has none. */
  readonly defaultModel: string;
  /** Why no call may be sent to it, for people to read; undefined: calls may. */
  readonly unavailable: string | undefined;
  /**
   * Yields `started{model}`, deltas, `choice_finished`, and last `finished{usage}`; layers add ids, provider, cost and attempts.
   *
   * Without proof that the answer is complete it throws `provider_protocol` instead of yielding `finished`.
   */
  complete(request: CompletionRequest, call: ProviderCall): AsyncIterable<CompletionEvent>;
  /** Yields one result. */
  embed(request: EmbeddingRequest, call: ProviderCall): AsyncIterable<EmbeddingResult>;
  listModels(signal: StopSignal): Promise<readonly ListedModel[]>;
  /** Close its connections. */
  close(): Promise<void>;
}
