import type { IncomingMessage, ServerResponse } from 'node:http';
import { Code } from '@connectrpc/connect';
import { requestIdOf } from '../call.ts';

/** Why a request never becomes a call. */
export interface Refusal {
  readonly httpStatus: number;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Answer a request for an rpc that there is not, in the words of its protocol. */
export function refuseRpc(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  const { httpStatus, message, headers } = refusal;
  const contentType = request.headers['content-type'] ?? '';
  const requestId = request.headers['x-request-id'];
  const always = { 'x-request-id': requestIdOf(typeof requestId === 'string' ? requestId : undefined), ...headers };
  const [grpcType] = /^application\/grpc(?:-web(?:-text)?)?(?=\+|;|$)/.exec(contentType) ?? [];
  if (grpcType !== undefined && httpStatus === 404) {
    // Headers that are trailers too: gRPC's answer without a message.
    response.writeHead(200, {
      ...always,
      'content-type': contentType,
      'grpc-status': String(Code.Unimplemented),
      'grpc-message': encodeURIComponent(message),
    });
    response.end();
  } else {
    // As a client reads these statuses when they come without words of Connect: the conformance suite insists.
    const code = httpStatus === 404 ? 'unimplemented' : 'unknown';
    const body = JSON.stringify({ code, message });
    response.writeHead(httpStatus, {
      ...always,
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }
  request.resume();
}
