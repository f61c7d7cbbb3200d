import type { Attempt } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { AttemptTrace, ServerTrace, UpstreamTrace } from './call-trace.ts';
import type { TargetNames } from './target-names.ts';
import { type TraceParent, traceHeaders } from './trace-context.ts';

/** A call of whose trace nothing is kept: its ids still go on to providers, so that all agree. */
export class UnsampledCall implements ServerTrace {
  readonly sampled = false;
  readonly #at: TraceParent;
  readonly #names: TargetNames;

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
    const upstream = { ...nothing, headers: traceHeaders(this.#at) };
    return { upstream: () => upstream, end: ignore };
  }

  describe(): void {}
  routed(): void {}
  cached(): void {}
  answered(): void {}
  finished(): void {}
  end(): void {}
}

const ignore = () => {};
const nothing: UpstreamTrace = { headers: {}, sent: ignore, answered: ignore, ended: ignore };
const silent: AttemptTrace = { upstream: () => nothing, end: ignore };
