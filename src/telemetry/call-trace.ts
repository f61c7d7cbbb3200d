import type { Attempt } from '../../gen/llmgateway/v1/completion_pb.ts';

// What the path of a call tells of itself to whoever traces it. Nothing here knows how.

/** What a span tells. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | string[] | undefined>>;

/** Where a call goes, and why. */
export interface RouteDecision {
  /** The configured name that `model` led to; undefined: it is none. */
  readonly route: string | undefined;
  readonly strategy: string;
  /** The targets in the order in which they will be tried. */
  readonly targets: readonly TargetName[];
  /** Those left out, each with the reason; kept only where somebody traces the call. */
  readonly leftOut?: readonly (readonly [target: TargetName, why: string])[] | undefined;
}

/** A target, as far as its name goes. */
export interface TargetName {
  readonly provider: { readonly name: string };
  readonly model: string;
}

/** The trace of one call. */
export interface CallTrace {
  readonly traceId: string;
  readonly spanId: string;
  /** Whether spans are kept. If not, only the ids go on to providers, and nothing that is told here is read. */
  readonly sampled: boolean;
  /** What is asked for, before the first attempt: the operation, and what spans of attempts tell of the request. */
  describe(operation: string, attributes: SpanAttributes): void;
  /** The decision where the call goes, and when it was made. */
  routed(decision: RouteDecision, fromAt: number, toAt: number): void;
  /** The response cache was asked. */
  cached(result: string, fromAt: number, toAt: number): void;
  attempt(log: Attempt): AttemptTrace;
  /** What was answered; told once the attempt that did so is over, and before `finished`. */
  answered(attributes: SpanAttributes): void;
  /** How the call ended; `fault` is the reason where the gateway or a provider is to blame. */
  finished(attributes: SpanAttributes, fault: string | undefined): void;
}

/** The trace of one request at a door, and of the call that it may become. */
export interface ServerTrace extends CallTrace {
  /** The request is over, whatever became of it. */
  end(attributes: SpanAttributes, fault: string | undefined): void;
}

/** The trace of one attempt at a provider. */
export interface AttemptTrace {
  /** A request to the provider is about to be sent. */
  upstream(method: string, path: string): UpstreamTrace;
  /** It is over; `failure` is what ended it early. */
  end(log: Attempt, failure: unknown, firstChunkMs: number | undefined): void;
}

/** The trace of one request to a provider. */
export interface UpstreamTrace {
  /** What the provider is sent of the trace. */
  readonly headers: Readonly<Record<string, string>>;
  /** A connection carries it; called again when it has to be sent again. */
  sent(): void;
  answered(status: number): void;
  /** May be called more than once; the first call counts. */
  ended(failure: unknown): void;
}

/** Begins the traces of requests. */
export interface RequestTracer {
  begin(request: TracedRequest): ServerTrace;
}

/** A request at a door, as far as its span tells of it from the start. */
export interface TracedRequest {
  readonly name: string;
  /** Asked only where the span is kept. */
  readonly attributes: () => SpanAttributes;
  /** Reads a header by its lower-case name. */
  readonly header: (name: string) => string | null | undefined;
}
