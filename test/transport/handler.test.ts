import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Server } from '../../src/transport/server.ts';
import { exchange } from './raw-client.ts';
import { scriptedGateway, serveGateway } from './scripted-gateway.ts';

let server: Server;
let port: number;

beforeAll(async () => {
  ({ server, port } = await serveGateway(scriptedGateway(), {
    rest: (request, response) => response.end(`rest got ${request.url}`),
  }));
});
afterAll(() => server.close());

const get = (target: string) =>
  exchange(port, `GET ${target} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n`);

describe('the path of a request', () => {
  const kept: [target: string, seen: string][] = [
    ['/', '/'],
    ['/v1/chat/completions', '/v1/chat/completions'],
    ['/metrics?window_minutes=60&x=%2F..%2F', '/metrics?window_minutes=60&x=%2F..%2F'],
    ['/%76%31/ch%61t/completions', '/v1/chat/completions'],
    ['/admin/providers/my%2Dprovider/circuit-breaker', '/admin/providers/my-provider/circuit-breaker'],
    ['/admin/providers/my%20provider', '/admin/providers/my%20provider'],
    ['/v1/models/meta-llama/Llama-3.1-8B', '/v1/models/meta-llama/Llama-3.1-8B'],
    ['/v1/models/meta-llama%2FLlama-3.1-8B', '/v1/models/meta-llama%2FLlama-3.1-8B'],
    ['/v1/models/a%2f%2e%2e%2fb', '/v1/models/a%2f%2e%2e%2fb'],
    ['/.well-known/x', '/.well-known/x'],
    ['/assets/app.js', '/assets/app.js'],
    ['/app.js', '/app.js'],
    ['http://somewhere.example/v1/models?a=b', '/v1/models?a=b'],
    ['HTTP://somewhere.example', '/'],
    ['http://somewhere.example?a=b', '/?a=b'],
  ];
  it.each(kept)('%s is seen as %s', async (target, seen) => {
    expect(await get(target)).toContain(`rest got ${seen}`);
  });

  it.each([
    '/v1/../admin/metrics',
    '/v1/./chat/completions',
    '/v1/..',
    '/%2e%2e/admin',
    '/v1/%2E%2e/admin',
    '/.%2e/admin',
    '/v1%2fchat%2Fcompletions',
    '/v1%5cchat',
    '/v1\\chat',
    '/v1/chat%00/completions',
    '/v1/chat%0d%0ax-injected:1',
    '/v1/%zz',
    '/v1/%',
    '/v1/chat#fragment',
    '/v1/ch\xe9t',
    'http://somewhere.example/%2e%2e/admin',
    '/llmgateway.v1.HealthService/../admin/metrics',
  ])('%j is refused, as it can be read in two ways', async (target) => {
    const answer = await get(target);

    expect(answer).toContain('HTTP/1.1 400 Bad Request');
    expect(answer).not.toContain('rest got');
  });

  it('is the only thing that routes: the host is not', async () => {
    const answer = await exchange(
      port,
      'GET /metrics HTTP/1.1\r\nhost: localhost:8080/#@/livez\r\nconnection: close\r\n\r\n',
    );

    expect(answer).toContain('rest got /metrics');
  });

  it.each(['GetHealth', '%47et%48ealth'])('of an rpc may be written as %s', async (method) => {
    const answer = await get(`/llmgateway.v1.HealthService/${method}?encoding=json&message={}`);

    expect(answer).toContain('HEALTH_STATUS_HEALTHY');
  });

  it('of a refusal carries the id of the request', async () => {
    const answer = await exchange(
      port,
      'GET /.. HTTP/1.1\r\nhost: g\r\nx-request-id: mine-7\r\nconnection: close\r\n\r\n',
    );

    expect(answer).toContain('x-request-id: mine-7');
  });
});
