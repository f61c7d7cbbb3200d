import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { refusalBody } from './client-error.ts';

/** How long an HTTP/2 client may let us wait, in milliseconds. */
export interface SessionTimeouts {
  /** For the headers of its first request. */
  readonly headerTimeoutMs: number;
  /** For the body of a request, from its headers on. */
  readonly requestTimeoutMs: number;
  /** For the next request, when none is being answered. */
  readonly idleTimeoutMs: number;
  /** How long it may go on using the session, a tenth more or less. */
  readonly maxAgeMs: number;
}

/**
 * Close sessions that ask for nothing and those that are old, and refuse requests that never end.
 *
 * An old one is told to go away (GOAWAY): what is being answered on it is answered. Not all at the same time, since they may all
 * have come at the same time, when another replica went.
 *
 * Node's `headersTimeout` and `requestTimeout` know HTTP/1 only.
 */
export function watchSession(session: ServerHttp2Session, timeouts: SessionTimeouts): void {
  let streams = 0;
  let idle = setTimeout(() => session.destroy(), timeouts.headerTimeoutMs);
  session.on('stream', (stream, _headers, flags) => {
    clearTimeout(idle);
    streams += 1;
    if (!(flags & constants.NGHTTP2_FLAG_END_STREAM)) awaitBody(stream, timeouts.requestTimeoutMs);
    stream.once('close', () => {
      streams -= 1;
      if (streams === 0 && !session.closed) idle = setTimeout(() => session.close(), timeouts.idleTimeoutMs);
    });
  });
  const ageMs = timeouts.maxAgeMs * (0.9 + 0.2 * Math.random());
  const age = Number.isFinite(ageMs) ? setTimeout(() => session.close(), ageMs) : undefined;
  session.once('close', () => {
    clearTimeout(idle);
    clearTimeout(age);
  });
}

function awaitBody(stream: ServerHttp2Stream, timeoutMs: number): void {
  const timer = setTimeout(() => {
    if (stream.headersSent) {
      stream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    stream.respond({ ':status': 408, 'content-type': 'application/json' });
    stream.end(refusalBody('the request did not arrive in time'));
    stream.close(constants.NGHTTP2_NO_ERROR);
  }, timeoutMs);
  const stop = () => clearTimeout(timer);
  stream.once('end', stop).once('close', stop);
}
