import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Principal } from '../../completion.ts';
import { GatewayError } from '../../errors.ts';
import type { HttpArrival } from '../../telemetry/door-requests.ts';
import { failureHeaders } from '../account-headers.ts';
import type { DoorDependencies } from '../call.ts';
import { opsRoutes } from '../ops.ts';
import { adminRoutes } from './admin.ts';
import { chatHandler } from './chat.ts';
import { embeddingsHandler } from './embeddings.ts';
import { errorBody, errorHeaders } from './errors.ts';
import { Exchange } from './exchange.ts';
import { insightRoutes } from './metrics.ts';
import { modelRoutes } from './models.ts';
import { nativeDoor } from './native.ts';
import { openaiDoor } from './openai.ts';
import {
  allowedMethods,
  decoded,
  type Found,
  noParameters,
  type Parameters,
  pathOf,
  type Route,
  Router,
} from './router.ts';

/** Answers requests of HTTP/1.1 and HTTP/2. */
export type RestHandler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void;

/** Who calls where no key is asked for. */
const nobody: Principal = { name: 'anonymous', tier: 'default', models: [], admin: false };

/**
 * The REST doors: finds the route of a request, asks who calls before anything of the body is read, and answers whatever a route
 * throws in the envelope of the path's family.
 *
 * Paths that need no key are marked, and those that need admin rights; all others need a key, those that do not exist included.
 */
export function createRestHandler(dependencies: DoorDependencies): RestHandler {
  const router = new Router([
    { path: '/v1/chat/completions', post: chatHandler(dependencies, openaiDoor) },
    { path: '/completion', post: chatHandler(dependencies, nativeDoor) },
    { path: '/v1/embeddings', post: embeddingsHandler(dependencies) },
    ...modelRoutes(dependencies.gateway),
    ...opsRoutes(dependencies),
    ...adminRoutes(dependencies),
    ...(dependencies.insight ? insightRoutes(dependencies.insight) : []),
  ]);

  return (request, response) => {
    // The compatibility API of HTTP/2 has all that is used here of HTTP/1's, under the same names.
    const asHttp1 = request as IncomingMessage;
    const exchange = new Exchange(asHttp1, response as ServerResponse, {
      path: pathOf(request.url ?? ''),
      address: dependencies.addressOf(asHttp1),
      writeStallMs: dependencies.writeStallMs,
    });
    const failed = (cause: unknown) => fail(exchange, cause);
    try {
      serve(exchange)?.catch(failed);
    } catch (cause) {
      failed(cause);
    }
  };

  /** Without a promise where there is nothing to wait for: most calls wait for their body alone. */
  function serve(exchange: Exchange): Promise<void> | void {
    const found = router.find(exchange.path);
    exchange.doorRequest = dependencies.requests?.http(arrivalOf(exchange, found?.route));
    const caller = found?.route.public ? nobody : authenticate(exchange);
    if (caller instanceof Promise) return caller.then((principal) => carryOut(exchange, principal, found));
    return carryOut(exchange, caller, found);
  }

  function carryOut(exchange: Exchange, principal: Principal, found: Found | undefined): Promise<void> | void {
    const { route, parameters = noParameters } = found ?? {};
    if (!route) throw new GatewayError('not_found', `there is nothing at ${exchange.path}`);
    if (route.admin && !principal.admin) {
      throw new GatewayError('permission_denied', `${exchange.path} needs a key with admin rights`);
    }
    const { method } = exchange.request;
    const handle = method === 'GET' || method === 'HEAD' ? route.get : method === 'POST' ? route.post : undefined;
    if (handle) return handle(exchange, principal, decodedNames(parameters));
    answerOtherMethod(exchange, route);
  }

  function authenticate(exchange: Exchange): Principal | Promise<Principal> {
    const { address, connection } = exchange;
    const caller = dependencies.authenticate((name) => exchange.header(name), address, connection);
    const notes = exchange.doorRequest?.notes;
    if (!notes) return caller;
    if (!(caller instanceof Promise)) notes.authenticated();
    else caller.then(() => notes.authenticated()).catch(() => {});
    return caller;
  }

  function fail(exchange: Exchange, cause: unknown): void {
    const error = GatewayError.from(cause);
    if (error !== cause) {
      dependencies.log.error({ request_id: exchange.requestId, path: exchange.path, err: cause }, 'a REST door failed');
    }
    // A call has its own line; its request never became one. The message stays out: it may quote the body. Lines for all that is
    // refused under overload would add to it: those are counted.
    if (!exchange.called && error.reason !== 'overloaded') {
      const { requestId, address, request, path } = exchange;
      const line = { request_id: requestId, address, method: request.method, path, outcome: error.reason };
      dependencies.log.info(line, 'refused');
    }
    if (exchange.left) return;
    if (exchange.response.headersSent) exchange.response.destroy();
    else
      exchange.answer(
        error.row.httpStatus,
        errorBody(error, exchange.family, exchange.requestId),
        errorHeaders(error),
        failureHeaders(exchange.account),
      );
    exchange.discardBody();
  }
}

function decodedNames(parameters: Parameters): Parameters {
  if (parameters === noParameters) return parameters;
  return Object.fromEntries(Object.entries(parameters).map(([name, text]) => [name, decoded(text, name)]));
}

/** What is told of a request before anything is done for it. Who asks whether we are well is not traced. */
function arrivalOf(exchange: Exchange, route: Route | undefined): HttpArrival {
  const { request, path, arrivedAt } = exchange;
  return {
    method: request.method ?? '',
    scheme: schemeOf(request),
    path,
    route: route?.path.replace('*', '{id}'),
    traced: !route?.public && route?.path !== '/metrics',
    arrivedAt,
    header: (name) => exchange.header(name),
  };
}

/** The connection tells it. What HTTP/2 has in `:scheme` is what the caller wrote, and would be a new label of a metric. */
function schemeOf({ socket }: IncomingMessage): string {
  return 'encrypted' in socket ? 'https' : 'http';
}

function answerOtherMethod(exchange: Exchange, route: Route): void {
  const allow = allowedMethods(route);
  const { method } = exchange.request;
  if (method === 'OPTIONS') {
    exchange.answer(204, '', { allow: allow.join(', ') });
    return;
  }
  const message = `${method} is not allowed on ${exchange.path}: use ${allow.join(', ')}`;
  throw new GatewayError('method_not_allowed', message, { allow });
}
