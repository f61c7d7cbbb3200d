import { EventEmitter, once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readCallBytes } from '../../../src/transport/rest/body.ts';
import { MAX_DEPTH } from '../../../src/transport/rest/json.ts';
import { type Sending, send, sendHttp2, serve } from './serve.ts';

const path = '/v1/chat/completions';
const ask = { messages: [{ role: 'user', content: 'hi' }] };
const text = JSON.stringify(ask);

/** A body whose tool schema nests so deep that the whole does so many levels. */
function nested(levels: number): string {
  const inner = levels - 1;
  return `{"messages":[],"metadata2":${'{"a":'.repeat(inner - 1)}{}${'}'.repeat(inner - 1)}}`;
}

describe('a body', () => {
  it.each<[string, Sending]>([
    ['of plain JSON', { headers: { 'content-type': 'application/json' }, body: text }],
    ['with its charset', { headers: { 'content-type': 'Application/JSON; charset="UTF-8"' }, body: text }],
    ['of a type built on JSON', { headers: { 'content-type': 'application/vnd.api+json' }, body: text }],
    ['compressed by gzip', { headers: { 'content-encoding': 'gzip' }, body: gzipSync(text) }],
    ['compressed by deflate', { headers: { 'content-encoding': 'deflate' }, body: deflateSync(text) }],
    ['compressed by brotli', { headers: { 'content-encoding': 'br' }, body: brotliCompressSync(text) }],
    ['compressed by zstd', { headers: { 'content-encoding': 'zstd' }, body: zstdCompressSync(text) }],
    ['that is not compressed, as it says', { headers: { 'content-encoding': 'identity' }, body: text }],
    ['in chunks', { headers: { 'transfer-encoding': 'chunked' }, body: text }],
    ['that the client asked to send', { headers: { expect: '100-continue' }, body: text }],
    ['with brackets in its texts', { body: { messages: [{ role: 'user', content: '[{'.repeat(1000) }] } }],
    [
      'with quotes and backslashes in its texts',
      { body: { messages: [{ role: 'user', content: '\\"[[{\\\\'.repeat(99) }] } },
    ],
    ['with a whole surrogate pair', { body: `{"messages":[{"role":"user","content":"\\ud83d\\ude00"}]}` }],
    [
      'with a tool argument named constructor',
      { body: { ...ask, tools: [{ type: 'function', function: { name: 'f', parameters: { constructor: {} } } }] } },
    ],
    ['as deep as is allowed', { body: nested(MAX_DEPTH) }],
  ])('%s is read', async (_name, sending) => {
    const served = await serve();
    expect((await send(served, path, sending)).status).toBe(200);
    expect(served.asked).toHaveLength(1);
  });

  it('without a type is taken for JSON', async () => {
    const served = await serve();
    const port = Number(new URL(served.url).port);
    const socket = connect(port, '127.0.0.1');
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
    );
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toContain('200 OK');
  });
});

const bomb = gzipSync(Buffer.alloc(50_000_000, ' '));

it('a body that was read is held by nobody, however long its request lives', async () => {
  const request = Object.assign(new EventEmitter(), { headers: {} });
  const principal = { name: 'ann', tier: 'default', models: [], admin: false };
  const read = async () => {
    const arriving = { arrive: () => () => {}, bodyLimitBytes: 1e6 };
    const bytes = readCallBytes(request as unknown as IncomingMessage, principal, arriving);
    request.emit('data', Buffer.alloc(900_000));
    request.emit('end');
    return new WeakRef(await bytes);
  };
  const reference = await read();
  setFlagsFromString('--expose-gc');
  await new Promise((resolve) => setTimeout(resolve, 10));
  runInNewContext('gc')();
  expect(reference.deref()).toBeUndefined();
  expect(request.listenerCount('data')).toBe(1);
});

describe('a bad body', () => {
  it.each<[number, string, string, Sending]>([
    [400, 'nothing', 'the body is empty', { method: 'POST' }],
    [400, 'half an object', 'not valid JSON', { body: '{"messages":' }],
    [400, 'a list', 'must be a JSON object, not a list', { body: '[]' }],
    [400, 'a text', 'must be a JSON object, not "hi"', { body: '"hi"' }],
    [400, 'null', 'must be a JSON object, not null', { body: 'null' }],
    [400, 'a raw NUL', 'not valid JSON', { body: '{"messages":[{"role":"user","content":"\0"}]}' }],
    [400, 'invalid UTF-8', 'not valid UTF-8', { body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]) }],
    [
      400,
      'half a surrogate pair',
      'messages[0].content: holds half',
      { body: '{"messages":[{"role":"user","content":"\\ud83d"}]}' },
    ],
    [400, 'half a pair in a key', 'half a surrogate pair', { body: '{"messages":[],"x":{"\\udc00":1}}' }],
    [400, '200,000 lists', 'nests deeper than 128', { body: '['.repeat(200_000) + ']'.repeat(200_000) }],
    [
      400,
      '100,000 objects',
      'nests deeper than 128',
      { body: `{"messages":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_001)}` },
    ],
    [400, 'one level too many', 'nests deeper than 128', { body: nested(MAX_DEPTH + 1) }],
    [400, '__proto__', '__proto__: is not allowed', { body: '{"messages":[],"__proto__":{"polluted":true}}' }],
    [400, '__proto__ further down', 'tools[0].__proto__', { body: '{"tools":[{"__proto__":{"a":1}}]}' }],
    [400, '__proto__ in disguise', '__proto__: is not allowed', { body: '{"\\u005f_proto__":{"polluted":true}}' }],
    [400, 'gzip that is none', 'cannot be decompressed', { headers: { 'content-encoding': 'gzip' }, body: 'x' }],
    [
      400,
      'half of gzip',
      'cannot be decompressed',
      { headers: { 'content-encoding': 'gzip' }, body: gzipSync(text).subarray(0, 20) },
    ],
    [413, 'a bomb', 'once decompressed', { headers: { 'content-encoding': 'gzip' }, body: bomb }],
    [413, 'too many bytes, announced', 'the body has 1000001 bytes', { body: Buffer.alloc(1_000_001) }],
    [
      413,
      'too many bytes in chunks',
      'more than 1000000 bytes',
      { headers: { 'transfer-encoding': 'chunked' }, body: Buffer.alloc(1_500_000) },
    ],
    [415, 'text', 'must be application/json', { headers: { 'content-type': 'text/plain' }, body: text }],
    [
      415,
      'a form',
      'must be application/json',
      { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: text },
    ],
    [
      415,
      'another charset',
      'in UTF-8',
      { headers: { 'content-type': 'application/json; charset=latin1' }, body: text },
    ],
    [
      415,
      'an unknown encoding',
      'must be one of gzip, deflate, br, zstd',
      { headers: { 'content-encoding': 'compress' }, body: text },
    ],
    [
      415,
      'an encoding named like a method of objects',
      'must be one of',
      { headers: { 'content-encoding': 'constructor' }, body: text },
    ],
  ])('is answered %i: %s', async (status, _name, says, sending) => {
    const served = await serve();
    const began = performance.now();
    const answer = await send(served, path, sending);
    expect(answer.status).toBe(status);
    expect(answer.json.error.message).toContain(says);
    expect(Object.keys(answer.json.error)).toEqual(['message', 'type', 'param', 'code', 'metadata']);
    expect(performance.now() - began).toBeLessThan(1000);
    expect(served.asked).toEqual([]);
    // One line, and nothing of the body in it.
    const lines = served.logged.map((line) => JSON.parse(line));
    expect(lines).toMatchObject([{ msg: 'refused', outcome: answer.json.error.metadata.reason }]);
    expect(Object.keys(lines[0])).not.toContain('error');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    if (status === 415) expect(answer.headers['accept-encoding']).toBe('gzip, deflate, br, zstd');
    expect((await send(served, path, { body: text })).status).toBe(200);
  });

  it('is answered in the native envelope at the native door', async () => {
    const { json, status } = await send(await serve(), '/completion', { body: { ...ask, temprature: 1 } });
    expect(status).toBe(400);
    expect(json).toMatchObject({
      error: 'invalid_request',
      message: 'temprature: is not a field of this request',
      details: { violations: [{ field: 'temprature', description: 'is not a field of this request' }] },
      provider: null,
      retry_after: null,
    });
  });
});

describe('a body that is too long', () => {
  it('is refused before it has come', async () => {
    const { url } = await serve();
    const request = httpRequest(url + path, {
      method: 'POST',
      agent: false,
      headers: { 'content-length': 100_000_000 },
    });
    request.on('error', () => {});
    request.write('{');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(413);
    request.destroy();
  });

  it('is refused over HTTP/2, too', async () => {
    const served = await serve({ http2: true });
    const { status, json } = await sendHttp2(served, path, { body: 'x'.repeat(2_000_000) });
    expect([status, json.error.code]).toEqual([413, 'request_too_large']);
  });

  it('is read to its end for a client that sends it whole before it listens', async () => {
    const { url } = await serve({ bodyLimitBytes: 1000 });
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    const size = 5_000_000;
    socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: ${size}\r\n\r\n`);
    await new Promise((resolve) => socket.write(Buffer.alloc(size), resolve));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toContain('413 Payload Too Large');
    socket.destroy();
  });

  it('ends the connection if it goes on for long', { timeout: 10_000 }, async () => {
    const { url } = await serve();
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: 900000000\r\n\r\n`);
    const began = performance.now();
    const drip = setInterval(() => socket.write('x'), 50);
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
    clearInterval(drip);
    expect(performance.now() - began).toBeLessThan(4000);
  });
});
