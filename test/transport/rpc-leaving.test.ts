import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import { create, toBinary, toJsonString } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import pino from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService, StreamCompletionRequestSchema } from '../../gen/llmgateway/v1/completion_service_pb.ts';
import { choiceFinished, finished, started, textDelta } from '../../src/completion.ts';
import type { GatewayError } from '../../src/errors.ts';
import type { Gateway } from '../../src/gateway.ts';
import type { StopSignal } from '../../src/stop.ts';
import type { Server } from '../../src/transport/server.ts';
import { connectTo } from './raw-client.ts';
import { clientOf, protocols, scriptedGateway, serveGateway } from './scripted-gateway.ts';

const open: Server[] = [];
const sessions: ClientHttp2Session[] = [];
afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  await Promise.all(open.splice(0).map((server) => server.close()));
});

async function serve(...options: Parameters<typeof serveGateway>) {
  const served = await serveGateway(...options);
  open.push(served.server);
  return served;
}

async function until(condition: () => boolean, withinMs = 5_000): Promise<number> {
  const began = performance.now();
  while (!condition()) {
    if (performance.now() - began > withinMs) throw new Error(`not within ${withinMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return performance.now() - began;
}

/** Counts calls that began and that ran their `finally`, and keeps what they were told. */
function counting(script: (tally: Tally) => Gateway['complete']): Gateway & { tally: Tally } {
  const tally: Tally = { begun: 0, ended: 0, yielded: 0, reasons: [] };
  const inner = script(tally);
  const complete: Gateway['complete'] = async function* (request, context) {
    tally.begun += 1;
    context.signal.addEventListener('abort', () => tally.reasons.push(context.signal.reason as GatewayError));
    try {
      yield* inner(request, context);
    } finally {
      tally.ended += 1;
    }
  };
  return { ...scriptedGateway({ complete }), tally };
}

interface Tally {
  begun: number;
  ended: number;
  yielded: number;
  reasons: GatewayError[];
}

/** Never stops by itself, and never waits for anything but its reader. */
const endless = (tally: Tally): Gateway['complete'] =>
  async function* () {
    yield started('small', { provider: 'first' });
    for (;;) {
      tally.yielded += 1;
      yield textDelta(0, 0, 'x'.repeat(10_000));
    }
  };

function stopped(signal: StopSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', resolve);
  });
}

/** Says nothing until its caller leaves. */
const silentCall = (): Gateway['complete'] =>
  // biome-ignore lint/correctness/useYield: it fails before it yields
  async function* (_request, { signal }) {
    await stopped(signal);
    throw signal.reason;
  };

/** Begins, and then says nothing more until its caller leaves. */
const stalling = (): Gateway['complete'] =>
  async function* (_request, { signal }) {
    yield started('small', { provider: 'first' });
    yield textDelta(0, 0, 'Hel');
    await stopped(signal);
    throw signal.reason;
  };

const question = toBinary(StreamCompletionRequestSchema, create(StreamCompletionRequestSchema, { request: {} }));

function sessionTo(port: number): ClientHttp2Session {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  sessions.push(session);
  return session;
}

/** A gRPC stream whose answer nobody reads. */
function unreadStream(session: ClientHttp2Session): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/llmgateway.v1.CompletionService/StreamCompletion',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  const envelope = Buffer.alloc(5 + question.length);
  envelope.writeUInt32BE(question.length, 1);
  envelope.set(question, 5);
  stream.end(envelope);
  return stream;
}

/** A Connect stream over HTTP/1 whose answer nobody reads. */
function unreadConnection(port: number) {
  const json = toJsonString(StreamCompletionRequestSchema, create(StreamCompletionRequestSchema, { request: {} }));
  const head =
    'POST /llmgateway.v1.CompletionService/StreamCompletion HTTP/1.1\r\nhost: g\r\ncontent-type: application/connect+json\r\n';
  const envelope = Buffer.alloc(5);
  envelope.writeUInt32BE(json.length, 1);
  const socket = connectTo(
    port,
    Buffer.concat([Buffer.from(`${head}content-length: ${5 + json.length}\r\n\r\n`), envelope, Buffer.from(json)]),
  );
  socket.pause();
  return socket;
}

/** Waits until nothing more is asked of the generators: all of them are blocked by their readers. */
async function blocked(tally: Tally): Promise<void> {
  let before = -1;
  while (tally.yielded !== before) {
    before = tally.yielded;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('a caller who leaves', () => {
  // Reset while it was blocked by flow control, a stream was never resumed: no `finally` ran, for ever.
  it('by resetting streams that are blocked by flow control ends their calls', async () => {
    const gateway = counting(endless);
    const { port } = await serve(gateway);
    const session = sessionTo(port);
    const streams = Array.from({ length: 25 }, () => unreadStream(session));
    await until(() => gateway.tally.begun === 25);
    await blocked(gateway.tally);

    for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);

    expect(await until(() => gateway.tally.ended === 25)).toBeLessThan(250);
    expect(gateway.tally.reasons.map(({ reason }) => reason)).toEqual(Array(25).fill('cancelled'));
  });

  it('by closing the connection under blocked streams ends their calls', async () => {
    const gateway = counting(endless);
    const { port } = await serve(gateway);
    const session = sessionTo(port);
    for (let count = 0; count < 25; count += 1) unreadStream(session);
    await until(() => gateway.tally.begun === 25);
    await blocked(gateway.tally);

    session.destroy();

    expect(await until(() => gateway.tally.ended === 25)).toBeLessThan(250);
  });

  it('by closing connections of HTTP/1 that are blocked ends their calls', async () => {
    const gateway = counting(endless);
    const { port } = await serve(gateway);
    const sockets = Array.from({ length: 5 }, () => unreadConnection(port));
    await until(() => gateway.tally.begun === 5);
    await blocked(gateway.tally);

    for (const socket of sockets) socket.destroy();

    expect(await until(() => gateway.tally.ended === 5)).toBeLessThan(250);
  });

  describe.each(protocols)('by %s', (_name, transportTo) => {
    it('before the first event ends the call', async () => {
      const gateway = counting(silentCall);
      const { base } = await serve(gateway);
      const client = clientOf(CompletionService, transportTo(base));
      const leaving = new AbortController();
      const unary = client.createCompletion({}, { signal: leaving.signal }).catch((error: unknown) => error);
      const streamed = client
        .streamCompletion({}, { signal: leaving.signal })
        [Symbol.asyncIterator]()
        .next()
        .catch((error: unknown) => error);
      await until(() => gateway.tally.begun === 2);

      leaving.abort();

      expect(await until(() => gateway.tally.ended === 2)).toBeLessThan(250);
      expect(gateway.tally.reasons.map(({ reason }) => reason)).toEqual(['cancelled', 'cancelled']);
      for (const error of [await unary, await streamed]) expect(ConnectError.from(error).code).toBe(Code.Canceled);
    });

    it('in the middle of a stream ends the call', async () => {
      const gateway = counting(stalling);
      const { base } = await serve(gateway);
      const leaving = new AbortController();
      const stream = clientOf(CompletionService, transportTo(base)).streamCompletion({}, { signal: leaving.signal });
      const events = stream[Symbol.asyncIterator]();
      await events.next();
      await events.next();

      leaving.abort();

      expect(await until(() => gateway.tally.ended === 1)).toBeLessThan(250);
      await events.next().catch(() => {});
    });

    it('is nobody when the answer was taken whole', async () => {
      const gateway = counting(
        () =>
          async function* () {
            yield started('small', { provider: 'first' });
            yield choiceFinished(0, FinishReason.STOP);
            yield finished(undefined);
          },
      );
      const { base, server } = await serve(gateway);
      const client = clientOf(CompletionService, transportTo(base));
      for (let count = 0; count < 5; count += 1) {
        await client.createCompletion({});
        for await (const _ of client.streamCompletion({}));
      }

      await server.close();

      expect(gateway.tally).toMatchObject({ begun: 10, ended: 10, reasons: [] });
    });
  });

  it('before the request is whole leaves no trace in the log', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
    const gateway = counting(silentCall);
    const { port } = await serve(gateway, { log, server: { log } });
    const path = '/llmgateway.v1.CompletionService/StreamCompletion';
    const head = `POST ${path} HTTP/1.1\r\nhost: g\r\ncontent-type: application/connect+json\r\ncontent-length: 100\r\n\r\n`;
    const socket = connectTo(port, `${head}\0\0`);
    const stream = sessionTo(port).request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc' });
    stream.on('error', () => {});
    stream.write('\0\0');
    await new Promise((resolve) => setTimeout(resolve, 50));

    stream.close(constants.NGHTTP2_CANCEL);
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));

    expect(lines).toEqual([]);
    expect(gateway.tally.begun).toBe(0);
  });

  it('leaves no timer, listener or socket behind, however often', async () => {
    const gateway = counting(stalling);
    const { port, base } = await serve(gateway);
    const session = sessionTo(port);
    for (let round = 0; round < 10; round += 1) {
      const streams = Array.from({ length: 30 }, () => unreadStream(session));
      await until(() => gateway.tally.begun === (round + 1) * 30);
      for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
      await until(() => gateway.tally.ended === gateway.tally.begun);
    }
    session.destroy();

    await until(() => resources() === 'TCPServerWrap');
    expect(gateway.tally.reasons).toHaveLength(300);
    expect((await fetch(`${base}/llmgateway.v1.HealthService/GetHealth?encoding=json&message={}`)).status).toBe(200);
  });
});

describe('a caller who stops reading', () => {
  it('is cut after the allowed time over HTTP/2, and the call is left', async () => {
    const gateway = counting(endless);
    const { port } = await serve(gateway, { writeStallMs: 200 });
    const stream = unreadStream(sessionTo(port));
    const closed = once(stream, 'close');

    await until(() => gateway.tally.ended === 1);

    expect(gateway.tally.reasons.map(({ reason }) => reason)).toEqual(['cancelled']);
    stream.resume();
    await closed;
    expect(stream.rstCode).toBe(constants.NGHTTP2_CANCEL);
  });

  it('is cut after the allowed time over HTTP/1, and the call is left', async () => {
    const gateway = counting(endless);
    const { port } = await serve(gateway, { writeStallMs: 200 });
    const socket = unreadConnection(port);
    const closed = once(socket, 'close');

    await until(() => gateway.tally.ended === 1);

    socket.resume();
    await closed;
  });

  it('is not cut while he reads, however slowly', async () => {
    const gateway = counting(endless);
    const { port } = await serve(gateway, { writeStallMs: 200 });
    const stream = unreadStream(sessionTo(port));
    let bytes = 0;
    stream.on('readable', () => {});

    for (let count = 0; count < 8; count += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      for (let chunk = stream.read(); chunk !== null; chunk = stream.read()) bytes += chunk.length;
    }

    expect(gateway.tally.ended).toBe(0);
    expect(bytes).toBeGreaterThan(200_000);
  });

  it('keeps the gateway from reading on', async () => {
    const gateway = counting(endless);
    const { port } = await serve(gateway);
    unreadStream(sessionTo(port));
    await until(() => gateway.tally.begun === 1);

    await blocked(gateway.tally);

    expect(gateway.tally.yielded).toBeLessThan(50);
  });
});

/** Timers and sockets that are alive, in one word each. */
function resources(): string {
  const names = process.getActiveResourcesInfo().filter((name) => /Timeout|TCP|HTTP/.test(name));
  return names.sort().join(' ');
}
