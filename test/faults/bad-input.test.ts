import { connect as connectHttp2, constants } from 'node:http2';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { grpcFrame, httpPost, type RawAnswer, sendHttp2, sendRaw } from '../support/raw-http.ts';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { saying } from '../support/scripted-upstream.ts';

/** The longest that an answer to bad input may take after its last byte. */
const ANSWER_MS = 200;
const LIMIT = 2_000_000;

const chat = '/v1/chat/completions';
const native = '/completion';
const connectJson = '/llmgateway.v1.CompletionService/CreateCompletion';
const rest = [chat, native];
const everywhere = [...rest, connectJson];

/** A good request of the path's family, with one field set; `undefined`: as it is. */
function request(path: string, more: object = {}): object {
  if (path !== connectJson) return { model: 'scripted-model', messages: [{ role: 'user', content: 'hi' }], ...more };
  return { request: { model: 'scripted-model', messages: [{ role: 'ROLE_USER', parts: [{ text: 'hi' }] }], ...more } };
}

/** Bodies that are refused, with the paths where they are and the statuses that may say so. */
const badBodies: [string, readonly string[], (path: string) => string | Uint8Array, readonly number[]][] = [
  ['nothing', everywhere, () => '', [400]],
  ['malformed JSON', everywhere, () => '{"messages": [', [400]],
  ['JSON with a tail', everywhere, (path) => `${JSON.stringify(request(path))} trailing`, [400]],
  ['a list', everywhere, () => '[]', [400]],
  ['a number', everywhere, () => '1', [400]],
  ['null', everywhere, () => 'null', [400]],
  ['a text', everywhere, () => '"hello"', [400]],
  ['no messages', everywhere, (path) => JSON.stringify(request(path, { messages: [] })), [400]],
  ['messages that are a text', everywhere, (path) => JSON.stringify(request(path, { messages: 'hi' })), [400]],
  ['a message that is null', everywhere, (path) => JSON.stringify(request(path, { messages: [null] })), [400]],
  ['a message without a role', rest, (path) => JSON.stringify(request(path, { messages: [{ content: 'hi' }] })), [400]],
  ['an unknown role', everywhere, (path) => JSON.stringify(request(path, { messages: [{ role: 'wizard' }] })), [400]],
  [
    'content that is a number',
    rest,
    (path) => JSON.stringify(request(path, { messages: [{ role: 'user', content: 5 }] })),
    [400],
  ],
  ['a model that is a number', everywhere, (path) => JSON.stringify(request(path, { model: 5 })), [400]],
  ['temperature 3', everywhere, (path) => JSON.stringify(request(path, { temperature: 3 })), [400]],
  ['temperature "hot"', everywhere, (path) => JSON.stringify(request(path, { temperature: 'hot' })), [400]],
  [
    'temperature beyond all numbers',
    everywhere,
    (path) => JSON.stringify(request(path, { temperature: '@' })).replace('"@"', '1e999'),
    [400],
  ],
  ['top_p -1', everywhere, (path) => JSON.stringify(request(path, { top_p: -1 })), [400]],
  ['max_tokens 0', rest, (path) => JSON.stringify(request(path, { max_tokens: 0 })), [400]],
  ['max_tokens 1.5', rest, (path) => JSON.stringify(request(path, { max_tokens: 1.5 })), [400]],
  ['n 129', [chat, connectJson], (path) => JSON.stringify(request(path, { n: 129 })), [400]],
  ['stream "yes"', rest, (path) => JSON.stringify(request(path, { stream: 'yes' })), [400]],
  ['timeout 0', rest, (path) => JSON.stringify(request(path, { timeout: 0 })), [400]],
  ['timeout 301', rest, (path) => JSON.stringify(request(path, { timeout: 301 })), [400]],
  ['an unknown strategy', rest, (path) => JSON.stringify(request(path, { routing_strategy: 'best' })), [400]],
  ['tools that are an object', everywhere, (path) => JSON.stringify(request(path, { tools: {} })), [400]],
  [
    'a tool without a name',
    rest,
    (path) => JSON.stringify(request(path, { tools: [{ type: 'function', function: {} }] })),
    [400],
  ],
  [
    'a tool result without its call',
    rest,
    (path) => JSON.stringify(request(path, { messages: [{ role: 'tool', content: 'x' }] })),
    [400],
  ],
  ['a field nobody knows', [native, connectJson], (path) => JSON.stringify(request(path, { temprature: 1 })), [400]],
  ['200,000 nested lists', everywhere, () => '['.repeat(200_000) + ']'.repeat(200_000), [400]],
  [
    '200,000 nested objects',
    everywhere,
    (path) =>
      JSON.stringify(request(path, { x: '@' })).replace('"@"', `${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`),
    [400],
  ],
  [
    'a __proto__ key',
    everywhere,
    (path) => JSON.stringify(request(path, { '@': { admin: true } })).replace('@', '__proto__'),
    [400],
  ],
  [
    'a __proto__ key in a message',
    everywhere,
    () => '{"messages":[{"role":"user","content":"hi","__proto__":{"x":1}}],"request":{"messages":[{"__proto__":{}}]}}',
    [400],
  ],
  ['a lone surrogate', everywhere, (path) => JSON.stringify(request(path)).replace('"hi"', '"\\ud83d"'), [400]],
  [
    'bytes that are no UTF-8',
    everywhere,
    (path) => Buffer.from(JSON.stringify(request(path)).replace('"hi"', '"\xff\xfe"'), 'latin1'),
    [400],
  ],
  [
    'a body above the limit',
    everywhere,
    (path) => JSON.stringify(request(path)).replace('"hi"', `"${'x'.repeat(LIMIT)}"`),
    [413, 429],
  ],
];

describe('bad input', () => {
  let scripted: ScriptedGateway;
  let asked = 0;

  beforeAll(async () => {
    scripted = await startScriptedGateway({
      server: { body_limit_bytes: LIMIT, header_timeout: '300ms', request_timeout: '600ms' },
    });
    scripted.upstream.script(saying('fine'));
    await good(); // warm
    await Promise.all(everywhere.map((path) => sendRaw(scripted.gateway.port, httpPost(path, '{'))));
  });
  beforeEach(() => {
    asked = scripted.upstream.requests.length;
  });
  afterEach(async () => {
    expect(scripted.upstream.requests.length, 'nothing was sent upstream').toBe(asked);
    expect(await good()).toBe('fine');
    expect(scripted.gateway.app.inFlight()).toBe(0);
    expect(Object.hasOwn(Object.prototype, 'admin') || 'x' in {}).toBe(false);
  });
  afterAll(() => scripted.close());

  async function good(): Promise<string> {
    const { told } = await scripted.doors.named('openai unary').ask({ model: 'scripted-model' });
    return told.text;
  }

  /** The answer says what is wrong in the words of the path's family. */
  function expectEnvelope(path: string, { status, body, headers }: RawAnswer): void {
    expect(headers['content-type']).toMatch(/^application\/json/);
    const answer = JSON.parse(body);
    const message = path === chat ? answer.error.message : answer.message;
    expect(message).toMatch(/\w+ \w+/);
    expect(message).not.toMatch(/undefined|\[object|at .*\.ts:/);
    if (path === chat) expect(answer.error).toHaveProperty('param');
    if (path === native) expect(answer).toMatchObject({ error: expect.any(String), request_id: expect.any(String) });
    if (path === connectJson && status === 400) expect(answer.code).toBe('invalid_argument');
    if (path === connectJson && status === 429) expect(answer.code).toBe('resource_exhausted');
  }

  describe.each(badBodies)('%s', (_, paths, bodyFor, statuses) => {
    it.each(paths)('is refused at %s', async (path) => {
      const answer = await sendRaw(scripted.gateway.port, httpPost(path, bodyFor(path)));
      expect([answer.status, answer.body.slice(0, 200)]).toEqual([
        expect.toSatisfy((got) => statuses.includes(got)),
        expect.anything(),
      ]);
      expectEnvelope(path, answer);
      expect(answer.tookMs).toBeLessThan(ANSWER_MS);
    });
  });

  describe('bodies that are not what they say', () => {
    it.each(everywhere)('a length above the limit is refused before the body comes at %s', async (path) => {
      const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n`;
      const answer = await sendRaw(scripted.gateway.port, head, '{"messages":');
      expect([413, 429]).toContain(answer.status);
      expect(answer.tookMs).toBeLessThan(ANSWER_MS);
    });

    it.each(everywhere)('an endless body is cut off at the limit at %s', async (path) => {
      const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`;
      const piece = `40000\r\n${'x'.repeat(0x40000)}\r\n`;
      const answer = await sendRaw(scripted.gateway.port, head, ...Array.from({ length: 10 }, () => piece));
      expect([413, 429, 0]).toContain(answer.status);
      expect(answer.tookMs).toBeLessThan(ANSWER_MS);
    });

    it.each(everywhere)('a gzip bomb is not unpacked at %s', async (path) => {
      const bomb = gzipSync(JSON.stringify(request(path)).replace('"hi"', `"${'x'.repeat(50 << 20)}"`));
      const answer = await sendRaw(scripted.gateway.port, httpPost(path, bomb, { 'content-encoding': 'gzip' }));
      expect([413, 415, 429]).toContain(answer.status);
      expectEnvelope(path, answer);
      expect(answer.tookMs).toBeLessThan(ANSWER_MS);
    });

    it.each(rest)('an encoding that nobody knows is 415 at %s', async (path) => {
      const body = JSON.stringify(request(path));
      const answer = await sendRaw(scripted.gateway.port, httpPost(path, body, { 'content-encoding': 'rot13' }));
      expect(answer.status).toBe(415);
      expectEnvelope(path, answer);
    });

    it.each(['text/plain', 'application/xml', 'multipart/form-data; boundary=x', 'application/jsonp', ''])(
      'the content type "%s" is 415 everywhere',
      async (type) => {
        for (const path of everywhere) {
          const answer = await sendRaw(
            scripted.gateway.port,
            httpPost(path, JSON.stringify(request(path)), { 'content-type': type }),
          );
          expect([path, answer.status]).toEqual([path, 415]);
          expect(answer.tookMs).toBeLessThan(ANSWER_MS);
        }
      },
    );
  });

  describe('HTTP that contradicts itself', () => {
    const body = JSON.stringify(request(chat));
    const length = `content-length: ${body.length}\r\n`;
    const start = `POST ${chat} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`;

    it.each([
      ['two lengths', `${start}${length}content-length: 5\r\n\r\n${body}`],
      ['a length and chunks', `${start}${length}transfer-encoding: chunked\r\n\r\n${body}`],
      ['a negative length', `${start}content-length: -1\r\n\r\n${body}`],
      ['a length that is no number', `${start}content-length: ten\r\n\r\n${body}`],
      ['a chunk size that is no number', `${start}transfer-encoding: chunked\r\n\r\nzz\r\n${body}\r\n0\r\n\r\n`],
      ['no host', `POST ${chat} HTTP/1.1\r\ncontent-type: application/json\r\n${length}\r\n${body}`],
      ['a header with a line break in its name', `${start}x-bad\r\n: y\r\n${length}\r\n${body}`],
      ['a header of 100 KB', `${start}x-large: ${'x'.repeat(100_000)}\r\n${length}\r\n${body}`],
      ['a path of 100 KB', `POST /${'x'.repeat(100_000)} HTTP/1.1\r\nhost: x\r\n${length}\r\n${body}`],
      ['no HTTP at all', 'hello gateway\r\n\r\n'],
      ['a TLS hello', Buffer.from('160301020001000001fc0303', 'hex')],
      ['half a preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n'],
    ])('%s is refused', async (_, bytes) => {
      const answer = await sendRaw(scripted.gateway.port, bytes);
      expect([400, 408, 414, 431, 0]).toContain(answer.status);
      expect(answer.tookMs).toBeLessThan(ANSWER_MS + 400); // what is no HTTP may wait for the header timeout
    });
  });

  it('a request id with a line break is replaced, in headers and bodies', async () => {
    for (const path of rest) {
      const bad = 'abc\r\nset-cookie: owned=1';
      asked++; // this one is good
      const answer = await sendRaw(
        scripted.gateway.port,
        httpPost(path, JSON.stringify(request(path, { request_id: bad })), { 'x-request-id': 'no spaces allowed' }),
      );
      expect(answer.status).toBe(200);
      expect(answer.headers['x-request-id']).toMatch(/^[A-Za-z0-9._:-]{1,128}$/);
      expect(answer.headers).not.toHaveProperty('set-cookie');
    }
  });

  it.each([
    ['headers that never end', 'POST /completion HTTP/1.1\r\nhost: x\r\n'],
    ['a first byte that never comes', ''],
    [
      'a body that never ends',
      'POST /completion HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{',
    ],
  ])('%s are closed when their time is over', async (_, bytes) => {
    const answer = await sendRaw(scripted.gateway.port, bytes);
    expect([400, 408, 0]).toContain(answer.status);
    expect(answer.tookMs).toBeLessThan(3000);
  });

  describe('at gRPC', () => {
    const path = '/llmgateway.v1.CompletionService/CreateCompletion';
    const json = { ':path': path, 'content-type': 'application/grpc+json', te: 'trailers' };
    const binary = { ...json, 'content-type': 'application/grpc' };
    const message = JSON.stringify(request(connectJson));
    const bomb = gzipSync(message.replace('"hi"', `"${'x'.repeat(50 << 20)}"`));

    // 3 INVALID_ARGUMENT, 8 RESOURCE_EXHAUSTED, 12 UNIMPLEMENTED, 13 INTERNAL
    it.each([
      ['malformed JSON', json, grpcFrame('{"request":'), ['3']],
      ['bytes that are no message', binary, grpcFrame(Buffer.from('ffffffffff', 'hex')), ['3']],
      ['text that is no UTF-8', binary, grpcFrame(Buffer.from('0a060a04fffefdfc', 'hex')), ['3']],
      ['an unknown field', json, grpcFrame('{"requset":{}}'), ['3']],
      ['an unknown enum word', json, grpcFrame('{"request":{"messages":[{"role":"user"}]}}'), ['3']],
      ['no request', json, grpcFrame('{}'), ['3']],
      ['a message above the limit', json, grpcFrame(message.replace('"hi"', `"${'x'.repeat(LIMIT)}"`)), ['8']],
      ['a length above the limit', json, Buffer.from('007fffffff', 'hex'), ['8']],
      ['a gzip bomb', { ...json, 'grpc-encoding': 'gzip' }, grpcFrame(bomb, 1), ['8']],
      ['an unknown encoding', { ...json, 'grpc-encoding': 'rot13' }, grpcFrame(message, 1), ['12']],
      ['compressed bytes without an encoding', json, grpcFrame(message, 1), ['13', '3']],
      ['a message that is cut off', json, grpcFrame(message).subarray(0, 20), ['3']],
      ['an unknown method', { ...json, ':path': '/llmgateway.v1.CompletionService/Nothing' }, grpcFrame('{}'), ['12']],
      ['a timeout that is none', { ...json, 'grpc-timeout': 'soon' }, grpcFrame(message), ['3']],
    ])('%s is refused with its code', async (_, headers, body, codes) => {
      const answer = await sendHttp2(scripted.gateway.port, headers, body);
      const status = answer.trailers['grpc-status'] ?? answer.headers['grpc-status'] ?? `HTTP ${answer.status}`;
      expect(codes).toContain(status);
      expect(answer.tookMs).toBeLessThan(ANSWER_MS);
    });

    it('a content type that is no RPC is 415', async () => {
      const answer = await sendHttp2(scripted.gateway.port, { ...json, 'content-type': 'text/html' }, Buffer.from('x'));
      expect(answer.status).toBe(415);
    });

    it('100 KB of metadata end the connection or the call', async () => {
      const answer = await sendHttp2(
        scripted.gateway.port,
        { ...json, 'x-large': 'x'.repeat(100_000) },
        grpcFrame(message),
      );
      expect([0, 431]).toContain(answer.status);
    });

    it('rapid resets end the connection that sends them', async () => {
      const session = connectHttp2(`http://127.0.0.1:${scripted.gateway.port}`);
      session.on('error', () => {});
      const closed = new Promise((resolve) => session.once('close', resolve));
      for (let burst = 0; burst < 200 && !session.closed; burst++) {
        for (let reset = 0; reset < 50 && !session.closed; reset++) {
          const stream = session.request({ ...json, ':method': 'POST' });
          stream.on('error', () => {});
          stream.close(constants.NGHTTP2_CANCEL);
        }
        await new Promise(setImmediate);
      }
      await closed;
    });
  });

  it('a thousand connections that say nothing are let go', async () => {
    const sockets = Array.from({ length: 1000 }, () => connect(scripted.gateway.port, '127.0.0.1'));
    await Promise.all(
      sockets.map((socket) => {
        socket.on('error', () => {});
        return new Promise((resolve) => socket.once('close', resolve));
      }),
    );
  });
});
