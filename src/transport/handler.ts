import type { IncomingMessage, ServerResponse } from 'node:http';
import { type DoorDependencies, requestIdOf } from './call.ts';
import { refusalBody } from './client-error.ts';
import { createCors } from './cors.ts';
import { createRpcDoor } from './rpc/rpc.ts';
import type { RequestHandler } from './server.ts';

/** What the entry is handed, beside what every door is. */
export interface HandlerDependencies extends DoorDependencies {
  /** Origins whose pages may call; `*`: all. */
  readonly corsOrigins: readonly string[];
}

/** Package and service, with at least one dot, then the method. The paths of REST have no dot in their first segment. */
const rpcPath = /^\/\w+(?:\.\w+)+\//;

/** Targets whose path needs a second look. */
const strange = /^[^/]|[%\\#]|\/\.|[^\x21-\x7e]/;

/** The entry of every request: CORS, one form for its path, then the door that the path belongs to. */
export function createHandler(dependencies: HandlerDependencies, rest: RequestHandler): RequestHandler {
  const cors = createCors(dependencies.corsOrigins);
  const rpc = createRpcDoor(dependencies);

  return (request, response) => {
    if (cors(request, response)) return;
    let { url = '/' } = request;
    if (strange.test(url)) {
      const plain = plainTarget(url);
      if (plain === undefined) {
        refuseTarget(request, response);
        return;
      }
      request.url = url = plain;
    }
    if (rpcPath.test(url) || request.headers['content-type']?.startsWith('application/grpc')) {
      rpc(request, response, url.split('?', 1)[0] ?? '');
    } else rest(request, response);
  };
}

/**
 * The one form of a request's target that routing and authentication see; undefined if its path could be read in two ways.
 *
 * - The absolute form, which proxies send, loses its scheme and host: neither means anything here.
 * - Letters, digits and `-._~` are decoded where they are encoded (RFC 3986, section 6.2.2.2).
 * - Encoded slashes, backslashes and control characters, and segments of dots, are refused. Ids of models may have all of
 *   them: what follows `/v1/models/` is left as it is.
 */
function plainTarget(target: string): string | undefined {
  const origin = /^https?:\/\/[^/?#]*/i.exec(target)?.[0] ?? '';
  const local = target.slice(origin.length);
  const end = local.indexOf('?');
  const query = end < 0 ? '' : local.slice(end);
  const path = (end < 0 ? local : local.slice(0, end)) || (origin ? '/' : '');
  if (path.startsWith('/v1/models/')) return path + query;
  const plain = path.replace(/%[0-9a-f]{2}/gi, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
    return /[\w.~-]/.test(character) ? character : encoded;
  });
  const refused = /^[^/]|^$|[\\#]|%(?:2f|5c|7f|[01][0-9a-f])|%(?![0-9a-f]{2})|\/\.\.?(?:\/|$)|[^\x21-\x7e]/i;
  return refused.test(plain) ? undefined : plain + query;
}

function refuseTarget(request: IncomingMessage, response: ServerResponse): void {
  const body = refusalBody('the path is ambiguous: it has segments of dots, or encoded or foreign characters');
  const id = request.headers['x-request-id'];
  response.writeHead(400, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'x-request-id': requestIdOf(typeof id === 'string' ? id : undefined),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
