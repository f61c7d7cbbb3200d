import type { Attempt } from '../../gen/llmgateway/v1/completion_pb.ts';

// What the path of a call tells of itself to whoever traces it. Nothing here knows how.

/** Where a call goes, and why. */
export interface RouteDecision {
  /** The configured name that `model` led to; undefined: it is none. */
  readonly route: string | undefined;
  readonly strategy: string;
  /** The targets in the order in which they will be tried, as `provider/model`. */
  readonly targets: readonly string[];
  /** Those left out, each with the reason, as `provider/model: reason`. */
  readonly leftOut?: readonly string[];
}

/** The trace of one call. */
export interface CallTrace {
  readonly traceId: string;
  readonly spanId: string;
  /** Whether the spans are kept. If not, only the ids go on to providers. */
  readonly sampled: boolean;
  /** What is asked for; told once, before the first attempt. */
  describe(request: RequestFacts): void;
  /** The decision where the call goes, and when it was made. */
  routed(decision: RouteDecision, fromAt: number, toAt: number): void;
  attempt(log: Attempt): AttemptTrace;
  /** The response cache answered. */
  cached(result: string, fromAt: number, toAt: number): void;
}

/** What a span of an attempt tells of the request; never what it says. */
export interface RequestFacts {
  readonly operation: string;
  readonly attributes: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

/** The trace of one attempt at a provider. */
export interface AttemptTrace {
  /** A request to the provider is about to be sent. */
  upstream(method: string, path: string): UpstreamTrace;
  end(log: Attempt, failure: unknown, firstChunkMs: number | undefined): void;
}

/** The trace of one request to a provider. */
export interface UpstreamTrace {
  /** What the provider is sent of the trace. */
  readonly headers: Readonly<Record<string, string>>;
  sent(): void;
  answered(status: number): void;
  /** May be called more than once; the first call counts. */
  ended(failure: unknown): void;
}
