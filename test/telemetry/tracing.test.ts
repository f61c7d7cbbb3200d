import { diag } from '@opentelemetry/api';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import { CallNotes } from '../../src/telemetry/call-notes.ts';
import { TargetNames } from '../../src/telemetry/target-names.ts';
import { Tracing } from '../../src/telemetry/tracing.ts';
import { usageOf } from './ended-call.ts';
import { type OtlpReceiver, startOtlpReceiver, treeOf } from './otlp-receiver.ts';

const caller = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

const at = { address: 'api.example', port: 443, origin: 'https://api.example' };
const names = new TargetNames();
names.configure(
  new Map([
    ['gemini', { system: 'gcp.gemini', tracePropagated: true, ...at }],
    ['private', { system: 'private', tracePropagated: false, ...at }],
  ]),
  () => true,
);

const running: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const each of running.splice(0)) await each.close();
});

async function startTracing({
  variables = {},
  trustIncoming = true,
  sampler = 'parentbased_always_on',
}: {
  variables?: Record<string, string>;
  sampler?: string;
  trustIncoming?: boolean;
} = {}) {
  const receiver = await startOtlpReceiver();
  Object.assign(process.env, {
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '10',
    OTEL_NODE_EXPERIMENTAL_SDK_METRICS: 'true',
    ...variables,
  });
  const lines: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(line) });
  const tracing = new Tracing({
    version: '1',
    names,
    trustsIncoming: () => trustIncoming,
    log,
    sampler: { name: sampler, argument: '' },
  });
  running.push(tracing, receiver);
  const begin = (traceparent?: string) =>
    tracing.begin({
      name: 'POST /v1/chat/completions',
      attributes: () => ({ 'http.route': '/v1/chat/completions' }),
      header: (name) => (name === 'traceparent' ? traceparent : undefined),
    });
  return { receiver, tracing, begin, lines };
}

function target(name: string, model: string) {
  return { provider: { name }, model };
}

function openLog(provider: string, model: string): Attempt {
  return {
    $typeName: 'llmgateway.v1.Attempt',
    provider,
    model,
    outcome: AttemptOutcome.CANCELLED,
    reason: '',
    providerRequestId: '',
  };
}

async function received(receiver: OtlpReceiver, count: number) {
  await expect.poll(() => receiver.spans.length, { timeout: 5000 }).toBe(count);
  return receiver.spans;
}

describe('a trace', () => {
  it('has the server’s span, the decision, each attempt, and its request to the provider', async () => {
    const { receiver, begin } = await startTracing();
    const trace = begin(caller);
    const notes = new CallNotes(performance.now(), trace);
    trace.describe('chat', { 'gen_ai.request.temperature': 0.5, 'gen_ai.request.top_p': undefined });
    notes.routed(
      {
        route: 'fast',
        strategy: 'failover',
        targets: [target('private', 'a'), target('gemini', 'b')],
        leftOut: [[target('groq', 'c'), 'circuit_open']],
      },
      performance.now(),
    );

    const first = notes.attempt(openLog('private', 'a'), false);
    expect(first.begin('POST', '/v1/x?key=secret')).toEqual({});
    first.sent();
    first.answered(503);
    const failure = new GatewayError('provider_unavailable', 'down', { providerStatus: 503 });
    Object.assign(first.log, { outcome: AttemptOutcome.FAILED, reason: failure.reason });
    first.end(failure);

    const second = notes.attempt(openLog('gemini', 'b'), true);
    const { traceparent } = second.begin('POST', '/v1beta/models/b:stream');
    second.sent();
    second.sent();
    second.answered(200);
    second.content(second.beganAt + 40);
    Object.assign(second.log, { outcome: AttemptOutcome.SUCCEEDED, usage: usageOf(7, 3, { cachedPromptTokens: 2 }) });
    second.end(undefined);
    trace.answered({ 'gen_ai.response.finish_reasons': ['stop'] });
    trace.finished({ 'gateway.outcome': 'ok' }, undefined);
    trace.end({ 'http.response.status_code': 200 }, undefined);

    const spans = await received(receiver, 6);
    const [server] = spans.filter(({ kind }) => kind === 'server');
    if (!server) throw new Error('no span of the server');
    expect(server).toMatchObject({
      name: 'POST /v1/chat/completions',
      traceId: caller.slice(3, 35),
      parentSpanId: caller.slice(36, 52),
      failed: false,
      resource: { 'service.name': 'llm-gateway', 'service.version': '1' },
      attributes: { 'http.route': '/v1/chat/completions', 'http.response.status_code': 200, 'gateway.outcome': 'ok' },
    });
    expect(treeOf(spans, server)).toEqual({
      '1 gateway.route': {},
      '2 chat a': { '1 POST': {} },
      '3 chat b': { '1 POST': {} },
    });
    const [route] = spans.filter(({ name }) => name === 'gateway.route');
    expect(route?.attributes).toEqual({
      'gateway.route': 'fast',
      'gateway.strategy': 'failover',
      'gateway.targets': ['private/a', 'gemini/b'],
      'gateway.targets.left_out': ['groq/c: circuit_open'],
    });
    const [failed, answered] = spans.filter(({ name }) => name.startsWith('chat'));
    expect(failed).toMatchObject({
      kind: 'client',
      failed: true,
      attributes: { 'error.type': 'provider_unavailable', 'gateway.provider.status': 503, 'gateway.attempt': 1 },
    });
    expect(answered).toMatchObject({
      kind: 'client',
      failed: false,
      attributes: {
        'gen_ai.operation.name': 'chat',
        'gen_ai.provider.name': 'gcp.gemini',
        'gen_ai.request.model': 'b',
        'gen_ai.request.temperature': 0.5,
        'gen_ai.response.finish_reasons': ['stop'],
        // Not 0.04 to the last bit, on a clock that is far from its beginning.
        'gen_ai.response.time_to_first_chunk': (second.beganAt + 40 - second.beganAt) / 1000,
        'gen_ai.usage.input_tokens': 7,
        'gen_ai.usage.output_tokens': 3,
        'gen_ai.usage.cache_read.input_tokens': 2,
        'server.address': 'api.example',
        'server.port': 443,
      },
    });
    expect(Object.keys(answered?.attributes ?? {})).not.toContain('gen_ai.request.top_p');
    const [refused, sent] = spans.filter(({ name }) => name === 'POST');
    expect(refused).toMatchObject({
      failed: true,
      attributes: { 'http.response.status_code': 503, 'url.full': 'https://api.example/v1/x' },
    });
    expect(sent).toMatchObject({ failed: false, attributes: { 'http.request.resend_count': 1 } });
    expect(traceparent).toBe(`00-${server.traceId}-${sent?.spanId}-01`);
  });

  it('ends whatever an attempt leaves open, and blames nobody where the caller has left', async () => {
    const { receiver, begin } = await startTracing();
    const trace = begin();
    const notes = new CallNotes(performance.now(), trace);
    const attempt = notes.attempt(openLog('gemini', 'b'), true);
    attempt.begin('POST', '/x');
    attempt.sent();
    attempt.end(new GatewayError('cancelled', 'the caller left'));
    trace.end({}, undefined);
    const spans = await received(receiver, 3);
    expect(spans.map(({ name, failed, attributes }) => [name, failed, attributes['error.type']])).toEqual([
      ['POST', false, 'cancelled'],
      ['chat b', false, 'cancelled'],
      ['POST /v1/chat/completions', false, undefined],
    ]);
  });

  it('of a call that the cache answers has no attempt', async () => {
    const { receiver, begin } = await startTracing();
    const trace = begin(caller);
    const notes = new CallNotes(performance.now(), trace);
    trace.describe('chat', {});
    notes.askedCache('hit', performance.now());
    trace.finished({ 'gateway.outcome': 'ok' }, undefined);
    trace.end({ 'http.response.status_code': 200 }, undefined);
    const spans = await received(receiver, 2);
    const [server] = spans.filter(({ kind }) => kind === 'server');
    if (!server) throw new Error('no span of the server');
    expect(treeOf(spans, server)).toEqual({ '1 gateway.cache': {} });
    expect(server.attributes).toMatchObject({ 'gateway.cache.result': 'hit', 'gateway.outcome': 'ok' });
    expect(spans.find(({ name }) => name === 'gateway.cache')?.kind).toBe('internal');
  });

  // 2,048 spans wait for a collector that takes nothing: with names of a megabyte those were gigabytes.
  it('has a bound for each text, however long a caller makes it', async () => {
    const { receiver, begin } = await startTracing();
    const trace = begin(caller);
    const long = 'x'.repeat(1_000_000);
    trace.describe('chat', { 'gen_ai.request.stop_sequences': [long] });
    new CallNotes(performance.now(), trace).attempt(openLog('gemini', 'b'), false).end(undefined);
    trace.finished({ 'gen_ai.request.model': long }, undefined);
    trace.end({}, undefined);
    const spans = await received(receiver, 2);
    expect(JSON.stringify(spans).length).toBeLessThan(20_000);
    expect(spans.find(({ kind }) => kind === 'server')?.attributes['gen_ai.request.model']).toBe(`${'x'.repeat(512)}…`);
  });

  it('begins anew where the caller’s is not trusted, and links to it', async () => {
    const { receiver, begin } = await startTracing({ trustIncoming: false });
    begin(caller).end({}, 'internal');
    const [span] = await received(receiver, 1);
    expect(span?.traceId).not.toBe(caller.slice(3, 35));
    expect(span).toMatchObject({ parentSpanId: '', failed: true, links: [{ traceId: caller.slice(3, 35) }] });
  });

  it('of which nothing is kept leads on to providers, where they may know of it', async () => {
    const { begin } = await startTracing({ sampler: 'always_off' });
    const trace = begin(caller);
    expect(trace.sampled).toBe(false);
    const notes = new CallNotes(performance.now(), trace);
    const { traceparent } = notes.attempt(openLog('gemini', 'b'), false).begin('POST', '/x');
    expect(traceparent).toMatch(new RegExp(`^00-${caller.slice(3, 35)}-[0-9a-f]{16}-00$`));
    expect(traceparent).toContain(trace.spanId);
    expect(notes.attempt(openLog('private', 'a'), false).begin('POST', '/x')).toEqual({});
  });

  it('costs neither time nor memory without bound where the collector takes nothing, and what is lost is counted', async () => {
    const { receiver, begin, tracing } = await startTracing({
      variables: { OTEL_BSP_MAX_QUEUE_SIZE: '100', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '10' },
    });
    receiver.block();
    const began = performance.now();
    for (let index = 0; index < 1000; index++) begin().end({}, undefined);
    expect(performance.now() - began).toBeLessThan(2000);
    const points = (await tracing.metrics()).flatMap(({ metrics }) =>
      metrics
        .filter(({ descriptor }) => descriptor.name === 'otel.sdk.processor.span.processed')
        .flatMap(({ dataPoints }) => dataPoints as { attributes: object; value: number }[]),
    );
    const lost = points.find(({ attributes }) => Object.values(attributes).includes('queue_full'));
    expect(lost?.value).toBeGreaterThanOrEqual(1000 - 100 - 10);
  });

  // The SDK says it while it starts; nobody listened yet, and a sampler of 1 % that was misspelt kept every call in silence.
  it('says which of the standard variables cannot be used', async () => {
    const { lines } = await startTracing({ variables: { OTEL_EXPORTER_OTLP_PROTOCOL: 'pigeon' }, sampler: 'ratio' });
    expect(lines.join()).toContain('OTEL_TRACES_SAMPLER');
    expect(lines.join()).toContain('pigeon');
  });

  // By gRPC each text has its own times: there was a line for every batch.
  it('complains once of what differs in numbers only', async () => {
    const { lines } = await startTracing();
    for (const seconds of ['2.011', '2.001', '2.0']) diag.error(`Deadline exceeded after ${seconds}s`);
    diag.error('the collector refuses');
    expect(lines.map((line) => JSON.parse(line).complaint)).toEqual([
      'Deadline exceeded after 2.011s',
      'the collector refuses',
    ]);
  });

  it('complains of a collector that is gone once, not for each span', async () => {
    const { receiver, begin, lines } = await startTracing({ variables: { OTEL_EXPORTER_OTLP_TIMEOUT: '300' } });
    await receiver.close();
    running.pop();
    for (let round = 0; round < 3; round++) {
      begin().end({}, undefined);
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
    await expect.poll(() => lines.length, { timeout: 5000 }).toBeGreaterThan(0);
    expect(lines.filter((line) => line.includes('the trace exporter complains')).length).toBeLessThan(3);
  });
});
