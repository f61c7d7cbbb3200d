import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry } from '@bufbuild/protobuf';
import { base64Decode } from '@bufbuild/protobuf/wire';
import {
  Code,
  ConnectError,
  type ConnectRouter,
  type ConnectRouterOptions,
  type ContextValues,
  createConnectRouter,
  type HandlerContext,
} from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import { compressionBrotli, compressionGzip } from '@connectrpc/connect-node';
import type { Logger } from 'pino';
import type { DoorRequests } from '../../telemetry/door-requests.ts';
import type { AddressOf } from '../client-address.ts';
import { accountOf, openAccount, type RpcAccount } from './account.ts';
import { arrivalOf } from './arrival.ts';
import { decodeShallowJson } from './json-depth.ts';
import { refuseRpc } from './refusal.ts';
import { universalRequest } from './universal-request.ts';
import { fieldsOf, writeAnswer } from './write-answer.ts';

/** What an RPC door is made with, beside connect's own options. */
export interface RpcAdapterOptions extends Omit<ConnectRouterOptions, 'acceptCompression' | 'jsonOptions'> {
  readonly routes: (router: ConnectRouter) => void;
  /** Knows the messages that travel in a `google.protobuf.Any`, in JSON. */
  readonly registry?: Registry;
  readonly addressOf: AddressOf;
  readonly writeStallMs: number;
  readonly log: Logger;
  /** Keeps account of calls; unset: nobody does. */
  readonly requests?: DoorRequests | undefined;
  /** Whether calls of a service, by its name, are traced. The default is that all are. */
  readonly isTraced?: (service: string) => boolean;
  /** Sees each error once more before it is written, those that connect-es made by itself too. */
  readonly onError?: (error: ConnectError, values: ContextValues) => void;
  /** Told when a request has been answered, or will not be. */
  readonly onServed?: ((values: ContextValues) => void) | undefined;
}

/** Serves a request for an rpc. `path` is that of its URL, without the query. */
export type RpcHandler = (request: IncomingMessage, response: ServerResponse, path: string) => void;

/**
 * Serve rpcs on Node's request and response: gRPC, gRPC-Web and Connect, told apart by content type.
 *
 * It stands in place of connect-node's adapter, which never resumes a handler whose stream is reset while it is blocked by
 * flow control, destroys the connection when it refuses a message of unknown size, throws where nobody catches on a `Host` that is
 * no host, and logs to the console.
 */
export function createRpcHandler(adapterOptions: RpcAdapterOptions): RpcHandler {
  const {
    routes,
    registry,
    addressOf,
    writeStallMs,
    log,
    requests,
    isTraced = () => true,
    onError,
    onServed,
    ...options
  } = adapterOptions;
  const router = createConnectRouter({
    ...options,
    acceptCompression: [compressionGzip, compressionBrotli],
    // Unknown fields are mistakes to be told of. Connect takes the decoder from here, though its types do not say so.
    jsonOptions: {
      ignoreUnknownFields: false,
      textDecoder: { decode: decodeShallowJson },
      ...(registry && { registry }),
    } as JsonOptions,
    async requestGate(context) {
      watchErrors(context, onError);
      await options.requestGate?.(context);
      checkQuery(context);
    },
  });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

  return (request, response, path) => {
    const handler = handlers.get(path);
    if (handler === undefined) {
      if (requests) refuseInAccount(openAccount(requests, request, undefined, false));
      refuseRpc(request, response, { httpStatus: 404, message: `there is no rpc ${path}` });
    } else if (accepts(handler, request, response)) {
      const { service } = handler;
      const account = requests && openAccount(requests, request, path.slice(1), isTraced(service.typeName));
      serve(handler, { request, response, account }, { addressOf, writeStallMs, onServed }).catch((error: unknown) => {
        log.error({ err: error, rpc: path }, 'an rpc handler threw');
        response.destroy();
      });
    }
  };
}

type JsonOptions = NonNullable<ConnectRouterOptions['jsonOptions']>;

/** Whether method and content type suit the rpc; if not, the request is answered. */
function accepts(handler: UniversalHandler, request: IncomingMessage, response: ServerResponse): boolean {
  const { method = '' } = request;
  const headers = { allow: [...handler.allowedMethods, 'OPTIONS'].join(', ') };
  if (method === 'OPTIONS') {
    response.writeHead(204, headers).end();
    return false;
  }
  if (!handler.allowedMethods.includes(method)) {
    const message = `${method} is not for ${handler.requestPath}: use ${handler.allowedMethods.join(' or ')}`;
    refuseRpc(request, response, { httpStatus: 405, message, headers });
    return false;
  }
  const contentType = request.headers['content-type'] ?? '';
  if (method !== 'POST' || handler.supportedContentType(contentType)) return true;
  refuseRpc(request, response, {
    httpStatus: 415,
    message: `the content type ${JSON.stringify(contentType)} is not spoken here`,
  });
  return false;
}

function refuseInAccount(account: RpcAccount): void {
  account.failed(new ConnectError('there is no such rpc', Code.Unimplemented));
  account.end('', false);
}

/** A request that an rpc serves. */
interface Served {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly account: RpcAccount | undefined;
}

async function serve(
  handler: UniversalHandler,
  { request, response, account }: Served,
  { addressOf, writeStallMs, onServed }: Pick<RpcAdapterOptions, 'addressOf' | 'writeStallMs' | 'onServed'>,
): Promise<void> {
  const left = new AbortController();
  response.once('close', () => {
    if (!response.writableEnded) left.abort(new ConnectError('the caller left', Code.Canceled));
  });
  // A write that meets a connection just lost is no event of its own: `close` follows.
  response.on('error', () => {});
  const universal = universalRequest(request, addressOf(request), left.signal, account);
  try {
    const answer = await handler(universal);
    if (answer.body === undefined) {
      // Connect has no words for what is wrong before it knows the protocol.
      const message =
        answer.status === 505 ? 'this rpc needs HTTP/2' : 'the encoding of the message is not spoken here';
      refuseRpc(request, response, { httpStatus: answer.status, message, headers: fieldsOf(answer.header) });
      return;
    }
    await writeAnswer(answer, { request, response, left: left.signal, stallMs: writeStallMs });
  } finally {
    onServed?.(universal.contextValues);
    account?.end(arrivalOf(universal.contextValues)?.requestId ?? '', left.signal.aborted);
  }
}

/**
 * Look at every error of a call before it is written.
 *
 * Interceptors do not see those that connect-es meets while it reads the message, and it calls some of the caller's mistakes
 * `internal`. Each of its protocols aborts the call's context with the error first, so that is where we look.
 */
function watchErrors(context: HandlerContext, onError: RpcAdapterOptions['onError']): void {
  const aborted = context as HandlerContext & { abort(reason?: unknown): void };
  const abort = aborted.abort;
  aborted.abort = (reason) => {
    if (reason instanceof ConnectError) {
      if (reason.code === Code.Internal && callersMistake.test(reason.rawMessage)) {
        (reason as { code: Code }).code = Code.InvalidArgument;
      }
      accountOf(context.values)?.failed(reason);
      onError?.(reason, context.values);
    }
    abort.call(context, reason);
  };
}

const callersMistake = /^(?:parse binary: |decompression failed)/;

/** The message of a Connect GET: what is no base64 would be an internal error to connect-es. */
function checkQuery({ requestMethod, url }: HandlerContext): void {
  if (requestMethod !== 'GET') return;
  const query = new URL(url).searchParams;
  if (query.get('base64') !== '1') return;
  try {
    base64Decode(query.get('message') ?? '');
  } catch {
    throw new ConnectError('the message in the query is not base64', Code.InvalidArgument);
  }
}
