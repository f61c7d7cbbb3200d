import { createHash } from 'node:crypto';
import { createRegistry } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Health } from '../gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../gen/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as ServerReflectionAlpha } from '../gen/grpc/reflection/v1alpha/reflection_pb.ts';
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
  'GET /nothing-there',
];

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
      providers: [scriptedProvider('scripted', upstream)],
      routes: [{ model: 'fast', targets: [{ provider: 'scripted', model: 'scripted-model' }] }],
      keys: [
        { name: 'ann', sha256: sha256('key-of-ann') },
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
    const answer = await fetch(`${gateway.url}${path}`, { method, ...(method === 'POST' && { body: '{' }) });
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
      const headers = { authorization: `Bearer ${key}${key.endsWith(' ') ? 'x' : ''}` };
      const { failure } = await ask({ model: 'fast', headers });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 401 : 'unauthenticated']);
    }
    expect(upstream.requests.length).toBe(before);
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
  return { ':path': path, 'content-type': 'application/grpc+json', te: 'trailers' };
}
