import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GatewayError } from '../../src/errors.ts';
import type { Server } from '../../src/transport/server.ts';
import { scriptedGateway, serveGateway } from './scripted-gateway.ts';

const paths = [
  '/v1/chat/completions',
  '/llmgateway.v1.CompletionService/CreateCompletion',
  '/llmgateway.v1.None/None',
  '/%2e%2e/x',
];

function closed(): never {
  throw new GatewayError('unauthenticated', 'a key is needed');
}

function serving(corsOrigins: readonly string[]) {
  let server: Server | undefined;
  let base = '';
  beforeAll(async () => {
    ({ server, base } = await serveGateway(scriptedGateway(), { corsOrigins, authenticate: closed }));
  });
  afterAll(() => server?.close());
  return (path: string, init: RequestInit) => fetch(base + path, init);
}

const preflight = (origin: string, headers?: string): RequestInit => ({
  method: 'OPTIONS',
  headers: {
    origin,
    'access-control-request-method': 'POST',
    ...(headers && { 'access-control-request-headers': headers }),
  },
});

describe('with all origins', () => {
  const send = serving(['*']);

  it.each(paths)('a preflight for %s needs no key and gets back the headers it asks for', async (path) => {
    const answer = await send(
      path,
      preflight('https://page.example', 'authorization,x-stainless-os,connect-protocol-version'),
    );

    expect(answer.status).toBe(204);
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
    expect(answer.headers.get('access-control-allow-methods')).toContain('POST');
    expect(answer.headers.get('access-control-allow-headers')).toBe(
      'authorization,x-stainless-os,connect-protocol-version',
    );
    expect(Number(answer.headers.get('access-control-max-age'))).toBeGreaterThan(0);
    expect(answer.headers.get('vary')).toContain('Access-Control-Request-Headers');
    expect(answer.headers.has('access-control-allow-credentials')).toBe(false);
  });

  it.each(paths)('an answer for %s may be read, though it is an error', async (path) => {
    const answer = await send(path, {
      method: 'POST',
      headers: { origin: 'https://page.example', 'content-type': 'application/json' },
      body: '{}',
    });

    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
    const exposed = answer.headers.get('access-control-expose-headers')?.split(', ');
    expect(exposed).toEqual(
      expect.arrayContaining([
        'x-request-id',
        'x-selected-provider',
        'retry-after',
        'grpc-status',
        'grpc-message',
        'grpc-status-details-bin',
      ]),
    );
  });

  it('an answer to nobody’s page has no headers of CORS', async () => {
    const answer = await send('/v1/chat/completions', { method: 'POST' });

    expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
    expect(answer.headers.has('vary')).toBe(false);
  });
});

describe('with a list of origins', () => {
  const send = serving(['https://page.example', 'http://localhost:3000']);

  it('answers name the origin that asked, and say that they depend on it', async () => {
    for (const origin of ['https://page.example', 'http://localhost:3000']) {
      const answer = await send('/v1/models', { headers: { origin } });

      expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
      expect(answer.headers.get('vary')).toBe('Origin');
      expect(answer.headers.has('access-control-allow-credentials')).toBe(false);
    }
  });

  it.each(['https://evil.example', 'https://page.example.evil.example', 'null', 'http://page.example'])(
    'pages of %s may not read',
    async (origin) => {
      const answer = await send('/v1/models', { headers: { origin } });
      const before = await send('/v1/models', preflight(origin, 'authorization'));

      expect(answer.headers.has('access-control-allow-origin')).toBe(false);
      expect(answer.headers.get('vary')).toBe('Origin');
      expect(before.status).toBe(204);
      expect(before.headers.has('access-control-allow-origin')).toBe(false);
      expect(before.headers.has('access-control-allow-headers')).toBe(false);
    },
  );

  it('what a cache may keep depends on the origin, also when there was none', async () => {
    expect((await send('/v1/models', {})).headers.get('vary')).toBe('Origin');
  });
});

describe('without origins', () => {
  const send = serving([]);

  it('no page may call', async () => {
    const answer = await send('/v1/models', preflight('https://page.example'));

    expect(answer.headers.has('access-control-allow-origin')).toBe(false);
  });

  it('OPTIONS that is no preflight is the route’s own matter', async () => {
    const answer = await send('/v1/models', { method: 'OPTIONS', headers: { origin: 'https://page.example' } });

    expect(await answer.text()).toBe('rest');
  });
});
