import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '../gen/grpc/health/v1/health_pb.ts';
import { CircuitState, type ProviderStatus } from '../gen/llmgateway/v1/provider_pb.ts';
import { ProviderService } from '../gen/llmgateway/v1/provider_service_pb.ts';
import { startGateway } from './support/gateway.ts';
import { wholeAnswer } from './support/scripted-upstream.ts';

/** An upstream that answers models and completions as it is told, and counts connections and questions. */
interface Upstream {
  readonly url: string;
  models: (response: ServerResponse) => void;
  completions: (response: ServerResponse) => void;
  connections: number;
  lists: number;
  calls: number;
}

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function json(status: number, value: unknown, headers: Record<string, string> = {}) {
  return (response: ServerResponse) =>
    void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

const failing = json(500, { error: { message: 'boom' } });

async function startUpstream(): Promise<Upstream> {
  const upstream = {
    url: '',
    models: json(200, { object: 'list', data: [{ id: 'm', object: 'model' }] }),
    completions: json(200, wholeAnswer('hello')),
    connections: 0,
    lists: 0,
    calls: 0,
  };
  const server: Server = createServer((request, response) => {
    if (request.method === 'GET') {
      upstream.lists++;
      upstream.models(response);
    } else {
      upstream.calls++;
      request.resume().on('end', () => upstream.completions(response));
    }
  });
  server.on('connection', () => upstream.connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  upstream.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return upstream;
}

/** A gateway with the providers `first` and `second`, asked in this order, whose breakers judge from two calls on. */
async function start(more: Record<string, unknown> = {}, environment: Record<string, string> = {}) {
  const [first, second] = [await startUpstream(), await startUpstream()];
  const provider = (name: string, { url }: Upstream) => ({
    name,
    kind: 'openai_compatible',
    base_url: url,
    default_model: 'm',
    api_key: 'k',
  });
  const gateway = await startGateway(
    {
      providers: [
        { ...provider('first', first), ...(more.limits !== undefined && { limits: more.limits }) },
        provider('second', second),
      ],
      routing: { default_strategy: 'failover' },
      breaker: { min_calls: 2, open_for: '60s', max_open_for: '120s' },
      retry: { attempts_per_target: 1 },
      health_probe: { interval: '1s', timeout: '1s' },
      ...(more.sections as object),
    },
    environment,
  );
  closing.push(() => gateway.close());
  const sessionManager = new Http2SessionManager(gateway.url);
  closing.push(async () => sessionManager.abort());
  const transport = createGrpcTransport({ baseUrl: gateway.url, sessionManager });
  // biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came
  const ask = async (path: string, body?: object, key?: string): Promise<{ status: number; json: any }> => {
    const response = await fetch(gateway.url + path, {
      method: body ? 'POST' : 'GET',
      headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    return { status: response.status, json: await response.json() };
  };
  const call = (more: object = {}) => ask('/completion', { messages: [{ role: 'user', content: 'hi' }], ...more });
  return { first, second, ask, call, transport, gateway };
}

/** What a watcher is told of a provider, one after the other. */
function watch(transport: ReturnType<typeof createGrpcTransport>, name: string) {
  const stream = createClient(ProviderService, transport).watchProviders({ name })[Symbol.asyncIterator]();
  closing.push(async () => void stream.return?.());
  return async (): Promise<ProviderStatus | undefined> => (await stream.next()).value?.provider?.status;
}

describe('a provider whose calls fail', () => {
  it('is told everywhere, and nobody connects to it until its breaker is reset', async () => {
    const { first, second, ask, call, transport } = await start();
    const health = createClient(Health, transport);
    const told = watch(transport, 'first');
    const serving = health.watch({ service: 'provider/first' })[Symbol.asyncIterator]();
    closing.push(async () => void serving.return?.());
    expect(await told()).toMatchObject({ healthy: true, circuitState: CircuitState.CLOSED });
    expect((await serving.next()).value?.status).toBe(Serving.SERVING);

    first.completions = failing;
    for (let count = 0; count < 2; count++) expect((await call()).json.provider_name).toBe('second');

    // It may be told once between the two calls.
    let after = await told();
    if (after?.circuitState === CircuitState.CLOSED) after = await told();
    expect(after).toMatchObject({ healthy: false, circuitState: CircuitState.OPEN });
    expect((await serving.next()).value?.status).toBe(Serving.NOT_SERVING);
    expect((await health.check({})).status).toBe(Serving.SERVING);
    expect((await ask('/health')).json).toMatchObject({
      status: 'degraded',
      providers: { first: { healthy: false, circuit_breaker_open: true, circuit_breaker_state: 'open' } },
    });
    const breaker = (await ask('/admin/providers/first/circuit-breaker')).json;
    expect(breaker).toMatchObject({
      state: 'open',
      total_failures: 2,
      reason: 'provider_unavailable',
      history: [
        { outcome: 'failure', error_class: 'provider_unavailable', model: 'm' },
        { outcome: 'failure' },
        { state: 'open' },
      ],
      models: [{ model: 'm', state: 'open' }],
    });
    expect(Date.parse(breaker.next_trial_at) - Date.parse(breaker.opened_at)).toBeGreaterThan(47_000);

    const explained = (await ask('/admin/explain-route', { messages: [{ role: 'user', content: 'hi' }] })).json;
    expect(explained).toMatchObject({
      route: null,
      strategy: 'failover',
      failure: null,
      targets: [
        { provider: 'second', position: 1, circuit_breaker_state: 'closed' },
        { provider: 'first', position: null, left_out: 'circuit_open', circuit_breaker_state: 'open' },
      ],
    });
    expect(explained.targets[1].retry_after).toBeGreaterThan(40);

    const seen = { connections: first.connections, lists: first.lists, calls: first.calls };
    const listsOfSecond = second.lists;
    await call();
    await ask('/v1/models');
    await call({ model: 'nobody-has-this' });
    await vi.waitFor(() => expect(second.lists).toBeGreaterThan(listsOfSecond + 1), 4_000);
    expect({ connections: first.connections, lists: first.lists, calls: first.calls }).toEqual(seen);

    first.completions = json(200, wholeAnswer('hello'));
    const reset = await ask('/admin/providers/first/circuit-breaker/reset', {});
    expect(reset.json).toEqual({ message: 'Circuit breaker reset for first' });
    expect(await told()).toMatchObject({ circuitState: CircuitState.CLOSED });
    expect((await call()).json.provider_name).toBe('first');
  });
});

describe('a provider that an operator holds open', () => {
  it('gets no calls, and is tried out once it is let go', async () => {
    const { first, ask, call } = await start();
    await call();
    const path = '/admin/providers/first/circuit-breaker';
    expect((await ask(path, { hold: 'open' })).json).toMatchObject({
      state: 'open',
      hold: 'open',
      next_trial_at: null,
    });
    const { calls } = first;

    expect((await call()).json.provider_name).toBe('second');
    const { status, json } = await call({ provider: 'first', fallback: false });
    expect([status, json.error]).toEqual([503, 'no_provider_available']);
    expect(first.calls).toBe(calls);

    expect((await ask(path, { hold: 'none' })).json).toMatchObject({ state: 'half_open', hold: 'none' });
    for (let trial = 0; trial < 3; trial++) await call();
    expect((await ask(path)).json.state).toBe('closed');
  });
});

describe('a provider that is asked for its models', () => {
  it('is not well while it fails to answer, and well again once it does', async () => {
    const { first, ask, transport } = await start();
    const told = watch(transport, 'first');
    expect((await told())?.lastProbeTime).toBeUndefined();

    first.models = failing;
    expect(await told()).toMatchObject({ healthy: false, lastProbeError: 'provider_unavailable' });
    expect((await ask('/health')).json.status).toBe('degraded');

    first.models = json(404, { error: { message: 'no such thing' } });
    expect(await told()).toMatchObject({ healthy: true, lastProbeError: '' });
    expect((await ask('/providers')).json.first).toMatchObject({ healthy: true, last_probe: expect.any(String) });
    expect(first.calls).toBe(0);
  });

  it('is not well while it is silent', async () => {
    const { first, transport } = await start({ sections: { health_probe: { interval: '1s', timeout: '200ms' } } });
    first.models = () => {};
    const told = watch(transport, 'first');
    await told();
    expect(await told()).toMatchObject({ healthy: false, lastProbeError: 'provider_timeout' });
  });

  it('makes the gateway unhealthy only with all others', async () => {
    const { first, second, ask } = await start();
    first.models = second.models = json(401, { error: { message: 'bad key' } });
    await vi.waitFor(async () => expect((await ask('/health')).json.status).toBe('unhealthy'), 4_000);
    expect((await ask('/readyz')).status).toBe(200);
  });
});

describe('a provider that is limited', () => {
  it('by our own limit tells what is left, and for how long it gets no calls', async () => {
    const { call, ask, transport } = await start({ limits: { requests_per_minute: 2 } });
    const told = watch(transport, 'first');
    expect((await told())?.rateLimitRemaining).toBe(2);

    await call();
    expect((await ask('/providers')).json.first).toMatchObject({ rate_limit_remaining: 1, limited_for: null });
    await call();

    const limited = await told();
    expect(limited).toMatchObject({ rateLimitRemaining: 0, healthy: true });
    expect(Number(limited?.limitedFor?.seconds)).toBeGreaterThan(50);
    expect((await call()).json.provider_name).toBe('second');
  });

  it('by its own word is left alone for as long as it says', async () => {
    const { first, call, ask } = await start();
    first.completions = json(200, wholeAnswer('hello'), { 'x-ratelimit-remaining-requests': '17' });
    await call();
    expect((await ask('/providers')).json.first.rate_limit_remaining).toBe(17);

    first.completions = json(429, { error: { message: 'slow down' } }, { 'retry-after': '30' });
    await call();
    expect((await ask('/providers')).json.first.limited_for).toBeGreaterThan(25);
  });
});

describe('the admin paths', () => {
  const path = '/admin/providers/first/circuit-breaker';

  it('need admin rights where keys are configured', async () => {
    const environment = { GATEWAY_API_KEYS: 'team:default:team-key-1', GATEWAY_ADMIN_KEY: 'admin-key-1' };
    const { ask } = await start({}, environment);
    expect((await ask(path)).status).toBe(401);
    expect((await ask(path, undefined, 'team-key-1')).status).toBe(403);
    expect((await ask(path, undefined, 'admin-key-1')).status).toBe(200);
  });

  it('are open to all where nothing is configured, and closed by an admin key alone', async () => {
    expect((await (await start()).ask(path)).status).toBe(200);
    const { ask } = await start({}, { GATEWAY_ADMIN_KEY: 'admin-key-1' });
    expect((await ask(path)).status).toBe(403);
    expect((await ask(path, undefined, 'admin-key-1')).status).toBe(200);
  });
});
