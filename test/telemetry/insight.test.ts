import { connect } from 'node:http2';
import { Code, createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AdminService } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import type { MetricsSnapshot } from '../../gen/llmgateway/v1/metrics_pb.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { type ScriptedGateway, scriptedProvider, startScriptedGateway } from '../support/scripted-gateway.ts';
import { type Exchange, saying } from '../support/scripted-upstream.ts';
import { readExposition, total } from './read-exposition.ts';

let served: ScriptedGateway;
let url: string;
const down = (exchange: Exchange) => exchange.json({ error: { message: 'down' } }, 503);

beforeAll(async () => {
  served = await startScriptedGateway({ breaker: { min_calls: 1000 } });
  url = served.gateway.url;
});
afterAll(() => served.close());

async function chat(body: object, headers: Record<string, string> = {}): Promise<string> {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'secret words' }], ...body }),
  });
  return answer.text();
}

async function json(path: string) {
  const answer = await fetch(url + path);
  return { status: answer.status, type: answer.headers.get('content-type'), body: await answer.json() };
}

async function scrape(at = url) {
  const answer = await fetch(`${at}/metrics`, { headers: { accept: 'text/plain' } });
  return { type: answer.headers.get('content-type'), samples: readExposition(await answer.text()) };
}

describe('/metrics', () => {
  beforeAll(async () => {
    served.upstream.script(saying('hello'));
    served.other.script(saying('hello'));
    for (let index = 0; index < 3; index++) await chat({ model: 'both' });
    await chat({ model: 'both', stream: true });
    served.upstream.script(down);
    await chat({ model: 'both' });
    await chat({ model: 'nobody-has-it' });
  });

  it('has every field that callers of the first gateway read, in JSON', async () => {
    const { status, type, body } = await json('/metrics?window_minutes=60');
    expect([status, type]).toEqual([200, 'application/json']);
    expect(Object.keys(body)).toEqual(
      expect.arrayContaining([
        'timestamp',
        'gateway_metrics',
        'provider_metrics',
        'avg_response_time',
        'requests_per_second',
        'error_rate',
        'memory_usage_mb',
        'cpu_usage_percent',
      ]),
    );
    expect(body.gateway_metrics).toMatchObject({
      window_minutes: 60,
      total_requests: 6,
      successful_requests: 5,
      failed_requests: 0,
      refused_requests: 1,
      success_rate: 1,
      error_rate: 0,
      provider_distribution: { first: 5, second: 1 },
      cache_hits: 0,
      cache_misses: 0,
      cache_hit_rate: null,
      rate_limit_hits: 0,
      circuit_breaker_triggers: 0,
    });
    for (const name of [
      'uptime_seconds',
      'avg_response_time',
      'p50_response_time',
      'p95_response_time',
      'p99_response_time',
      'requests_per_minute',
      'requests_per_second',
    ]) {
      expect(body.gateway_metrics[name], name).toBeGreaterThan(0);
      expect(body.gateway_metrics[name], name).toBeLessThan(name.startsWith('requests') ? 1e6 : 60);
    }
    expect(body.provider_metrics.first).toMatchObject({
      provider: 'first',
      window_minutes: 60,
      total_requests: 5,
      successful_requests: 4,
      failed_requests: 1,
      success_rate: 0.8,
      error_rate: expect.closeTo(0.2),
      error_breakdown: { provider_unavailable: 1 },
    });
    expect(body.provider_metrics.first.min_response_time).toBeLessThanOrEqual(
      body.provider_metrics.first.p50_response_time,
    );
    expect(body.provider_metrics.first.models['scripted-model'].total_requests).toBe(5);
    expect(body.memory_usage_mb).toBeGreaterThan(10);
  });

  it('has one provider where one is asked for', async () => {
    expect(Object.keys((await json('/metrics?provider=second')).body.provider_metrics)).toEqual(['second']);
  });

  it.each([
    ['?provider=nobody', 404],
    ['?window_minutes=0', 400],
    ['?window_minutes=1441', 400],
    ['?window_minutes=1.5', 400],
    ['?window_minutes=x', 400],
  ])('refuses %s', async (query, status) => {
    const { status: found, body } = await json(`/metrics${query}`);
    expect(found).toBe(status);
    expect(body.message).toMatch(/nobody|window_minutes: must be a whole number from 1 to 1440/);
  });

  it.each(['?window_minutes=1', '?window_minutes=1440', '?window_minutes=60&provider=first', ''])(
    'takes %s',
    async (query) => {
      expect((await json(`/metrics${query}`)).status).toBe(200);
    },
  );

  it('is what Prometheus reads, where that is preferred, and agrees with the JSON', async () => {
    const { type, samples } = await scrape();
    expect(type).toMatch(/^text\/plain; version=0\.0\.4/);
    const { gateway_metrics: whole, provider_metrics: providers } = (await json('/metrics')).body;
    expect(total(samples, 'gateway_requests_total')).toBe(whole.total_requests);
    expect(total(samples, 'gateway_requests_total', { gateway_outcome: 'ok' })).toBe(whole.successful_requests);
    for (const name of ['first', 'second']) {
      const labels = { gateway_provider: name };
      expect(total(samples, 'gateway_attempts_total', labels)).toBe(providers[name].total_requests);
      const succeeded = samples.filter((sample) => !('error_type' in sample.labels));
      const sum = total(succeeded, 'gen_ai_client_operation_duration_sum', labels);
      expect(sum / (providers[name].avg_response_time * providers[name].successful_requests)).toBeCloseTo(1, 2);
    }
    expect(total(samples, 'gateway_failovers_total', { gateway_outcome: 'ok' })).toBe(1);
    expect(total(samples, 'gen_ai_server_time_to_first_token_count')).toBe(1);
    expect(total(samples, 'http_server_request_duration_count', { http_route: '/v1/chat/completions' })).toBe(6);
    expect(total(samples, 'gateway_provider_usable', { gateway_provider: 'second' })).toBe(1);
    expect(total(samples, 'gateway_circuit_state', { gateway_provider: 'first' })).toBe(0);
  });

  it('has what a running gateway has: all metrics but those of what is not there', async () => {
    const names = new Set((await scrape()).samples.map(({ name }) => name));
    expect([...names]).toEqual(
      expect.arrayContaining([
        'process_cpu_time_total',
        'nodejs_eventloop_delay_p99',
        'process_memory_usage',
        'gateway_connections',
        'gateway_requests_active',
        'gateway_log_dropped_total',
      ]),
    );
  });

  it('is for administrators where there are keys', async () => {
    const closed: TestGateway = await startGateway(
      {},
      { GATEWAY_API_KEYS: 'a:default:key-of-a', GATEWAY_ADMIN_KEY: 'key-of-admin' },
    );
    const statusFor = async (path: string, key?: string) =>
      (await fetch(closed.url + path, { headers: key ? { authorization: `Bearer ${key}` } : {} })).status;
    for (const path of ['/metrics', '/admin/calls']) {
      expect([await statusFor(path), await statusFor(path, 'key-of-a'), await statusFor(path, 'key-of-admin')]).toEqual(
        [401, 403, 200],
      );
    }
    const client = createClient(AdminService, createGrpcTransport({ baseUrl: closed.url }));
    const headers = { authorization: 'Bearer key-of-a' };
    await expect(client.getMetrics({}, { headers })).rejects.toMatchObject({ code: Code.PermissionDenied });
    await expect(client.listCalls({}, { headers })).rejects.toMatchObject({ code: Code.PermissionDenied });
    await closed.close();
  });
});

describe('AdminService', () => {
  const client = () => createClient(AdminService, createGrpcTransport({ baseUrl: url }));

  it('tells the metrics that /metrics tells', async () => {
    const { metrics } = await client().getMetrics({ windowMinutes: 60 });
    const { body } = await json('/metrics');
    expect(metrics?.calls?.requests).toBe(body.gateway_metrics.total_requests);
    expect(metrics?.providers.map(({ provider }) => provider)).toEqual(['first', 'second']);
    const overGet = createClient(
      AdminService,
      createConnectTransport({ baseUrl: url, httpVersion: '1.1', useHttpGet: true }),
    );
    expect((await overGet.getMetrics({ provider: 'first' })).metrics?.providers.length).toBe(1);
  });

  it('refuses windows and providers that there are not', async () => {
    await expect(client().getMetrics({ windowMinutes: 1441 })).rejects.toMatchObject({ code: Code.InvalidArgument });
    await expect(client().getMetrics({ provider: 'nobody' })).rejects.toMatchObject({ code: Code.NotFound });
    await expect(client().listCalls({ pageToken: 'x' })).rejects.toMatchObject({ code: Code.InvalidArgument });
    const watch = client()
      .watchMetrics({ interval: { nanos: 5 } })
      [Symbol.asyncIterator]();
    await expect(watch.next()).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  it('tells them again and again to whoever watches', async () => {
    const seen: (MetricsSnapshot | undefined)[] = [];
    const leave = new AbortController();
    const watching = (async () => {
      for await (const { metrics } of client().watchMetrics({ interval: { seconds: 1n } }, { signal: leave.signal })) {
        seen.push(metrics);
        if (seen.length === 2) leave.abort();
      }
    })();
    await expect.poll(() => seen.length).toBe(1);
    served.upstream.script(saying('hello'));
    await chat({ model: 'both' });
    await expect(watching).rejects.toMatchObject({ code: Code.Canceled });
    expect((seen[1]?.calls?.requests ?? 0) - (seen[0]?.calls?.requests ?? 0)).toBe(1);
  });
});

describe('the calls that ended last', () => {
  it('are told by rpc and by REST, without what was said', async () => {
    served.upstream.script(down);
    await chat({ model: 'both', user_id: 'someone' }, { 'x-request-id': 'the-call' });
    const answer = await fetch(`${url}/admin/calls?request_id=the-call`);
    const text = await answer.text();
    const { calls, next_page_token } = JSON.parse(text);
    expect(next_page_token).toBeNull();
    expect(calls).toMatchObject([
      {
        request_id: 'the-call',
        door: 'openai',
        key: 'anonymous',
        operation: 'chat',
        streaming: false,
        asked_model: 'both',
        route: 'both',
        strategy: 'failover',
        provider: 'second',
        model: 'scripted-model',
        outcome: 'ok',
        reason: null,
        attempts: [
          { provider: 'first', outcome: 'failed', reason: 'provider_unavailable' },
          { provider: 'second', outcome: 'succeeded', reason: null },
        ],
        usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 },
      },
    ]);
    expect(Object.keys(calls[0].phases)).toEqual(expect.arrayContaining(['retry', 'first_token']));
    // What took no time is not listed.
    expect(Object.values(calls[0].phases)).not.toContain(0);
    expect(text).not.toMatch(/secret words|hello/);

    const client = createClient(AdminService, createGrpcTransport({ baseUrl: url }));
    const { calls: byRpc } = await client.listCalls({ requestId: 'the-call' });
    expect(byRpc).toMatchObject([{ requestId: 'the-call', outcome: 'ok', prompt: '', answer: '', attempts: [{}, {}] }]);
  });

  it('have what was said, where that is configured', async () => {
    const open = await startGateway({
      providers: [scriptedProvider('first', served.upstream)],
      telemetry: { log_prompts: true },
    });
    served.upstream.script(saying('hel', 'lo'));
    await fetch(`${open.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'auto', stream: true, messages: [{ role: 'user', content: 'secret words' }] }),
    }).then((answer) => answer.text());
    const { calls } = await (await fetch(`${open.url}/admin/calls`)).json();
    expect(calls).toMatchObject([{ prompt: 'secret words', answer: 'hello' }]);
    expect(open.lines.find(({ msg }) => msg === 'call')).toMatchObject({ prompt: 'secret words', answer: 'hello' });
    await open.close();
  });

  it.each(['limit=0', 'limit=1001', 'outcome=good', 'page_token=x'])('are not told for ?%s', async (query) => {
    expect((await json(`/admin/calls?${query}`)).status).toBe(400);
  });
});

describe('callers', () => {
  it('cannot add series, whatever they name: models, users, ids, paths, schemes, methods and rpcs', async () => {
    const closed = await startGateway({ providers: [scriptedProvider('first', served.upstream)] });
    served.upstream.script(saying('hello'));
    const session = connect(closed.url);
    // `:scheme` is HTTP/2's, and was taken for what it said: each made-up one was a series.
    const overHttp2 = (scheme: string) =>
      new Promise((resolve) => {
        session.request({ ':path': '/v1/models', ':scheme': scheme }).resume().once('close', resolve);
      });
    const once = async (name: string) => {
      const headers = { 'content-type': 'application/json', 'x-request-id': name };
      const messages = [{ role: 'user', content: 'x' }];
      const post = (path: string, body: object) =>
        fetch(closed.url + path, { method: 'POST', headers, body: JSON.stringify(body) }).then((answer) =>
          answer.arrayBuffer(),
        );
      await post('/v1/chat/completions', { model: `first/${name}`, messages, user: name });
      await post('/v1/chat/completions', { model: name, messages });
      await post(`/${name}`, {});
      await post(`/${name}.Service/${name}`, {});
      await fetch(`${closed.url}/v1/models/${name}`).then((answer) => answer.arrayBuffer());
      await overHttp2(name);
    };
    await once('one');
    const countOf = (samples: Awaited<ReturnType<typeof scrape>>['samples']) =>
      Map.groupBy(samples, ({ name, labels: { le = '' } }) => `${name} ${le}`);
    const before = countOf((await scrape(closed.url)).samples);
    for (let index = 0; index < 2000; index += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, at) => once(`made-up-${index + at}`)));
    }
    for (const [name, series] of countOf((await scrape(closed.url)).samples)) {
      expect(series.length, name).toBeLessThanOrEqual((before.get(name)?.length ?? 0) + 1);
    }
    session.close();
    await closed.close();
  }, 60_000);
});
