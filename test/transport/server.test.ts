import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import tls from 'node:tls';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { createServer, type RequestHandler, type Server, type ServerOptions } from '../../src/transport/server.ts';
import { connectTo, exchange, readAll, selfSigned } from './raw-client.ts';

const log = pino({ level: 'silent' });
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const open: Server[] = [];
const sessions: ClientHttp2Session[] = [];

afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  await Promise.all(open.splice(0).map((server) => server.close()));
});

/** Tells the method, the path and the HTTP version; `/slow` never answers, `/body` waits for the body. */
const tell: RequestHandler = (request, response) => {
  if (request.url === '/slow') return;
  const answer = () => response.end(`${request.method} ${request.url} over ${request.httpVersion}`);
  if (request.url === '/body') request.on('data', () => {}).on('end', answer);
  else answer();
};

async function serve(handler: RequestHandler = tell, more: Partial<ServerOptions> = {}) {
  const server = createServer({ host: '127.0.0.1', port: 0, handler, log, ...more });
  open.push(server);
  return { server, port: (await server.listen()).port };
}

function http2To(port: number, scheme = 'http'): ClientHttp2Session {
  const session = http2.connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  session.on('error', () => {});
  sessions.push(session);
  return session;
}

async function answerOf(stream: ClientHttp2Stream): Promise<{ status: number | undefined; text: string }> {
  let status: number | undefined;
  let text = '';
  stream.on('response', (headers) => {
    status = headers[':status'];
  });
  stream.on('data', (chunk) => {
    text += chunk;
  });
  stream.on('error', () => {});
  await once(stream, 'close');
  return { status, text };
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: gateway\r\n\r\n`;

describe('one port', () => {
  it('serves HTTP/1.1 and HTTP/2 in clear text', async () => {
    const { port } = await serve();

    const overHttp1 = await (await fetch(`http://127.0.0.1:${port}/a`)).text();
    const overHttp2 = await answerOf(http2To(port).request({ ':path': '/b' }));

    expect(overHttp1).toBe('GET /a over 1.1');
    expect(overHttp2).toEqual({ status: 200, text: 'GET /b over 2.0' });
  });

  it.each(['PUT', 'POST', 'PATCH', 'PROPFIND'])(
    'takes %s for HTTP/1, though it begins like the preface',
    async (method) => {
      const { port } = await serve();

      const answer = await exchange(
        port,
        `${method} /a HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`,
      );

      expect(answer).toContain(`${method} /a over 1.1`);
    },
  );

  it('knows the preface when it comes byte by byte', async () => {
    const { port } = await serve();
    const socket = connectTo(port);
    await once(socket, 'connect');
    socket.setNoDelay(true);

    for (const byte of preface) {
      socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }

    const [settings] = (await once(socket, 'data')) as [Buffer];
    expect(settings[3]).toBe(4); // a SETTINGS frame
    socket.destroy();
  });

  it('takes what only begins like the preface for HTTP/1', async () => {
    const { port } = await serve();
    const socket = connectTo(port);
    await once(socket, 'connect');
    socket.setNoDelay(true);

    for (const byte of 'PRI * HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n') {
      socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }

    expect(await readAll(socket)).toContain('HTTP/1.1 400 Bad Request');
  });

  it('answers several requests on one connection, pipelined too', async () => {
    const { port } = await serve();

    const answers = await exchange(port, `${get('/a')}${get('/b')}${get('/c')}`, '/c over 1.1');

    expect(answers.match(/GET \/. over/g)).toEqual(['GET /a over', 'GET /b over', 'GET /c over']);
  });

  it('serves HTTP/1.0', async () => {
    const { port } = await serve();

    const answer = await exchange(port, 'GET /a HTTP/1.0\r\n\r\n');

    expect(answer).toContain('GET /a over 1.0');
  });

  it('ignores an upgrade and serves the request', async () => {
    const { port } = await serve();

    const answer = await exchange(
      port,
      'GET /a HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n',
    );

    expect(answer).toContain('200 OK');
  });

  it('makes no tunnels, over HTTP/1 or HTTP/2', async () => {
    const { port } = await serve();

    const overHttp1 = await exchange(port, 'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n');
    const overHttp2 = await answerOf(
      http2To(port).request({ ':method': 'CONNECT', ':authority': 'example.com:443' }).end(),
    );

    expect(overHttp1).toContain('405 Method Not Allowed');
    expect(overHttp2.status).toBe(405);
  });

  it('answers 500 when a handler throws, and goes on', async () => {
    const { port } = await serve((request, response) => {
      if (request.url === '/bug') throw new Error('a bug');
      response.end('fine');
    });

    const broken = await fetch(`http://127.0.0.1:${port}/bug`);
    const next = await fetch(`http://127.0.0.1:${port}/`);

    expect(broken.status).toBe(500);
    expect(await broken.text()).not.toContain('a bug');
    expect(await next.text()).toBe('fine');
  });
});

describe('TLS', () => {
  it('serves HTTP/1.1 and HTTP/2 by ALPN', async () => {
    const { port } = await serve(tell, { tls: selfSigned() });

    const overHttp2 = await answerOf(http2To(port, 'https').request({ ':path': '/b' }));
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
    socket.write('GET /a HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n');
    const overHttp1 = await readAll(socket);

    expect(overHttp2.text).toBe('GET /b over 2.0');
    expect(overHttp1).toContain('GET /a over 1.1');
  });

  it('answers a stalled header with 408', async () => {
    const { port } = await serve(tell, { tls: selfSigned(), limits: { headerTimeoutMs: 100, requestTimeoutMs: 100 } });
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });

    socket.write('GET /a HTTP/1.1\r\nhost: gat');

    expect(await readAll(socket)).toContain('408 Request Timeout');
  });

  it('lets only clients with the right certificate in, where one is asked for', async () => {
    const ours = selfSigned();
    const client = selfSigned();
    const { port } = await serve(tell, { tls: { ...ours, clientCa: client.cert } });
    const request = (own: object) => {
      const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...own });
      socket.on('error', () => {});
      socket.write('GET /a HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n');
      return readAll(socket);
    };

    expect(await request(client)).toContain('GET /a over 1.1');
    expect(await request({})).toBe('');
    expect(await request(selfSigned())).toBe('');
  });
});

describe('patience', () => {
  // A server that is only fed connections never sweeps: a stalled header stayed open for ever.
  it('answers a stalled header with 408 and closes', async () => {
    const { port } = await serve(tell, { limits: { headerTimeoutMs: 100 } });

    const answer = await exchange(port, 'GET /a HTTP/1.1\r\nhost: gat');

    expect(answer).toContain('408 Request Timeout');
    expect(answer).toContain('connection: close');
  });

  it('answers a stalled body with 408 and closes', async () => {
    const { port } = await serve(tell, { limits: { headerTimeoutMs: 100, requestTimeoutMs: 150 } });

    const answer = await exchange(port, 'POST /body HTTP/1.1\r\nhost: gateway\r\ncontent-length: 10\r\n\r\nabc');

    expect(answer).toContain('408 Request Timeout');
  });

  it('does not hurry a request that came whole', async () => {
    const late: RequestHandler = (_request, response) => setTimeout(() => response.end('late'), 400);
    const { port } = await serve(late, { limits: { headerTimeoutMs: 100, requestTimeoutMs: 100, idleTimeoutMs: 100 } });

    const overHttp1 = await (await fetch(`http://127.0.0.1:${port}/`)).text();
    const overHttp2 = await answerOf(http2To(port).request());

    expect(overHttp1).toBe('late');
    expect(overHttp2.text).toBe('late');
  });

  it.each([
    ['nothing', ''],
    ['half a preface', preface.slice(0, 10)],
  ])('closes a connection that sends %s', async (_name, bytes) => {
    const { port } = await serve(tell, { limits: { firstByteTimeoutMs: 100 } });

    expect(await exchange(port, bytes)).toBe('');
  });

  it('closes a TLS connection whose handshake does not come', async () => {
    const { port } = await serve(tell, { tls: selfSigned(), limits: { firstByteTimeoutMs: 100 } });

    expect(await exchange(port, '')).toBe('');
  });

  it('closes a connection that waits too long for its next request', async () => {
    const { port } = await serve(tell, { limits: { idleTimeoutMs: 100 } });
    const session = http2To(port);
    await answerOf(session.request({ ':path': '/b' }));
    const goaway = once(session, 'goaway');

    const overHttp1 = await exchange(port, get('/a'));
    await goaway;

    expect(overHttp1).toContain('GET /a over 1.1');
    if (!session.closed) await once(session, 'close');
  });

  it('tells the client of an old HTTP/2 session to go, once what it has asked for is answered', async () => {
    let finish = () => {};
    const { port } = await serve(
      (_request, response) => {
        response.writeHead(200).write('begun');
        finish = () => response.end(', done');
      },
      { limits: { maxConnectionAgeMs: 100 } },
    );
    const session = http2To(port);
    const goaway = once(session, 'goaway');
    const answer = answerOf(session.request({ ':path': '/a' }));

    const [code] = await goaway;
    finish();

    expect(code).toBe(constants.NGHTTP2_NO_ERROR);
    expect(await answer).toEqual({ status: 200, text: 'begun, done' });
    if (!session.closed) await once(session, 'close');
  });

  it('closes an HTTP/2 session that asks for nothing', async () => {
    const { port } = await serve(tell, { limits: { headerTimeoutMs: 100 } });

    const answer = await exchange(port, preface);

    expect(answer).not.toContain('HTTP/1.1');
  });

  it('answers an HTTP/2 request whose body does not end with 408', async () => {
    const { port } = await serve(tell, { limits: { requestTimeoutMs: 100 } });
    const stream = http2To(port).request({ ':path': '/body', ':method': 'POST' });
    stream.write('abc');

    const { status, text } = await answerOf(stream);

    expect(status).toBe(408);
    expect(JSON.parse(text).error.message).toBe('the request did not arrive in time');
  });
});

describe('bad input', () => {
  const malformed: [string, string][] = [
    ['garbage', 'lorem ipsum dolor\r\n\r\n'],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n'],
    ['two content lengths', 'POST /a HTTP/1.1\r\nhost: g\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd'],
    [
      'a content length and chunks',
      'POST /a HTTP/1.1\r\nhost: g\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['chunked not last', 'POST /a HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
    ['a space before the colon', 'GET /a HTTP/1.1\r\nhost : g\r\n\r\n'],
    ['a folded header', 'GET /a HTTP/1.1\r\nhost: g\r\nx-a: b\r\n c\r\n\r\n'],
    ['bare line feeds', 'GET /a HTTP/1.1\nhost: g\n\n'],
    ['a NUL in a header', 'GET /a HTTP/1.1\r\nhost: g\r\nx-a: b\0c\r\n\r\n'],
    ['a negative length', 'POST /a HTTP/1.1\r\nhost: g\r\ncontent-length: -1\r\n\r\n'],
    ['a chunk size that is no number', 'POST /body HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n'],
  ];
  it.each(malformed)('answers %s with 400, once, and closes', async (_name, bytes) => {
    const { port } = await serve();

    const answer = await exchange(port, bytes);

    expect(answer.match(/HTTP\/1\.1 (\d+)/g)).toEqual(['HTTP/1.1 400']);
    expect(answer.toLowerCase()).toContain('connection: close');
  });

  it('answers a missing host with 400', async () => {
    const { port } = await serve();

    expect(await exchange(port, 'GET /a HTTP/1.1\r\n\r\n')).toContain('HTTP/1.1 400');
  });

  it('answers headers above 16 KiB with 431', async () => {
    const { port } = await serve();

    const answer = await exchange(port, `GET /a HTTP/1.1\r\nhost: g\r\nx-long: ${'a'.repeat(20_000)}\r\n\r\n`);

    expect(answer).toContain('431 Request Header Fields Too Large');
    expect(JSON.parse(answer.slice(answer.indexOf('{'))).error.type).toBe('invalid_request_error');
  });

  it('answers with 431 while the client is still writing', async () => {
    const { port } = await serve();

    const answer = await exchange(port, `GET /a HTTP/1.1\r\nhost: g\r\nx-long: ${'a'.repeat(4_000_000)}\r\n\r\n`);

    expect(answer.match(/HTTP\/1\.1 (\d+)/g)).toEqual(['HTTP/1.1 431']);
  });

  it('answers an HTTP/2 request with headers above 16 KiB with 431', async () => {
    const { port } = await serve();
    const session = http2.connect(`http://127.0.0.1:${port}`, { settings: {} });
    sessions.push(session);
    session.on('error', () => {});
    const long = session.request({ ':path': '/long', 'x-long': 'a'.repeat(20_000) });

    const refused = await answerOf(long);
    const next = await answerOf(session.request({ ':path': '/a' }));

    expect(refused.status).toBe(431);
    expect(next.text).toBe('GET /a over 2.0');
  });

  it('never answers a request with the refusal of the one behind it', async () => {
    const { port } = await serve();

    const answer = await exchange(port, `${get('/slow')}garbage\r\n\r\n`);

    expect(answer).toBe('');
  });

  it('allows 100 requests at once on an HTTP/2 connection', async () => {
    const { port } = await serve();
    const session = http2To(port);

    await once(session, 'remoteSettings');

    expect(session.remoteSettings.maxConcurrentStreams).toBe(100);
    expect(session.remoteSettings.maxHeaderListSize).toBe(16_384);
  });

  it('ends a session that resets stream after stream', async () => {
    let served = 0;
    const { port } = await serve(() => {
      served += 1;
    });
    const session = http2To(port);
    await once(session, 'remoteSettings');
    const goaway = once(session, 'goaway');

    for (let count = 0; count < 5_000 && !session.closed; count += 1) {
      const stream = session.request({ ':path': '/slow' });
      stream.on('error', () => {});
      stream.close(constants.NGHTTP2_CANCEL);
      if (count % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }

    const [code] = await goaway;
    expect(code).not.toBe(constants.NGHTTP2_NO_ERROR);
    expect(served).toBeLessThan(1_500);
  });

  it('ends a session when the client has sent its FIN', async () => {
    const { port } = await serve();
    const socket = connectTo(port, preface);
    await once(socket, 'data');
    socket.end();

    await once(socket, 'close');
  });
});

describe('drain', () => {
  it('closes idle connections at once and accepts no new ones', async () => {
    const { server, port } = await serve();
    const idle = connectTo(port, get('/a'));
    await readAll(idle, '/a over 1.1');
    const unused = connectTo(port);
    await once(unused, 'connect');
    const session = http2To(port);
    await answerOf(session.request({ ':path': '/b' }));

    const closed = [once(idle, 'close'), once(unused, 'close'), once(session, 'close')];
    await server.drain(10_000);

    await Promise.all(closed);
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
  });

  it('lets answers in flight finish, with `connection: close` and GOAWAY', async () => {
    const finish: (() => void)[] = [];
    const { server, port } = await serve((request, response) => {
      if (request.url === '/stream') response.write('first ');
      finish.push(() => response.end('last'));
    });
    const unary = readAll(connectTo(port, get('/unary')));
    const streamed = readAll(connectTo(port, get('/stream')));
    const session = http2To(port);
    const goaway = once(session, 'goaway');
    const overHttp2 = answerOf(session.request({ ':path': '/stream' }));
    await until(() => finish.length === 3);

    const drained = server.drain(10_000);
    await goaway;
    for (const end of finish) end();
    await drained;

    expect((await unary).toLowerCase()).toContain('connection: close');
    expect(await streamed).toContain('last');
    expect((await overHttp2).text).toBe('first last');
  });

  it('sends an answer whole that a slow client had not yet read', async () => {
    const size = 8_000_000;
    const { server, port } = await serve((_request, response) => response.end(Buffer.alloc(size, 'x')));
    const socket = connectTo(port, get('/'));
    await once(socket, 'connect');
    socket.pause();
    await until(() => socket.bytesWritten > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));

    const drained = server.drain(10_000);
    const text = readAll(socket);
    socket.resume();
    await drained;

    expect((await text).length).toBeGreaterThan(size);
  });

  it('cuts what has not finished in time', async () => {
    const { server, port } = await serve();
    const slow = readAll(connectTo(port, get('/slow')));
    const stream = http2To(port).request({ ':path': '/slow' });
    const overHttp2 = answerOf(stream);
    await once(stream, 'ready');

    await server.drain(100);

    expect(await slow).toBe('');
    expect((await overHttp2).status).toBeUndefined();
  });

  it('leaves no timer and no socket behind', async () => {
    const before = resources();
    const { server, port } = await serve();
    await exchange(port, get('/a'), 'over 1.1');
    await exchange(port, 'garbage\r\n\r\n');
    const session = http2To(port);
    await answerOf(session.request({ ':path': '/b' }));
    connectTo(port);

    await server.close();
    session.destroy();
    await until(() => resources().length <= before.length);

    // What was there before may have gone meanwhile.
    const left = resources();
    for (const name of before) if (left.includes(name)) left.splice(left.indexOf(name), 1);
    expect(left).toEqual([]);
  });
});

/** Timers and sockets that are alive; the test runner's own are there before. */
function resources(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((name) => /Timeout|TCP|HTTP/.test(name))
    .sort();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
