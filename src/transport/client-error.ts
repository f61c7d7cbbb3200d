import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { requestIdOf } from './call.ts';

/** The time a refused client has to read why, in milliseconds. */
const LINGER_MS = 1_000;

/** What the HTTP parser's codes mean to the client; all others are 400. */
const refusals: Record<string, readonly [status: string, message: string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request did not arrive in time'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'the request headers are too large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['413 Content Too Large', 'the chunk extensions are too large'],
};

/**
 * Answer bytes that are not a request (or not a whole one in time), and close.
 *
 * `current` is the connection's latest answer. While an earlier request is still being answered nothing may be written:
 * the client would take it for that answer.
 */
export function refuseConnection(error: NodeJS.ErrnoException, socket: Socket, current?: ServerResponse): void {
  // Parsing goes on while the client reads our answer, and fails again.
  if (socket.writableEnded) return;
  const answering = current !== undefined && !current.writableFinished;
  if (!socket.writable || error.code === 'ECONNRESET' || (answering && (current.req.complete || current.headersSent))) {
    socket.destroy();
    return;
  }
  const [status, message] = refusals[error.code ?? ''] ?? ['400 Bad Request', 'the request is not valid HTTP'];
  socket.end(rawAnswer(status, message));
  // Closing with bytes unread would reset the connection, and the client might lose the answer: read on for a moment.
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
}

/** A whole HTTP/1 answer that closes its connection, for where there is no response object to write it. */
export function rawAnswer(status: string, message: string, headers: readonly string[] = []): string {
  const body = refusalBody(message);
  return [
    `HTTP/1.1 ${status}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${requestIdOf()}`,
    ...headers,
    'connection: close',
    '',
    body,
  ].join('\r\n');
}

/** The body of a refusal that comes before any door has seen the request: OpenAI's shape, which most clients read. */
export function refusalBody(message: string): string {
  return JSON.stringify({ error: { message, type: 'invalid_request_error', param: null, code: null } });
}
