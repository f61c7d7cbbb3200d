import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, type Http2ServerResponse } from 'node:http2';
import type { UniversalServerResponse } from '@connectrpc/connect/protocol';

/** Large messages are written piece by piece, so that a slow reader is told from one that has stopped. */
const PIECE_BYTES = 65_536;

/** Where an answer goes. */
export interface Exit {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborts when the connection is lost before the answer is written whole. */
  readonly left: AbortSignal;
  /** How long the client may read nothing before it is cut, in milliseconds. */
  readonly stallMs: number;
}

/**
 * Write an answer of connect-es, as fast as the client reads it.
 *
 * However it ends, `return()` is called on the body: that runs the `finally` of the handler and of all it reads from.
 */
export async function writeAnswer(answer: UniversalServerResponse, exit: Exit): Promise<void> {
  const { request, response, left } = exit;
  const body = answer.body?.[Symbol.asyncIterator]();
  try {
    // Headers wait for the first bytes, so that the handler can still set some.
    let chunk = await body?.next();
    if (left.aborted) return;
    response.writeHead(answer.status, fieldsOf(answer.header));
    for (; chunk?.done === false; chunk = await body?.next()) {
      for (let at = 0; at < chunk.value.byteLength; at += PIECE_BYTES) {
        if (left.aborted) return;
        if (!response.write(chunk.value.subarray(at, at + PIECE_BYTES))) await taken(exit, 'drain');
      }
    }
    if (left.aborted) return;
    if (answer.trailer) response.addTrailers(fieldsOf(answer.trailer));
    response.end();
    // What was refused before it was read whole: the client sends on, and must be able to read why.
    if (!request.complete) request.resume();
    if (!response.writableFinished) await taken(exit, 'finish');
  } finally {
    await body?.return?.();
  }
}

/** Resolves once the client has taken what was written, or the connection is lost. */
function taken({ response, stallMs }: Exit, event: 'drain' | 'finish'): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => cut(response), stallMs);
    const settle = () => {
      clearTimeout(timer);
      response.off(event, settle).off('close', settle);
      resolve();
    };
    response.on(event, settle).on('close', settle);
  });
}

function cut(response: ServerResponse | Http2ServerResponse): void {
  if ('stream' in response) response.stream.close(constants.NGHTTP2_CANCEL);
  else response.destroy();
}

/** Headers as Node takes them; `Headers` has joined repeated values with a comma. */
export function fieldsOf(headers: Headers | undefined): Record<string, string> {
  return Object.fromEntries(headers ?? []);
}
