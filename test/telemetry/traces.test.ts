import { create } from '@bufbuild/protobuf';
import { Code, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
} from '../support/scripted-upstream.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver, treeOf } from './otlp-receiver.ts';

let collector: OtlpReceiver;
let first: ScriptedUpstream;
let second: ScriptedUpstream;
let gateway: GatewayProcess;
const trace = { id: '', next: 1 };

beforeAll(async () => {
  collector = await startOtlpReceiver();
  first = await startScriptedUpstream();
  second = await startScriptedUpstream();
  const both = ['first', 'second'].map((provider) => ({ provider, model: 'scripted-model' }));
  gateway = await startGatewayProcess(
    {
      providers: [scriptedProvider('first', first), { ...scriptedProvider('second', second), propagate_trace: false }],
      routes: [{ model: 'both', strategy: 'failover', targets: both }],
      retry: { attempts_per_target: 1 },
      breaker: { min_calls: 1000 },
      telemetry: { trust_incoming_trace: true },
    },
    {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '20',
    },
  );
});
afterAll(async () => {
  await gateway.close();
  await Promise.all([collector.close(), first.close(), second.close()]);
});

/** The header of a caller who traces the call, as a span of its own. */
function tracing(): { traceparent: string } {
  trace.id = String(trace.next++).padStart(32, 'a');
  return { traceparent: `00-${trace.id}-00f067aa0ba902b7-01` };
}

/** The spans of the caller's trace, once there are as many as expected. */
async function spansOfTrace(count: number): Promise<{ spans: ReceivedSpan[]; server: ReceivedSpan }> {
  const ofTrace = () => collector.spans.filter(({ traceId }) => traceId === trace.id);
  await expect.poll(() => ofTrace().length, { timeout: 5000 }).toBe(count);
  const spans = ofTrace();
  const server = spans.find(({ kind }) => kind === 'server');
  if (!server) throw new Error('no span of a server');
  expect(server.parentSpanId).toBe('00f067aa0ba902b7');
  return { spans, server };
}

/** The doors, as a test of traces needs them: a whole or streamed call, which may be left after the first content. */
const doors: Record<
  string,
  { readonly span: string; ask(streaming: boolean, leave?: AbortController, model?: string): Promise<unknown> }
> = {
  gRPC: {
    span: 'llmgateway.v1.CompletionService/',
    async ask(streaming, leave, model = 'both') {
      const client = createClient(CompletionService, createGrpcTransport({ baseUrl: gateway.url }));
      const request = create(CompletionRequestSchema, {
        model,
        messages: [{ role: Role.USER, parts: [{ kind: { case: 'text', value: 'secret words' } }] }],
        temperature: 0.5,
      });
      const options = { headers: tracing(), ...(leave && { signal: leave.signal }) };
      if (!streaming) return client.createCompletion({ request }, options);
      for await (const { event } of client.streamCompletion({ request }, options)) {
        if (event?.event.case === 'textDelta') leave?.abort();
      }
      return undefined;
    },
  },
  REST: {
    span: 'POST /v1/chat/completions',
    async ask(stream, leave, model = 'both') {
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...tracing() },
        body: JSON.stringify({
          model,
          stream,
          temperature: 0.5,
          messages: [{ role: 'user', content: 'secret words' }],
        }),
        signal: leave?.signal ?? null,
      });
      if (!leave) return answer.text();
      await answer.body?.getReader().read();
      leave.abort();
      return undefined;
    },
  },
};

const down = (exchange: Exchange) => exchange.json({ error: { message: 'down' } }, 503);

describe.each(Object.entries(doors))('the trace of a call by %s', (name, door) => {
  const rpcName = (method: string) => (name === 'gRPC' ? door.span + method : door.span);

  it('of which the first attempt fails has both attempts, each with its request, below the caller’s span', async () => {
    first.script(down);
    second.script(saying('hello'));
    const asked = first.requests.length;
    await door.ask(false);

    const { spans, server } = await spansOfTrace(6);
    expect(server.name).toBe(rpcName('CreateCompletion'));
    expect(server.failed).toBe(false);
    expect(treeOf(spans, server)).toEqual({
      '1 gateway.route': {},
      '2 chat scripted-model': { '1 POST': {} },
      '3 chat scripted-model': { '1 POST': {} },
    });
    const [failed, answered] = spans.filter(({ name: of }) => of.startsWith('chat'));
    expect(failed).toMatchObject({
      failed: true,
      attributes: {
        'gateway.provider': 'first',
        'error.type': 'provider_unavailable',
        'gen_ai.operation.name': 'chat',
      },
    });
    expect(answered).toMatchObject({
      failed: false,
      attributes: {
        'gateway.provider': 'second',
        'gen_ai.request.model': 'scripted-model',
        'gen_ai.request.temperature': 0.5,
        'gen_ai.response.model': 'scripted-model',
        'gen_ai.response.finish_reasons': ['stop'],
        'gen_ai.usage.input_tokens': 5,
        'gen_ai.usage.output_tokens': 2,
        'server.address': '127.0.0.1',
      },
    });
    expect(server.attributes).toMatchObject({
      'gateway.outcome': 'ok',
      'gateway.provider': 'second',
      'gateway.attempts': 2,
    });
    // The id of the request's span is on the request, where the provider may know of it.
    const [request] = spans.filter(({ name: of }) => of === 'POST');
    expect(first.requests[asked]?.headers.traceparent).toBe(`00-${trace.id}-${request?.spanId}-01`);
    expect(second.requests.at(-1)?.headers.traceparent).toBeUndefined();
    // Nothing of what was said is anywhere.
    expect(JSON.stringify(spans)).not.toMatch(/secret words|hello/);
  });

  it('whose caller leaves in the middle of a stream ends then, and blames nobody', async () => {
    first.script(async (exchange) => {
      await exchange.event(chunk({ content: 'hello' }));
    });
    const leave = new AbortController();
    await door.ask(true, leave).catch(() => {});

    const { spans, server } = await spansOfTrace(4);
    expect(treeOf(spans, server)).toEqual({ '1 gateway.route': {}, '2 chat scripted-model': { '1 POST': {} } });
    expect(spans.filter(({ failed }) => failed)).toEqual([]);
    const attempt = spans.find(({ name: of }) => of.startsWith('chat'));
    expect(attempt?.attributes).toMatchObject({ 'error.type': 'cancelled', 'gen_ai.request.stream': true });
    expect(attempt?.attributes['gen_ai.response.time_to_first_chunk']).toBeGreaterThan(0);
    expect(server.attributes['gateway.outcome']).toBe('cancelled');
  });

  it('that fails altogether fails, with the reason', async () => {
    first.script(down);
    second.script(down);
    await door.ask(false).catch(() => {});
    const { server } = await spansOfTrace(6);
    expect(server.failed).toBe(true);
    expect(server.attributes).toMatchObject(
      name === 'gRPC'
        ? { 'rpc.status_code': 'UNAVAILABLE', 'rpc.system.name': 'grpc', 'gateway.outcome': 'provider_unavailable' }
        : {
            'http.response.status_code': 503,
            'http.route': '/v1/chat/completions',
            'gateway.outcome': 'provider_unavailable',
          },
    );
  });

  it('that is refused for what it asks is no failure of ours', async () => {
    await door.ask(false, undefined, 'nobody-has-it').catch((error) => expect(error.code).toBe(Code.NotFound));
    const { server } = await spansOfTrace(1);
    expect(server.failed).toBe(false);
    expect(server.attributes['gateway.outcome']).toBe('model_not_found');
  });
});

describe('a gateway', () => {
  it('traces neither probes nor scrapes', async () => {
    const before = collector.spans.length;
    for (const path of ['/livez', '/readyz', '/health', '/metrics'])
      await fetch(gateway.url + path, { headers: tracing() });
    await fetch(`${gateway.url}/v1/models`, { headers: tracing() });
    await spansOfTrace(1);
    expect(collector.spans.length).toBe(before + 1);
  });

  it('logs the id of the trace with the call', async () => {
    first.script(saying('hello'));
    await doors.REST?.ask(false);
    await expect.poll(() => gateway.lines.some((line) => line.trace_id === trace.id)).toBe(true);
  });

  it('answers as ever while the collector takes nothing', async () => {
    collector.block();
    first.script(saying('hello'));
    const began = performance.now();
    for (let index = 0; index < 50; index++) expect(await doors.REST?.ask(false)).toContain('hello');
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
