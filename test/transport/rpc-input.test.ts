import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CreateCompletionRequestSchema } from '../../gen/llmgateway/v1/completion_service_pb.ts';
import type { Gateway } from '../../src/gateway.ts';
import type { Server } from '../../src/transport/server.ts';
import { exchange } from './raw-client.ts';
import { scriptedGateway, serveGateway } from './scripted-gateway.ts';

let server: Server;
let port: number;
let url: string;
let calls = 0;

const complete: Gateway['complete'] = async function* () {
  calls += 1;
  yield* [];
};

beforeAll(async () => {
  const served = await serveGateway(scriptedGateway({ complete }), { bodyLimitBytes: 2_000_000 });
  ({ server, port } = served);
  url = `${served.base}/llmgateway.v1.CompletionService/CreateCompletion`;
});
afterAll(() => server.close());

interface Answer {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly headers: Headers;
}

async function post(body: BodyInit, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  });
  const { code, message } = await response.json();
  return { status: response.status, code, message, headers: response.headers };
}

const spaces = Buffer.alloc(80_000_000, ' ');
const deep = 200_000;

describe('a message that is wrong', () => {
  const malformed: [name: string, body: string, words: string][] = [
    ['cut JSON', '{"request":', 'Unexpected end of JSON input'],
    ['nothing', '', 'Unexpected end of JSON input'],
    ['null', 'null', 'null'],
    ['an array', '[]', 'Array(0)'],
    ['a string', '"x"', '"x"'],
    ['an unknown field', '{"request":{"modle":"x"}}', 'key "modle" is unknown'],
    ['an unknown enum word', '{"request":{"messages":[{"role":"user"}]}}', '"user"'],
    ['a wrong type', '{"request":{"temperature":"warm"}}', 'expected number (float64), got "warm"'],
    ['__proto__', '{"request":{"__proto__":{"polluted":1}}}', 'key "__proto__" is unknown'],
    ['constructor', '{"request":{"constructor":{"prototype":1}}}', 'key "constructor" is unknown'],
    ['half a surrogate pair', '{"request":{"model":"\\ud800"}}', 'invalid UTF8'],
    ['half a surrogate pair in a key', '{"request":{"options":{"metadata":{"\\udfff":"x"}}}}', 'invalid UTF8'],
    ['200,000 brackets', '['.repeat(deep), 'nested deeper than 64'],
    ['200,000 closed brackets', '['.repeat(deep) + ']'.repeat(deep), 'nested deeper than 64'],
    ['200,000 objects', `{"request":${'{"a":'.repeat(deep)}1${'}'.repeat(deep + 1)}`, 'nested deeper than 64'],
  ];
  it.each(malformed)('in JSON (%s) is refused at once', async (_name, body, words) => {
    const began = performance.now();

    const { status, code, message, headers } = await post(body);

    expect(performance.now() - began).toBeLessThan(200);
    expect({ status, code }).toEqual({ status: 400, code: 'invalid_argument' });
    expect(message).toContain(words);
    expect(headers.get('x-request-id')).toMatch(/^[\w-]{36}$/);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('may have brackets in its texts, as many as it likes', async () => {
    const { message } = await post(
      JSON.stringify({ request: { model: `${'[{"\\'.repeat(1_000)}`, temperature: 'x' } }),
    );

    expect(message).toContain('temperature');
  });

  const bytes: [name: string, body: Buffer, headers: Record<string, string>][] = [
    ['bytes that are not UTF-8, in JSON', Buffer.from('{"request":{"model":"\xff"}}', 'latin1'), {}],
    ['bytes that are not UTF-8, in binary', Buffer.from([10, 3, 10, 1, 0xff]), { 'content-type': 'application/proto' }],
    ['a cut binary message', Buffer.from([10, 200, 1]), { 'content-type': 'application/proto' }],
    ['random bytes', Buffer.from('ffffffffff', 'hex'), { 'content-type': 'application/proto' }],
    ['200,000 groups', Buffer.alloc(deep, 0x0b), { 'content-type': 'application/proto' }],
    ['what is not gzip', Buffer.from('{}'), { 'content-encoding': 'gzip' }],
    ['cut gzip', gzipSync('{}'.padEnd(5_000)).subarray(0, -10), { 'content-encoding': 'gzip' }],
    ['cut brotli', brotliCompressSync('{}'.padEnd(5_000)).subarray(0, 8), { 'content-encoding': 'br' }],
    ['a deadline that is no number', Buffer.from('{}'), { 'connect-timeout-ms': 'soon' }],
  ];
  it.each(bytes)('(%s) is the mistake of who sent it', async (_name, body, headers) => {
    const { status, code } = await post(new Uint8Array(body), headers);

    expect({ status, code }).toEqual({ status: 400, code: 'invalid_argument' });
  });

  const large: [name: string, body: Buffer, headers: Record<string, string>][] = [
    ['80 MB of gzip in 80 kB', gzipSync(spaces), { 'content-encoding': 'gzip' }],
    [
      '80 MB of brotli',
      brotliCompressSync(spaces, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
      { 'content-encoding': 'br' },
    ],
    ['3 MB', Buffer.alloc(3_000_000, ' '), {}],
  ];
  it.each(large)('(%s) is too large', async (_name, body, headers) => {
    const before = process.memoryUsage.rss();

    const { code, message } = await post(new Uint8Array(body), headers);

    expect(code).toBe('resource_exhausted');
    expect(message).toContain('2000000');
    expect(process.memoryUsage.rss() - before).toBeLessThan(64_000_000);
  });

  it('(too large, of unknown size) is answered on a connection that lives on', async () => {
    const chunk = Buffer.alloc(3_000_000, ' ');
    const head =
      'POST /llmgateway.v1.CompletionService/CreateCompletion HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n';
    const next = 'GET /llmgateway.v1.HealthService/GetHealth?encoding=json&message={} HTTP/1.1\r\nhost: g\r\n\r\n';
    const sized = `${head}transfer-encoding: chunked\r\n\r\n${chunk.length.toString(16)}\r\n`;

    const answer = await exchange(
      port,
      Buffer.concat([Buffer.from(sized), chunk, Buffer.from(`\r\n0\r\n\r\n${next}`)]),
      'HEALTHY',
    );

    expect(answer).toContain('resource_exhausted');
  });

  it('never reached the core', () => {
    expect(calls).toBe(0);
  });
});

describe('a request that is no call', () => {
  it.each(['/llmgateway.v1.CompletionService/Nothing', '/llmgateway.v9.CompletionService/CreateCompletion', '/a.B/C'])(
    'for %s is UNIMPLEMENTED in each protocol',
    async (path) => {
      const to = new URL(path, url);
      const send = (type: string) =>
        fetch(to, { method: 'POST', headers: { 'content-type': type, 'x-request-id': 'mine' }, body: '' });

      const connect = await send('application/json');
      expect(connect.status).toBe(404);
      expect(await connect.json()).toEqual({ code: 'unimplemented', message: `there is no rpc ${path}` });
      for (const type of [
        'application/grpc',
        'application/grpc+proto',
        'application/grpc-web',
        'application/grpc-web+json',
      ]) {
        const grpc = await send(type);
        expect([grpc.status, grpc.headers.get('grpc-status'), grpc.headers.get('content-type')]).toEqual([
          200,
          '12',
          type,
        ]);
        expect(grpc.headers.get('x-request-id')).toBe('mine');
      }
    },
  );

  it('of gRPC for a path of nobody is UNIMPLEMENTED too', async () => {
    const answer = await fetch(new URL('/v1/nothing', url), {
      method: 'POST',
      headers: { 'content-type': 'application/grpc' },
    });

    expect(answer.headers.get('grpc-status')).toBe('12');
  });

  it.each(['text/plain', 'application/xml', 'application/grpc+yaml', 'application/connect+json', ''])(
    'with content type %j is 415',
    async (type) => {
      const answer = await fetch(url, { method: 'POST', headers: { 'content-type': type }, body: '{}' });

      expect(answer.status).toBe(415);
      expect((await answer.json()).message).toContain('not spoken here');
    },
  );

  it.each(['GET', 'PUT', 'DELETE', 'PATCH'])('with %s is 405 and told what is allowed', async (method) => {
    const answer = await fetch(url, { method });

    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST, OPTIONS']);
    expect((await answer.json()).message).toContain('use POST');
  });

  it('with HEAD is 405 without a body, with OPTIONS 204', async () => {
    const head = await fetch(url, { method: 'HEAD' });
    const options = await fetch(new URL('/llmgateway.v1.ProviderService/ListModels', url), { method: 'OPTIONS' });

    expect([head.status, await head.text()]).toEqual([405, '']);
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'POST, GET, OPTIONS']);
  });

  it.each([
    '?encoding=json&message=%7B%7D&base64=1',
    '?encoding=json&message=***&base64=1',
    '?encoding=proto&base64=1&message=____',
    '?encoding=json&message=%7B',
  ])('of Connect by GET with %s is the mistake of who sent it', async (query) => {
    const answer = await fetch(new URL(`/llmgateway.v1.ProviderService/ListModels${query}`, url));

    expect([answer.status, (await answer.json()).code]).toEqual([400, 'invalid_argument']);
  });

  it.each(['', '?encoding=xml&message={}'])('of Connect by GET with %j is 415', async (query) => {
    const answer = await fetch(new URL(`/llmgateway.v1.ProviderService/ListModels${query}`, url));

    expect([answer.status, (await answer.json()).code]).toEqual([415, 'unknown']);
  });

  // The adapter of connect-node built an URL from it, and threw where nobody catches: the process ended.
  it.each(['[', 'a b', '', 'http://evil@host:99999/#'])('by its host %j is served all the same', async (host) => {
    const message = toBinary(CreateCompletionRequestSchema, create(CreateCompletionRequestSchema));
    const head = `POST /llmgateway.v1.ProviderService/ListModels HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\ncontent-type: application/proto\r\n`;

    const answer = await exchange(port, `${head}content-length: ${message.length}\r\n\r\n`);

    expect(answer).toContain('HTTP/1.1 200 OK');
  });

  it('of HTTP/1.0 without a host is served', async () => {
    const head =
      'POST /llmgateway.v1.ProviderService/ListModels HTTP/1.0\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n';

    expect(await exchange(port, head)).toContain('200 OK');
  });

  it.each(['a\r\nx-injected: 1', 'ünïcode', 'x'.repeat(129), 'a b', '<script>'])(
    'with request id %j gets another',
    async (id) => {
      const head =
        'GET /llmgateway.v1.HealthService/GetHealth?encoding=json&message={} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n';

      const answer = await exchange(port, Buffer.from(`${head}x-request-id: ${id}\r\n\r\n`));

      expect(answer).toMatch(/x-request-id: (?:[\w-]{36}|a)\r\n/);
      expect(answer).not.toContain('x-injected');
    },
  );

  it('with a deadline of a year has none, without a warning', async () => {
    const warned: Error[] = [];
    const listener = (warning: Error) => warned.push(warning);
    process.on('warning', listener);

    const { code } = await post('{"request":{}}', { 'connect-timeout-ms': '9999999999' });
    await new Promise((resolve) => setImmediate(resolve));

    process.off('warning', listener);
    expect(code).not.toBe('deadline_exceeded');
    expect(warned).toEqual([]);
  });
});
