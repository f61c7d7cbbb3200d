import { connect as connectHttp2, type OutgoingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';

/** An answer as it came over the wire. */
export interface RawAnswer {
  /** 0: the connection was closed without an answer. */
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
  /** From the last byte sent to the end of the answer, or of the connection. */
  readonly tookMs: number;
}

/**
 * Send bytes over a connection of its own and read what comes, until the answer is whole or the connection closed.
 *
 * `pieces` are sent as they are, however little they look like HTTP.
 */
export function sendRaw(port: number, ...pieces: (string | Uint8Array)[]): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let received = '';
    let sent = performance.now();
    const socket = connect(port, '127.0.0.1');
    const over = () => {
      socket.destroy();
      resolve({ ...parseAnswer(received), tookMs: performance.now() - sent });
    };
    socket.on('data', (data) => {
      received += data.toString('latin1');
      if (isWhole(received)) over();
    });
    socket.on('error', () => {}); // a reset is an answer too: `close` follows
    socket.on('close', over);
    for (const piece of pieces) socket.write(piece);
    socket.write('', () => {
      sent = performance.now();
    });
  });
}

/** A POST in HTTP/1.1 with a content-length. */
export function httpPost(path: string, body: string | Uint8Array, headers: Record<string, string> = {}): Uint8Array {
  const bytes = Buffer.from(body);
  const all = { host: 'x', 'content-type': 'application/json', 'content-length': String(bytes.length), ...headers };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${head.join('')}\r\n`), bytes]);
}

function parseAnswer(received: string): Omit<RawAnswer, 'tookMs'> {
  const [head = '', ...rest] = received.split('\r\n\r\n');
  const [first = '', ...lines] = head.split('\r\n');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0), headers, body: rest.join('\r\n\r\n') };
}

function isWhole(received: string): boolean {
  if (!received.includes('\r\n\r\n')) return false;
  const { status, headers, body } = parseAnswer(received);
  if (status === 100) return false;
  if (headers['transfer-encoding'] === 'chunked') return body.endsWith('0\r\n\r\n');
  return headers['content-length'] !== undefined && body.length >= Number(headers['content-length']);
}

/** What came of a call over HTTP/2. */
export interface Http2Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly trailers: Record<string, string>;
  readonly body: Buffer;
  /** The code with which the stream was reset, where it was. */
  readonly rstCode: number;
  readonly tookMs: number;
}

/** Send one request over an HTTP/2 connection of its own. */
export function sendHttp2(port: number, headers: OutgoingHttpHeaders, body: Uint8Array): Promise<Http2Answer> {
  return new Promise((resolve) => {
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    const parts: Buffer[] = [];
    let head: Record<string, unknown> = {};
    let trailers: Record<string, unknown> = {};
    let sent = performance.now();
    session.on('error', () => {});
    const stream = session.request({ ':method': 'POST', ...headers });
    stream.on('error', () => {});
    stream.on('response', (got) => {
      head = got;
    });
    stream.on('trailers', (got) => {
      trailers = got;
    });
    stream.on('data', (data: Buffer) => parts.push(data));
    stream.on('close', () => {
      const tookMs = performance.now() - sent;
      session.destroy();
      resolve({
        status: Number(head[':status'] ?? 0),
        headers: texts(head),
        trailers: texts(trailers),
        body: Buffer.concat(parts),
        rstCode: stream.rstCode,
        tookMs,
      });
    });
    stream.end(body, () => {
      sent = performance.now();
    });
  });
}

function texts(headers: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

/** A message as gRPC and gRPC-Web frame it. */
export function grpcFrame(message: string | Uint8Array, flags = 0): Uint8Array {
  const bytes = Buffer.from(message);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flags, 0);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}
