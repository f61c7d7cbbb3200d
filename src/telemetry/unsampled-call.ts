import type { Attempt } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { AttemptTrace, ServerTrace, UpstreamTrace } from './call-trace.ts';
import type { TargetNames } from './target-names.ts';
import { type TraceParent, traceHeaders } from './trace-context.ts';

/** A call of whose trace nothing is kept: its ids still go on to providers, so that all agree. */
export class UnsampledCall implements ServerTrace {
  readonly sampled = false;
  readonly #at: TraceParent;
  readonly #names: TargetNames;
  #attempt: UnsampledAttempt | undefined;

  constructor(at: TraceParent, names: TargetNames) {
    this.#at = at;
    this.#names = names;
  }

  get traceId(): string {
    return this.#at.traceId;
  }

  get spanId(): string {
    return this.#at.spanId;
  }

  attempt({ provider, model }: Attempt): AttemptTrace {
    if (!this.#names.of(provider, model).tracePropagated) return silent;
    this.#attempt ??= new UnsampledAttempt(traceHeaders(this.#at));
    return this.#attempt;
  }

  describe(): void {}
  routed(): void {}
  cached(): void {}
  answered(): void {}
  finished(): void {}
  end(): void {}
}

/** Any attempt of such a call, and its request to the provider: all are alike. */
class UnsampledAttempt implements AttemptTrace, UpstreamTrace {
  readonly headers: Readonly<Record<string, string>>;

  constructor(headers: Readonly<Record<string, string>>) {
    this.headers = headers;
  }

  upstream(): UpstreamTrace {
    return this;
  }

  sent(): void {}
  answered(): void {}
  ended(): void {}
  end(): void {}
}

const silent = new UnsampledAttempt({});
