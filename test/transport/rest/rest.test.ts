import { describe, expect, it } from 'vitest';
import { GatewayError } from '../../../src/errors.ts';
import { send, sendHttp2, serve } from './serve.ts';

const ask = { messages: [{ role: 'user', content: 'hi' }] };

function closed() {
  return serve({
    authenticate: (header) => {
      if (header('authorization') !== 'Bearer good')
        throw new GatewayError('unauthenticated', 'a valid API key is needed');
      return { name: 'me', tier: 'default', models: [], admin: false };
    },
  });
}

describe('routes', () => {
  it('answers a chat completion', async () => {
    const served = await serve();
    const { status, json, headers } = await send(served, '/v1/chat/completions', { body: ask });
    expect(status).toBe(200);
    expect(json).toEqual({
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1_800_000_000,
      model: 'gpt-oss',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
    });
    expect(headers['x-selected-provider']).toBe('groq');
    expect(headers['content-type']).toBe('application/json');
  });

  it('takes the same paths over HTTP/2', async () => {
    const served = await serve({ http2: true });
    const answer = await sendHttp2(served, '/v1/chat/completions', { body: ask });
    expect(answer.status).toBe(200);
    expect(answer.json.choices[0].message.content).toBe('Hello');
    expect((await sendHttp2(served, '/livez')).status).toBe(200);
    const head = await sendHttp2(served, '/health', { method: 'HEAD' });
    expect([head.status, head.text]).toEqual([200, '']);
  });

  it('tolerates a slash at the end and a query', async () => {
    const served = await serve();
    for (const path of ['/v1/chat/completions/', '/completion?x=1', '/completion/?']) {
      expect((await send(served, path, { body: ask })).status).toBe(200);
    }
  });

  it('answers HEAD like GET without a body', async () => {
    const served = await serve();
    for (const path of ['/health', '/providers', '/livez', '/readyz', '/v1/models']) {
      const [head, get] = [await send(served, path, { method: 'HEAD' }), await send(served, path)];
      expect([head.status, head.text]).toEqual([200, '']);
      if (path !== '/health') expect(head.headers['content-length']).toBe(get.headers['content-length']);
    }
  });

  it('lists the methods of a path on OPTIONS', async () => {
    const { status, headers } = await send(await serve(), '/v1/chat/completions', { method: 'OPTIONS' });
    expect([status, headers.allow]).toEqual([204, 'POST, OPTIONS']);
  });

  it.each([
    ['GET', '/v1/chat/completions', 'POST, OPTIONS'],
    ['DELETE', '/completion', 'POST, OPTIONS'],
    ['POST', '/health', 'GET, HEAD, OPTIONS'],
    ['PUT', '/v1/models/a/b', 'GET, HEAD, OPTIONS'],
  ])('refuses %s %s with 405', async (method, path, allow) => {
    const { status, headers, json } = await send(await serve(), path, { method });
    expect([status, headers.allow]).toEqual([405, allow]);
    if (path.startsWith('/v1')) expect(json.error.code).toBe('method_not_allowed');
    else expect(json.error).toBe('method_not_allowed');
  });

  it('answers an unknown path in the envelope of its family', async () => {
    const served = await serve();
    const openai = await send(served, '/v1/responses', { body: {} });
    expect(openai.status).toBe(404);
    expect(openai.json.error).toMatchObject({ type: 'invalid_request_error', code: 'not_found', param: null });
    const native = await send(served, '/nothing');
    expect(native.status).toBe(404);
    expect(Object.keys(native.json)).toEqual(
      expect.arrayContaining(['error', 'message', 'details', 'request_id', 'timestamp', 'provider', 'retry_after']),
    );
    expect(native.json.error).toBe('not_found');
  });

  it('never routes by the host', async () => {
    const { status } = await send(await closed(), '/v1/models', { headers: { host: '127.0.0.1/livez#' } });
    expect(status).toBe(401);
  });
});

describe('authentication', () => {
  it.each(['/v1/models', '/v1/chat/completions', '/providers', '/completion', '/nothing', '/v1/nothing'])(
    'asks for a key on %s',
    async (path) => {
      const answers = await Promise.all([
        send(await closed(), path, { headers: { 'x-request-id': 'a' } }),
        send(await closed(), path, { headers: { 'x-request-id': 'a', authorization: 'Bearer bad' } }),
      ]);
      const [missing, wrong] = answers.map(({ text }) => text.replace(/"timestamp":"[^"]*"/, ''));
      for (const { status, headers } of answers) {
        expect([status, headers['www-authenticate']]).toEqual([401, 'Bearer']);
      }
      expect(missing).toBe(wrong);
    },
  );

  it.each(['/livez', '/readyz', '/health'])('asks for none on %s', async (path) => {
    expect((await send(await closed(), path)).status).toBe(200);
  });

  it('comes before the body is read', async () => {
    const served = await closed();
    const { status } = await send(served, '/v1/chat/completions', { body: Buffer.alloc(5_000_000) });
    expect(status).toBe(401);
    const tooMuch = { headers: { authorization: 'Bearer good' }, body: Buffer.alloc(5_000_000) };
    expect((await send(served, '/v1/chat/completions', tooMuch)).status).toBe(413);
  });
});

describe('headers', () => {
  it('gives every answer an id and the time it took', async () => {
    const served = await serve();
    for (const path of ['/livez', '/nothing', '/v1/models', '/v1/nothing']) {
      const { headers } = await send(served, path);
      expect(headers['x-request-id']).toMatch(/^[\w-]{36}$/);
      expect(Number(headers['x-process-time'])).toBeGreaterThan(0);
      expect(headers['openai-processing-ms'] !== undefined).toBe(path.startsWith('/v1'));
    }
  });

  it('adopts a good request id, of the header first and then of the body, and replaces a bad one', async () => {
    const served = await serve();
    const path = '/completion';
    const both = await send(served, path, {
      headers: { 'x-request-id': 'from-header' },
      body: { ...ask, request_id: 'b' },
    });
    expect([both.headers['x-request-id'], both.json.request_id]).toEqual(['from-header', 'from-header']);
    const bad = { headers: { 'x-request-id': 'no spaces' }, body: { ...ask, request_id: 'from-body' } };
    expect((await send(served, path, bad)).headers['x-request-id']).toBe('from-body');
    const none = await send(served, path, { body: { ...ask, request_id: 'no\r\nheader: injection' } });
    expect(none.headers['x-request-id']).toMatch(/^[\w-]{36}$/);
    expect(served.asked.map(({ context }) => context.requestId)).toEqual([
      'from-header',
      'from-body',
      none.headers['x-request-id'],
    ]);
  });
});

describe('ops', () => {
  it('is alive but not ready while draining', async () => {
    const served = await serve({ draining: () => true });
    const statuses = await Promise.all(
      ['/livez', '/readyz', '/health'].map(async (path) => (await send(served, path)).status),
    );
    expect(statuses).toEqual([200, 503, 503]);
  });

  it('logs what it did not expect, answers 500 and lives on', async () => {
    const served = await serve({
      gateway: {
        listProviders() {
          throw new TypeError('secret detail');
        },
      },
    });
    const { status, text, headers } = await send(served, '/providers');
    expect(status).toBe(500);
    expect(text).not.toContain('secret detail');
    expect(served.logged.join()).toContain('secret detail');
    expect(served.logged.join()).toContain(String(headers['x-request-id']));
    expect((await send(served, '/livez')).status).toBe(200);
  });
});
