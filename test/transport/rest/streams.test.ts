import { once } from 'node:events';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { FinishReason } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { choiceFinished, finished, heartbeat, reasoningDelta, started, textDelta } from '../../../src/completion.ts';
import { GatewayError } from '../../../src/errors.ts';
import { beginning, frames, hello, type Script, sampleUsage, send, serve } from './serve.ts';

const body = { messages: [{ role: 'user', content: 'hi' }], stream: true };
const doors = ['/v1/chat/completions', '/completion'];

/** A promise and the functions that settle it. */
function signalled() {
  return Promise.withResolvers<void>();
}

/** A gateway that says a little, then waits for the caller to leave, and tells when it has been closed. */
function waiting(before: 'nothing' | 'some text') {
  const begun = signalled();
  const closed = signalled();
  const complete: Script = async function* (_request, { signal }) {
    try {
      if (before === 'some text') {
        yield started('m', beginning);
        yield textDelta(0, 0, 'some');
      }
      begun.resolve();
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    } finally {
      closed.resolve();
    }
  };
  return { complete, begun: begun.promise, closed: closed.promise };
}

/** A gateway that talks without end, and counts what it was asked for. */
function endless() {
  const closed = signalled();
  const count = { yielded: 0 };
  const complete: Script = async function* () {
    try {
      yield started('m', beginning);
      for (;;) {
        count.yielded++;
        yield textDelta(0, 0, 'x'.repeat(10_000));
      }
    } finally {
      closed.resolve();
    }
  };
  return { complete, count, closed: closed.promise };
}

function open(url: string, path: string, sent: object = body): ClientRequest {
  const request = httpRequest(url + path, { method: 'POST', agent: false });
  request.on('error', () => {});
  request.end(JSON.stringify(sent));
  return request;
}

async function responseOf(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.on('error', () => {});
  return response;
}

describe('headers of a stream', () => {
  it.each(doors)('wait for the first event, so that %s answers an early failure with its status', async (path) => {
    const complete: Script = async function* () {
      yield await Promise.reject(
        new GatewayError('provider_rate_limited', 'slow down', { provider: 'groq', retryAfterMs: 1200 }),
      );
    };
    const { status, headers, json } = await send(await serve({ complete }), path, { body });
    expect(status).toBe(429);
    expect(headers).toMatchObject({ 'retry-after': '2', 'retry-after-ms': '1200', 'content-type': 'application/json' });
    expect(json.error.code ?? json.error).toBe(
      path === '/completion' ? 'provider_rate_limited' : 'provider_rate_limit',
    );
  });

  it.each(doors)('come with a heartbeat before it, without a provider, on %s', async (path) => {
    const complete: Script = async function* (request, context) {
      yield heartbeat;
      yield* hello(request, context);
      yield heartbeat;
    };
    const { text, headers, status } = await send(await serve({ complete }), path, { body });
    expect([status, headers['x-selected-provider']]).toEqual([200, undefined]);
    expect(text.startsWith(': ping\n\ndata: ')).toBe(true);
    expect(frames(text).length).toBeGreaterThan(2);
  });

  it('tell the time to the first byte', async () => {
    const { headers } = await send(await serve(), '/v1/chat/completions', { body });
    expect(Number(headers['x-process-time'])).toBeGreaterThan(0);
  });
});

describe('a failure after the headers', () => {
  const failing = (error: Error): Script =>
    async function* () {
      yield started('m', beginning);
      yield textDelta(0, 0, 'some');
      yield choiceFinished(0, FinishReason.STOP);
      throw error;
    };
  const error = new GatewayError('provider_unavailable', 'groq closed the connection', { provider: 'groq' });

  it('is one error frame, without finish and without [DONE]', async () => {
    const { text, status } = await send(await serve({ complete: failing(error) }), '/v1/chat/completions', { body });
    const [delta, failure, ...more] = frames(text);
    expect(status).toBe(200);
    expect(delta.choices[0].delta.content).toBe('some');
    expect(failure).toMatchObject({
      error: { message: error.message, type: 'api_error', param: null, code: 'upstream_unavailable' },
    });
    expect(more).toEqual([]);
    expect(text).not.toContain('"finish_reason":"');
  });

  it('is the last event of the native shape', async () => {
    const { text } = await send(await serve({ complete: failing(error) }), '/completion', { body });
    expect(frames(text).at(-1)).toMatchObject({ error: 'provider_unavailable', provider: 'groq', done: true });
    expect(frames(text)).toHaveLength(2);
  });

  it.each(doors)('tells nothing of what it did not expect, on %s', async (path) => {
    const served = await serve({ complete: failing(new TypeError('secret detail')) });
    const { text } = await send(served, path, { body });
    expect(text).toContain('internal');
    expect(text).not.toContain('secret detail');
  });

  it.each(doors)('stands also where the events end before they are finished, on %s', async (path) => {
    const complete: Script = async function* () {
      yield started('m', beginning);
      yield textDelta(0, 0, 'some');
    };
    const { text } = await send(await serve({ complete }), path, { body });
    expect(text).not.toContain('[DONE]');
    expect(JSON.stringify(frames(text).at(-1))).toContain('provider_protocol');
  });
});

describe('a caller who leaves', () => {
  it.each(doors)('before the first event ends the call, on %s', async (path) => {
    const { complete, begun, closed } = waiting('nothing');
    const request = open((await serve({ complete })).url, path);
    await begun;
    request.destroy();
    await closed;
  });

  it.each(doors)('in the middle of a stream ends the call, on %s', async (path) => {
    const { complete, closed } = waiting('some text');
    const request = open((await serve({ complete })).url, path);
    await once(await responseOf(request), 'data');
    request.destroy();
    await closed;
  });

  it.each(doors)('during a unary call ends the call, on %s', async (path) => {
    const { complete, begun, closed } = waiting('some text');
    const served = await serve({ complete });
    const request = open(served.url, path, { ...body, stream: false });
    await begun;
    request.destroy();
    await closed;
    expect(served.asked[0]?.context.signal.reason).toMatchObject({ reason: 'cancelled' });
    expect(served.logged).toEqual([]);
  });

  it('without having read ends the call', async () => {
    const { complete, closed } = endless();
    const request = open((await serve({ complete })).url, '/v1/chat/completions');
    const response = await responseOf(request);
    response.pause();
    request.destroy();
    await closed;
  });

  it('by resetting a stream of HTTP/2 ends the call, also when it was not read', async () => {
    const { complete, closed } = endless();
    const { stream } = await openHttp2((await serve({ complete, http2: true })).url);
    await once(stream, 'response');
    stream.close(8);
    await closed;
  });

  it('is no failure, and nothing is logged', async () => {
    const { complete, closed } = waiting('some text');
    const served = await serve({ complete });
    const request = open(served.url, '/v1/chat/completions');
    await responseOf(request);
    request.destroy();
    await closed;
    await new Promise((resolve) => setImmediate(resolve));
    expect(served.logged).toEqual([]);
  });

  it('while the body comes starts no call', async () => {
    const served = await serve();
    const request = httpRequest(`${served.url}/completion`, { method: 'POST', agent: false });
    request.on('error', () => {});
    request.write('{"messages":');
    await once(request, 'socket');
    await new Promise((resolve) => setTimeout(resolve, 20));
    request.destroy();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(served.asked).toEqual([]);
    expect(served.logged.map((line) => JSON.parse(line))).toMatchObject([{ outcome: 'cancelled', msg: 'refused' }]);
  });
});

async function openHttp2(url: string): Promise<{ stream: ClientHttp2Stream }> {
  const session = connectHttp2(url);
  onTestFinished(() => session.destroy());
  const stream = session.request({ ':path': '/v1/chat/completions', ':method': 'POST' });
  stream.on('error', () => {});
  stream.end(JSON.stringify(body));
  return { stream };
}

describe('a caller who does not read', () => {
  it.each(['HTTP/1', 'HTTP/2'])('stops the events, over %s', async (version) => {
    const { complete, count } = endless();
    const { url } = await serve({ complete, http2: version === 'HTTP/2' });
    if (version === 'HTTP/1') (await responseOf(open(url, '/v1/chat/completions'))).pause();
    else await once((await openHttp2(url)).stream, 'response');
    await settled(() => count.yielded);
    // Socket buffers take a few megabytes at most: 10 kB each, and then it stands.
    expect(count.yielded).toBeLessThan(2000);
  });

  it('and reads on later gets the rest', async () => {
    const texts = Array.from({ length: 2000 }, (_, index) => `${index}:${'y'.repeat(5000)}`);
    const complete: Script = async function* () {
      yield started('m', beginning);
      for (const text of texts) yield textDelta(0, 0, text);
      yield choiceFinished(0, FinishReason.STOP);
      yield finished(sampleUsage);
    };
    const response = await responseOf(open((await serve({ complete })).url, '/v1/chat/completions'));
    response.pause();
    await new Promise((resolve) => setTimeout(resolve, 30));
    let text = '';
    response.on('data', (chunk) => {
      text += chunk;
    });
    response.resume();
    await once(response, 'end');
    const told = frames(text).map((frame) => frame.choices?.[0].delta.content ?? '');
    expect(told.join('')).toBe(texts.join(''));
  });

  it.each(['HTTP/1', 'HTTP/2'])('is cut after the allowed time, over %s', async (version) => {
    const { complete, closed } = endless();
    const { url } = await serve({ complete, writeStallMs: 50, http2: version === 'HTTP/2' });
    if (version === 'HTTP/1') (await responseOf(open(url, '/v1/chat/completions'))).pause();
    else await once((await openHttp2(url)).stream, 'response');
    await closed;
  });

  it('the end of a whole answer is cut, too', async () => {
    const complete: Script = async function* () {
      yield started('m', beginning);
      yield textDelta(0, 0, 'z'.repeat(30_000_000));
      yield choiceFinished(0, FinishReason.STOP);
      yield finished(sampleUsage);
    };
    const { url } = await serve({ complete, writeStallMs: 50 });
    const response = await responseOf(open(url, '/v1/chat/completions', { ...body, stream: false }));
    await new Promise((resolve) => setTimeout(resolve, 200));
    response.resume();
    await new Promise((resolve) => response.once('close', resolve));
    expect(response.complete).toBe(false);
  });
});

/** Resolves once a number has stopped growing. */
async function settled(read: () => number): Promise<void> {
  for (let before = -1; before !== read(); ) {
    before = read();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('frames', () => {
  it('that come together share a piece at the OpenAI door, and none at the native one', async () => {
    const { url } = await serve({ complete: burst });
    // One HTTP chunk is one piece to readers such as Python's httpx, which may take each piece for one event.
    const pieces: Record<string, number> = {};
    for (const path of doors) {
      const lines = (await rawAnswer(url, path)).split('\r\n');
      pieces[path] = lines.filter((line) => /^[0-9a-f]+$/.test(line) && line !== '0').length;
    }
    expect(pieces['/v1/chat/completions']).toBeLessThan(5);
    expect(pieces['/completion']).toBeGreaterThan(90);
  });

  it('of the native shape are one for each delta, and one at the end', async () => {
    const complete: Script = async function* () {
      yield started('gpt-oss', beginning);
      yield reasoningDelta(0, 0, 'hm');
      yield textDelta(0, 1, 'Hel');
      yield textDelta(0, 1, 'lo');
      yield choiceFinished(0, FinishReason.LENGTH);
      yield finished(sampleUsage);
    };
    const { text } = await send(await serve({ complete }), '/completion', { body });
    const common = { object: 'chat.completion.chunk', provider: 'groq', model: 'gpt-oss' };
    expect(frames(text)).toEqual([
      { id: 'chunk_1', content: '', reasoning_content: 'hm', ...common },
      { id: 'chunk_2', content: 'Hel', ...common },
      { id: 'chunk_3', content: 'lo', ...common },
      {
        done: true,
        finish_reason: 'length',
        usage: {
          prompt_tokens: 3,
          completion_tokens: 2,
          total_tokens: 5,
          prompt_cost: null,
          completion_cost: null,
          total_cost: null,
        },
        request_id: expect.any(String),
        response_time: expect.any(Number),
      },
    ]);
  });
});

/** All that a connection brings for one streamed call, framing included. */
async function rawAnswer(url: string, path: string): Promise<string> {
  const text = JSON.stringify(body);
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
  );
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'end');
  return Buffer.concat(chunks).toString('latin1');
}

const burst: Script = async function* () {
  yield started('m', beginning);
  for (let index = 0; index < 100; index++) yield textDelta(0, 0, 'word');
  yield choiceFinished(0, FinishReason.STOP);
  yield finished(sampleUsage);
};
