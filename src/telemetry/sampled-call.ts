import {
  type Attributes,
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../errors.ts';
import type {
  AttemptTrace,
  RouteDecision,
  ServerTrace,
  SpanAttributes,
  TargetName,
  UpstreamTrace,
} from './call-trace.ts';
import { clipped } from './clipped.ts';
import type { TargetLabels, TargetNames } from './target-names.ts';
import { traceHeaders } from './trace-context.ts';

/** What spans are made with. */
interface Making {
  readonly tracer: Tracer;
  readonly names: TargetNames;
  /** From the clock of `performance.now()` to milliseconds since 1970; one for all spans, so that their order is kept. */
  readonly offsetMs: number;
}

/** Now, as spans have it. */
function nowIn({ offsetMs }: Making): number {
  return performance.now() + offsetMs;
}

/**
 * A call whose spans are kept: the server's span, and below it the decision, and each attempt with its request to the provider.
 *
 * Parents are handed on by hand. An async context would be lost where a door reads a stream that another function began.
 *
 * @see https://github.com/connectrpc/connect-es/issues/1428
 */
export class SampledCall implements ServerTrace {
  readonly sampled = true;
  readonly #making: Making;
  readonly #span: Span;
  readonly #within: Context;
  /** The attempt that has answered, until it is told what: then it ends, as of when it did. */
  #answering: { readonly span: Span; readonly endedAt: number } | undefined;
  #operation = 'chat';
  #request: SpanAttributes = {};
  #attempts = 0;
  /** Whether there is a call that has not told how it ended. */
  #calling = false;
  /** When the request was over, while its call was not. */
  #overAt: number | undefined;

  constructor(tracer: Tracer, names: TargetNames, span: Span, offsetMs: number) {
    this.#making = { tracer, names, offsetMs };
    this.#span = span;
    this.#within = trace.setSpan(ROOT_CONTEXT, span);
  }

  get traceId(): string {
    return this.#span.spanContext().traceId;
  }

  get spanId(): string {
    return this.#span.spanContext().spanId;
  }

  describe(operation: string, attributes: SpanAttributes): void {
    this.#operation = operation;
    this.#request = attributes;
    this.#calling = true;
  }

  routed({ route, strategy, targets, leftOut = [] }: RouteDecision, fromAt: number, toAt: number): void {
    const attributes = {
      'gateway.route': route,
      'gateway.strategy': strategy,
      'gateway.targets': targets.map(inWords),
      'gateway.targets.left_out':
        leftOut.length > 0 ? leftOut.map(([target, why]) => `${inWords(target)}: ${why}`) : undefined,
    };
    this.#stretch('gateway.route', attributes, fromAt, toAt);
  }

  cached(result: string, fromAt: number, toAt: number): void {
    this.#stretch('gateway.cache', { 'gateway.cache.result': result }, fromAt, toAt);
    this.#span.setAttribute('gateway.cache.result', result);
  }

  attempt({ provider, model }: Attempt): AttemptTrace {
    const { tracer, names } = this.#making;
    const target = names.of(provider, model);
    this.#attempts++;
    const span = tracer.startSpan(
      `${this.#operation} ${model}`,
      {
        kind: SpanKind.CLIENT,
        startTime: nowIn(this.#making),
        attributes: given({
          'gen_ai.operation.name': this.#operation,
          'gen_ai.provider.name': target.system,
          'gen_ai.request.model': model,
          'server.address': target.address,
          'server.port': target.port,
          'gateway.provider': provider,
          'gateway.attempt': this.#attempts,
          ...this.#request,
        }),
      },
      this.#within,
    );
    return new SampledAttempt(this.#making, target, span, (endedAt, hasAnswered) => {
      if (hasAnswered && this.#calling) this.#answering = { span, endedAt };
      else span.end(endedAt);
    });
  }

  answered(attributes: SpanAttributes): void {
    this.#answering?.span.setAttributes(given(attributes));
  }

  finished(attributes: SpanAttributes, fault: string | undefined): void {
    this.#answering?.span.end(this.#answering.endedAt);
    this.#answering = undefined;
    this.#span.setAttributes(given(attributes));
    this.#calling = false;
    fail(this.#span, fault);
    if (this.#overAt !== undefined) this.#span.end(this.#overAt);
  }

  end(attributes: SpanAttributes, fault: string | undefined): void {
    this.#span.setAttributes(given(attributes));
    fail(this.#span, fault);
    // The connection of a caller who leaves is gone before the call has come to its end: the span waits for what that tells.
    if (this.#calling) this.#overAt = nowIn(this.#making);
    else this.#span.end(nowIn(this.#making));
  }

  /** A span of something that is over. */
  #stretch(name: string, attributes: SpanAttributes, fromAt: number, toAt: number): void {
    const { tracer, offsetMs } = this.#making;
    const options = { kind: SpanKind.INTERNAL, startTime: fromAt + offsetMs, attributes: given(attributes) };
    tracer.startSpan(name, options, this.#within).end(toAt + offsetMs);
  }
}

class SampledAttempt implements AttemptTrace {
  readonly #making: Making;
  readonly #target: TargetLabels;
  readonly #span: Span;
  readonly #ended: (at: number, hasAnswered: boolean) => void;

  constructor(making: Making, target: TargetLabels, span: Span, ended: (at: number, hasAnswered: boolean) => void) {
    this.#making = making;
    this.#target = target;
    this.#span = span;
    this.#ended = ended;
  }

  upstream(method: string, path: string): UpstreamTrace {
    const { address, port, origin } = this.#target;
    const span = this.#making.tracer.startSpan(
      method,
      {
        kind: SpanKind.CLIENT,
        startTime: nowIn(this.#making),
        attributes: given({
          'http.request.method': method,
          'server.address': address,
          'server.port': port,
          // Without its query: keys travel there in some dialects.
          'url.full': origin === undefined ? undefined : origin + path.replace(/\?.*/s, ''),
        }),
      },
      trace.setSpan(ROOT_CONTEXT, this.#span),
    );
    return new SampledUpstream(this.#making, span, this.#target.tracePropagated);
  }

  end(log: Attempt, failure: unknown, firstChunkMs: number | undefined): void {
    const { outcome, reason, usage, providerRequestId } = log;
    this.#span.setAttributes(
      given({
        'gen_ai.usage.input_tokens': usage?.promptTokens,
        'gen_ai.usage.output_tokens': usage?.completionTokens,
        'gen_ai.usage.cache_read.input_tokens': usage?.cachedPromptTokens,
        'gen_ai.usage.cache_creation.input_tokens': usage?.cacheWritePromptTokens,
        'gen_ai.usage.reasoning.output_tokens': usage?.reasoningTokens,
        'gen_ai.response.time_to_first_chunk': firstChunkMs === undefined ? undefined : firstChunkMs / 1000,
        'gateway.provider.request_id': providerRequestId || undefined,
        'gateway.provider.status': failure instanceof GatewayError ? failure.providerStatus : undefined,
      }),
    );
    if (outcome === AttemptOutcome.CANCELLED) leave(this.#span);
    else fail(this.#span, reason || undefined);
    this.#ended(nowIn(this.#making), outcome === AttemptOutcome.SUCCEEDED);
  }
}

class SampledUpstream implements UpstreamTrace {
  readonly headers: Readonly<Record<string, string>>;
  readonly #making: Making;
  readonly #span: Span;
  #sent = 0;

  constructor(making: Making, span: Span, propagated: boolean) {
    this.#making = making;
    this.#span = span;
    const { traceId, spanId, traceState } = span.spanContext();
    this.headers = propagated
      ? traceHeaders({ traceId, spanId, sampled: true, state: traceState?.serialize() ?? '' })
      : {};
  }

  sent(): void {
    if (this.#sent > 0) this.#span.setAttribute('http.request.resend_count', this.#sent);
    else this.#span.addEvent('sent', nowIn(this.#making));
    this.#sent++;
  }

  answered(status: number): void {
    this.#span.setAttribute('http.response.status_code', status);
    if (status >= 400) fail(this.#span, String(status));
  }

  ended(failure: unknown): void {
    if (!this.#span.isRecording()) return;
    if (failure instanceof GatewayError && failure.reason === 'cancelled') leave(this.#span);
    else if (failure instanceof GatewayError) fail(this.#span, failure.reason);
    this.#span.end(nowIn(this.#making));
  }
}

function inWords({ provider, model }: TargetName): string {
  return `${provider.name}/${model}`;
}

/** That the caller left is nobody's failure. */
function leave(span: Span): void {
  span.setAttribute('error.type', 'cancelled');
}

function fail(span: Span, fault: string | undefined): void {
  if (fault === undefined) return;
  span.setAttribute('error.type', fault);
  span.setStatus({ code: SpanStatusCode.ERROR });
}

/** Those attributes that there are. */
function given(attributes: SpanAttributes): Attributes {
  const all: Attributes = {};
  for (const name in attributes) {
    const value = attributes[name];
    if (value !== undefined) all[name] = bounded(value);
  }
  return all;
}

function bounded(value: SpanAttributes[string]): SpanAttributes[string] {
  if (typeof value === 'string') return clipped(value);
  return Array.isArray(value) ? value.map(clipped) : value;
}
