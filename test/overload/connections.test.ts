import { once } from 'node:events';
import http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { networkFault } from '../../src/providers/network-fault.ts';
import { connectionLimit } from '../../src/transport/file-descriptors.ts';
import { tellTrouble } from '../../src/transport/listener-trouble.ts';
import { createServer, type RequestHandler, type Server } from '../../src/transport/server.ts';
import type { ServerLimits } from '../../src/transport/server-limits.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.close();
});

/** Answers at once; `/long` begins at once and ends when it is told to. */
async function serve(limits: Partial<ServerLimits>) {
  const lines: { msg: string }[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const handler: RequestHandler = (request, response) => {
    if (request.url !== '/long') return void response.end('hello');
    response.write('hel');
    held.then(() => response.end('lo'));
  };
  const server: Server = createServer({ host: '127.0.0.1', port: 0, handler, limits, log });
  open.push(server);
  const { port } = await server.listen();
  return { port, release, lines };
}

function http2To(port: number) {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  open.push({ close: () => session.destroy() });
  const ask = async (path: string) => {
    const stream = session.request({ ':path': path });
    let text = '';
    stream.on('data', (chunk) => {
      text += chunk;
    });
    stream.on('error', () => {});
    await once(stream, 'close');
    return text;
  };
  return { session, ask };
}

function rawTo(port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  open.push({ close: () => socket.destroy() });
  return socket;
}

async function answerOn(socket: Socket): Promise<string> {
  socket.write('GET / HTTP/1.1\r\nhost: gateway\r\n\r\n');
  const [bytes] = await once(socket, 'data');
  return String(bytes);
}

describe('the age of a connection', () => {
  it('over HTTP/2 is told by GOAWAY; what is under way is answered, and nothing new begins', async () => {
    const { port, release } = await serve({ maxConnectionAgeMs: 100 });
    const { session, ask } = http2To(port);
    const goaway = once(session, 'goaway');
    const long = ask('/long');
    expect(await ask('/')).toBe('hello');
    const [code, last] = await goaway;
    expect([code, last]).toEqual([http2.constants.NGHTTP2_NO_ERROR, 3]);
    await pause(30);
    expect(session.destroyed).toBe(false);
    const closed = once(session, 'close');
    release();
    expect(await long).toBe('hello');
    await closed;
    expect(await http2To(port).ask('/')).toBe('hello');
  });

  it('over HTTP/1.1 is told with an answer, after which the connection is closed', async () => {
    const { port } = await serve({ maxConnectionAgeMs: 100 });
    const socket = rawTo(port);
    expect(await answerOn(socket)).toMatch(/^connection: keep-alive/im);
    await pause(120);
    const ended = once(socket, 'end');
    expect(await answerOn(socket)).toMatch(/^connection: close/im);
    await ended;
  });

  it('is of no matter where there is none', async () => {
    const { port } = await serve({ maxConnectionAgeMs: 0 });
    const { session, ask } = http2To(port);
    let isTold = false;
    session.on('goaway', () => {
      isTold = true;
    });
    const socket = rawTo(port);
    await Promise.all([ask('/'), answerOn(socket)]);
    await pause(30);
    expect(await answerOn(socket)).toMatch(/^connection: keep-alive/im);
    expect([await ask('/'), isTold]).toEqual(['hello', false]);
  });

  it('differs from one connection to the next', async () => {
    const { port } = await serve({ maxConnectionAgeMs: 200 });
    const began = performance.now();
    const ages = await Promise.all(
      Array.from({ length: 20 }, async () => {
        await once(http2To(port).session, 'goaway');
        return performance.now() - began;
      }),
    );
    expect(Math.min(...ages)).toBeGreaterThan(170);
    expect(Math.max(...ages) - Math.min(...ages)).toBeGreaterThan(10);
  });
});

describe('too many connections', () => {
  it('are closed as they come, the others are served, and the log is told once', async () => {
    const { port, lines } = await serve({ maxConnections: 3 });
    const first = [0, 1, 2].map(() => rawTo(port));
    for (const socket of first) expect(await answerOn(socket)).toContain('hello');
    await Promise.all(Array.from({ length: 20 }, () => once(rawTo(port), 'close')));
    expect(await answerOn(first[0] as Socket)).toContain('hello');
    first[1]?.destroy();
    await pause(20);
    expect(await answerOn(rawTo(port))).toContain('hello');
    expect(lines.map(({ msg }) => msg)).toEqual(['connections were closed: there are too many']);
  });

  it.each([
    ['Max open files            256                  256                  files', 96],
    ['Max open files            1048576              1048576              files', 524256],
    ['Max open files            20                   4096                 files', 16],
    ['Max open files            unlimited            unlimited            files', Number.POSITIVE_INFINITY],
    ['', Number.POSITIVE_INFINITY],
  ])('are as many as leave descriptors for calls to providers: %s', (limits, most) => {
    expect(connectionLimit(`Max cpu time unlimited unlimited seconds\n${limits}\nMax locked memory 1 1 bytes`)).toBe(
      most,
    );
  });

  it('leave no mark on a provider to which none can be opened', () => {
    for (const code of ['EMFILE', 'ENFILE', 'EADDRNOTAVAIL']) {
      const error = networkFault('groq', Object.assign(new Error('connect'), { code }), false);
      expect(error).toMatchObject({ reason: 'overloaded', retryAfterMs: 1000, row: { blames: 'no', elsewhere: 'no' } });
    }
  });

  it('of a listener that fails are told to the log now and then', () => {
    const lines: unknown[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
    const trouble = tellTrouble(log);
    for (let times = 0; times < 100; times++) trouble.failed(new Error('accept EMFILE'));
    expect(lines.length).toBe(1);
  });
});
