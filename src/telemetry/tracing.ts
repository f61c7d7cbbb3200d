import {
  context,
  createTraceState,
  type DiagLogger,
  DiagLogLevel,
  diag,
  type Link,
  logs,
  metrics,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import { MetricReader, type ScopeMetrics } from '@opentelemetry/sdk-metrics';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { type Sampler, SamplingDecision } from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { RequestTracer, ServerTrace, TracedRequest } from './call-trace.ts';
import { SampledCall } from './sampled-call.ts';
import { type SamplerChoice, samplerFrom, TraceIds } from './sampler.ts';
import type { TargetNames } from './target-names.ts';
import { readTraceParent, type TraceParent } from './trace-context.ts';
import { UnsampledCall } from './unsampled-call.ts';

// Loaded only where the environment names somebody to send spans to: it brings 40 MB of OpenTelemetry's SDK.

/** What traces are made with. The rest is in OpenTelemetry's own variables of the environment. */
export interface TracingOptions {
  readonly version: string;
  readonly names: TargetNames;
  /** Whether the caller's trace is continued. If not, it is only linked to. */
  readonly trustsIncoming: () => boolean;
  readonly log: Logger;
  /** Which traces are kept; undefined: by the SDK's default. */
  readonly sampler?: SamplerChoice;
}

/** How long spans that are left may take to be sent, once the gateway ends. */
const LAST_SPANS_MS = 2000;
/** The same complaint of the SDK is logged once in this time. */
const COMPLAIN_EVERY_MS = 60_000;

/** Sends traces to a collector, as the standard `OTEL_*` variables say. */
export class Tracing implements RequestTracer {
  readonly #sdk: NodeSDK;
  readonly #tracer: Tracer;
  readonly #sampler: Sampler;
  readonly #ids = new TraceIds();
  readonly #ownMetrics = new OwnMetrics();
  readonly #names: TargetNames;
  readonly #trustsIncoming: () => boolean;

  constructor({ version, names, trustsIncoming, log, sampler }: TracingOptions) {
    this.#names = names;
    this.#trustsIncoming = trustsIncoming;
    this.#sampler = samplerFrom(sampler, log);
    this.#sdk = new NodeSDK({
      resource: defaultResource().merge(
        resourceFromAttributes({ 'service.name': 'llm-gateway', 'service.version': version }),
      ),
      // Ours are scraped; the reader is for what the SDK counts of itself: spans that were dropped, above all.
      metricReaders: [this.#ownMetrics],
      logRecordProcessors: [],
      instrumentations: [],
      sampler: this.#sampler,
      idGenerator: this.#ids,
      // W3C's headers are read and written by us.
      textMapPropagator: null,
    });
    // Before it starts: that is when it says which of its variables it cannot use.
    diag.setLogger(sparing(log), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
    this.#sdk.start();
    this.#tracer = trace.getTracer('llm-gateway', version);
  }

  begin({ name, attributes, header }: TracedRequest): ServerTrace {
    const caller = readTraceParent(header);
    const continued = caller && this.#trustsIncoming() ? caller : undefined;
    const within = continued ? trace.setSpanContext(ROOT_CONTEXT, spanContextOf(continued)) : ROOT_CONTEXT;
    const id = continued?.traceId ?? this.#ids.generateTraceId();
    const { decision } = this.#sampler.shouldSample(within, id, name, SpanKind.SERVER, {}, []);
    if (decision === SamplingDecision.NOT_RECORD) return this.#unsampled(id, continued);
    this.#ids.decided = id;
    const startTime = Date.now();
    const links: Link[] = caller && !continued ? [{ context: spanContextOf(caller) }] : [];
    const known = { ...attributes() } as Record<string, string>;
    const span = this.#tracer.startSpan(name, { kind: SpanKind.SERVER, startTime, attributes: known, links }, within);
    this.#ids.decided = undefined;
    if (!span.isRecording()) return this.#unsampled(id, continued);
    return new SampledCall(this.#tracer, this.#names, span, startTime - performance.now());
  }

  #unsampled(traceId: string, continued: TraceParent | undefined): UnsampledCall {
    const at = { traceId, spanId: this.#ids.generateSpanId(), sampled: false, state: continued?.state ?? '' };
    return new UnsampledCall(at, this.#names);
  }

  /** What the SDK counts of itself. */
  async metrics(): Promise<readonly ScopeMetrics[]> {
    const { resourceMetrics } = await this.#ownMetrics.collect();
    return resourceMetrics.scopeMetrics;
  }

  /** Send what is left, if somebody takes it. */
  async close(): Promise<void> {
    const patience = new Promise((resolve) => setTimeout(resolve, LAST_SPANS_MS).unref());
    await Promise.race([this.#sdk.shutdown().catch(() => {}), patience]);
    // The SDK registers itself for the whole process; the next one shall find the place free.
    for (const part of [trace, metrics, logs, context, diag]) part.disable();
  }
}

class OwnMetrics extends MetricReader {
  protected async onForceFlush(): Promise<void> {}
  protected async onShutdown(): Promise<void> {}
}

function spanContextOf({ traceId, spanId, sampled, state }: TraceParent): SpanContext {
  return {
    traceId,
    spanId,
    isRemote: true,
    traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    ...(state !== '' && { traceState: createTraceState(state) }),
  };
}

/** The SDK's complaints in our log, each at most once a minute: a collector that is down would fill it. */
function sparing(log: Logger): DiagLogger {
  const saidAt = new Map<string, number>();
  const say = (level: 'warn' | 'error') => (message: string) => {
    const text = message.slice(0, 200);
    // How long it waited, and how many spans it dropped, makes no other complaint of it.
    const complaint = text.replaceAll(/\d+/g, '');
    const now = performance.now();
    if (now - (saidAt.get(complaint) ?? Number.NEGATIVE_INFINITY) < COMPLAIN_EVERY_MS) return;
    if (saidAt.size > 100) saidAt.clear();
    saidAt.set(complaint, now);
    log[level]({ complaint: text }, 'the trace exporter complains');
  };
  const ignore = () => {};
  return { error: say('error'), warn: say('warn'), info: ignore, debug: ignore, verbose: ignore };
}
