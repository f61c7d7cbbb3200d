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
}

/**
 * Close sessions that ask for nothing and refuse requests that never end. At `ageMs` (0: never) ask the client for another one.
 *
 * Node's `headersTimeout` and `requestTimeout` know HTTP/1 only.
 */
export function watchSession(session: ServerHttp2Session, timeouts: SessionTimeouts, ageMs: number): void {
  let streams = 0;
  // GOAWAY names the last request that will be answered: what is under way ends as it should, what crosses it on the way is known
  // not to have been carried out. Announcing it first, with a GOAWAY that names none, is no use here: nghttp2 takes no request after.
  const age = ageMs === 0 ? undefined : setTimeout(() => session.close(), ageMs);
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
