import { createHash } from 'node:crypto';
import { createRegistry } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Health } from '../gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../gen/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as ServerReflectionAlpha } from '../gen/grpc/reflection/v1alpha/reflection_pb.ts';
import { file_llmgateway_v1_admin_service } from '../gen/llmgateway/v1/admin_service_pb.ts';
import { file_llmgateway_v1_completion_service } from '../gen/llmgateway/v1/completion_service_pb.ts';
import { file_llmgateway_v1_embedding_service } from '../gen/llmgateway/v1/embedding_service_pb.ts';
import { file_llmgateway_v1_health_service } from '../gen/llmgateway/v1/health_service_pb.ts';
import { file_llmgateway_v1_provider_service } from '../gen/llmgateway/v1/provider_service_pb.ts';
import { type Doors, openDoors } from './support/doors.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { grpcFrame, sendHttp2 } from './support/raw-http.ts';
import { scriptedProvider } from './support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream } from './support/scripted-upstream.ts';

const registry = createRegistry(
  file_llmgateway_v1_admin_service,
  file_llmgateway_v1_completion_service,
  file_llmgateway_v1_embedding_service,
  file_llmgateway_v1_health_service,
  file_llmgateway_v1_provider_service,
);
const ours = [...registry].flatMap((each) => (each.kind === 'service' ? [each] : []));
const services = [...ours, Health, ServerReflection, ServerReflectionAlpha];
const rpcs = services.flatMap(({ typeName, methods }) => methods.map(({ name }) => `/${typeName}/${name}`));
const keyless = /^\/(llmgateway\.v1\.HealthService|grpc\.health\.v1\.Health)\//;

const restPaths = [
  'POST /v1/chat/completions',
  'POST /v1/embeddings',
  'GET /v1/models',
  'GET /v1/models/scripted-model',
  'POST /completion',
  'GET /providers',
  'GET /metrics',
  'GET /admin/providers/scripted/circuit-breaker',
  'POST /admin/explain-route',
  'POST /admin/reload',
  'GET /nothing-there',
];

let callers = 0;

/** Says that the request comes from an address of its own: failed tries are limited for each. */
function fromElsewhere(): Record<string, string> {
  callers++;
  return { 'x-forwarded-for': `10.0.${callers >> 8}.${callers & 255}` };
}

function sha256(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

describe('keys', () => {
  let upstream: ScriptedUpstream;
  let gateway: TestGateway;
  let doors: Doors;

  beforeAll(async () => {
    upstream = await startScriptedUpstream();
    upstream.script(saying('hi'));
    gateway = await startGateway({
      server: { trusted_proxies: ['127.0.0.1'] },
      providers: [scriptedProvider('scripted', upstream)],
      routes: [{ model: 'fast', targets: [{ provider: 'scripted', model: 'scripted-model' }] }],
      keys: [
        { name: 'ann', sha256: sha256('key-of-ann') },
        { name: 'ann', sha256: sha256('new-key-of-ann') },
        { name: 'old', sha256: sha256('key-of-old'), expires: '2020-01-01T00:00:00Z' },
        { name: 'narrow', sha256: sha256('key-of-narrow'), models: ['fast'] },
      ],
    });
    doors = openDoors(gateway.url);
  });
  afterAll(async () => {
    await doors.close();
    await gateway.close();
    await upstream.close();
  });

  it.each(rpcs.filter((rpc) => !keyless.test(rpc)))('%s needs one', async (rpc) => {
    const { trailers, headers } = await sendHttp2(gateway.port, grpcHeaders(rpc), grpcFrame('{}'));
    expect(trailers['grpc-status'] ?? headers['grpc-status']).toBe('16');
  });

  it.each(rpcs.filter((rpc) => keyless.test(rpc) && !rpc.endsWith('/Watch')))('%s needs none', async (rpc) => {
    const { trailers, headers } = await sendHttp2(gateway.port, grpcHeaders(rpc), grpcFrame('{}'));
    expect(trailers['grpc-status'] ?? headers['grpc-status']).toBe('0');
  });

  it.each(restPaths)('%s needs one', async (line) => {
    const [method = '', path] = line.split(' ');
    const headers = fromElsewhere();
    const answer = await fetch(`${gateway.url}${path}`, { method, headers, ...(method === 'POST' && { body: '{' }) });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer');
  });

  it.each(['/livez', '/readyz', '/health'])('GET %s needs none', async (path) => {
    expect((await fetch(`${gateway.url}${path}`)).status).toBe(200);
  });

  it('CORS preflight needs none', async () => {
    const headers = { origin: 'https://a.example', 'access-control-request-method': 'POST' };
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, { method: 'OPTIONS', headers });
    expect(answer.status).toBe(204);
  });

  it.each(['', 'wrong', 'key-of-old', 'key-of-ann ', sha256('key-of-ann')])('"%s" opens no door', async (key) => {
    const before = upstream.requests.length;
    for (const { name, ask } of doors.all) {
      const headers = { authorization: `Bearer ${key}${key.endsWith(' ') ? 'x' : ''}`, ...fromElsewhere() };
      const { failure } = await ask({ model: 'fast', headers });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 401 : 'unauthenticated']);
    }
    expect(upstream.requests.length).toBe(before);
  });

  it.each(['authorization', 'x-api-key', 'api-key'])(
    '%s brings it, and either of two while one replaces the other',
    async (name) => {
      for (const key of ['key-of-ann', 'new-key-of-ann']) {
        const headers = { [name]: name === 'authorization' ? `Bearer ${key}` : key };
        for (const { name: door, ask } of doors.all) {
          const { failure } = await ask({ model: 'fast', headers });
          expect([door, failure]).toEqual([door, undefined]);
        }
      }
      const callers = gateway.lines.filter(({ msg }) => msg === 'call').map(({ key }) => key);
      expect(new Set(callers.slice(-2 * doors.all.length))).toEqual(new Set(['ann']));
    },
  );

  it('is refused with the same words, status, headers and length whether it is missing, wrong or expired', async () => {
    const keys = ['', 'wrong', 'key-of-old', 'undefined', 'KEY-OF-ANN', 'key-of-an', 'key-of-annn', 'k'.repeat(8192)];
    const given = [{}, ...keys.map((key) => ({ authorization: `Bearer ${key}` })), { 'x-api-key': 'key-of-old' }];
    for (const path of ['/v1/models', '/providers', '/llmgateway.v1.ProviderService/ListProviders']) {
      const answers = new Set<string>();
      for (const headers of given) {
        const more = { 'content-type': 'application/json', 'x-request-id': 'r', ...headers, ...fromElsewhere() };
        const init = path.includes('Service') ? { method: 'POST', body: '{}' } : {};
        const answer = await fetch(gateway.url + path, { ...init, headers: more });
        const { status, headers: got } = answer;
        expect([status, got.get('www-authenticate')]).toEqual([401, 'Bearer']);
        const text = (await answer.text()).replace(/"timestamp":"[^"]*"/, '');
        answers.add(`${got.get('content-length')} ${[...got.keys()]} ${text}`);
      }
      expect([...answers]).toHaveLength(1);
    }
  });

  it('may be tried in vain 20 times at once from an address, and then later, on every door', async () => {
    const address = fromElsewhere();
    const wrong = { authorization: 'Bearer wrong', ...address };
    const attempts = Array.from({ length: 20 }, () => fetch(`${gateway.url}/v1/models`, { headers: wrong }));
    expect(new Set((await Promise.all(attempts)).map(({ status }) => status))).toEqual(new Set([401]));

    const answer = await fetch(`${gateway.url}/v1/models`, { headers: wrong });
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([429, '1']);
    for (const { name, ask } of doors.all) {
      // Takes what has come back in the meantime.
      await fetch(`${gateway.url}/v1/models`, { headers: wrong });
      const { failure } = await ask({ model: 'fast', headers: wrong });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 429 : 'resource_exhausted']);
      const right = await ask({ model: 'fast', headers: { authorization: 'Bearer key-of-ann', ...address } });
      expect([name, right.failure]).toEqual([name, undefined]);
    }
    expect((await fetch(`${gateway.url}/v1/models`, { headers: fromElsewhere() })).status).toBe(401);
  });

  it('one that may call some models only opens every door to these alone', async () => {
    const headers = { authorization: 'Bearer key-of-narrow' };
    for (const { name, ask } of doors.all) {
      const allowed = await ask({ model: 'fast', headers });
      const other = await ask({ model: 'scripted/scripted-model', headers });
      expect([name, allowed.failure]).toEqual([name, undefined]);
      expect([name, other.failure?.status ?? other.failure?.code]).toEqual([
        name,
        other.failure?.status ? 403 : 'permission_denied',
      ]);
    }
    const listed = (await (await fetch(`${gateway.url}/v1/models`, { headers })).json()) as { data: { id: string }[] };
    expect(listed.data.map(({ id }) => id)).toEqual(['fast']);
  });
});

function grpcHeaders(path: string): Record<string, string> {
  return { ':path': path, 'content-type': 'application/grpc+json', te: 'trailers', ...fromElsewhere() };
}
