import { CallNotes } from './call-notes.ts';
import type { RequestTracer } from './call-trace.ts';
import type { Metrics } from './metrics.ts';

/** Reads a request header by its lower-case name. */
type HeaderReader = (name: string) => string | null | undefined;

/** A request at a door, until it is over. */
export interface DoorRequest {
  /** For the call that it may become. */
  readonly notes: CallNotes;
  /** It is over; called once. */
  end(ending: DoorEnding): void;
}

/** How a request ended. */
export interface DoorEnding {
  readonly requestId: string;
  /** The status: a number of HTTP, or a word of the rpc's protocol. Undefined: the caller left before there was one. */
  readonly status: number | string | undefined;
  /** Whether it is the gateway's failure. */
  readonly isFault: boolean;
}

/** Methods of HTTP that are told apart. */
const methods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'OPTIONS',
  'PUT',
  'DELETE',
  'PATCH',
  'CONNECT',
  'TRACE',
]);

/** Keeps account of what comes to the doors: how long it takes, and its traces. */
export class DoorRequests {
  readonly #metrics: Metrics;
  readonly #tracer: RequestTracer | undefined;
  readonly #counts: () => boolean;

  /** `counts` tells whether requests are counted. */
  constructor(metrics: Metrics, tracer: RequestTracer | undefined, counts: () => boolean) {
    this.#metrics = metrics;
    this.#tracer = tracer;
    this.#counts = counts;
  }

  /**
   * A request by REST has arrived. `route` is the path as the program has it, not as the caller wrote it; undefined: there is none.
   *
   * Who asks again and again whether the gateway is well is not traced.
   */
  http(request: HttpArrival): DoorRequest {
    const { route, scheme, traced, arrivedAt } = request;
    const method = methods.has(request.method) ? request.method : '_OTHER';
    const trace = traced ? this.#tracer?.begin(httpSpan(request, method)) : undefined;
    const durations = this.#counts() ? this.#metrics.histogram('httpDuration') : undefined;
    return {
      notes: new CallNotes(arrivedAt, trace),
      end({ requestId, status, isFault }) {
        const code = status === undefined ? '' : String(status);
        const error = isFault ? code : status === undefined ? 'cancelled' : '';
        durations?.at(method, scheme, route ?? '', code, error).record((performance.now() - arrivedAt) / 1000);
        trace?.end({ 'http.response.status_code': status, ...ids(requestId) }, isFault ? code : undefined);
      },
    };
  }

  /** A call of an rpc has arrived. */
  rpc({ system, method, arrivedAt, traced, header }: RpcArrival): DoorRequest {
    const attributes = () => ({ 'rpc.system.name': system, 'rpc.method': method });
    const trace = traced ? this.#tracer?.begin({ name: method, attributes, header }) : undefined;
    const durations = this.#counts() ? this.#metrics.histogram('rpcDuration') : undefined;
    return {
      notes: new CallNotes(arrivedAt, trace),
      end({ requestId, status, isFault }) {
        const code = status === undefined ? '' : String(status);
        durations?.at(system, method, code, isFault ? code : '').record((performance.now() - arrivedAt) / 1000);
        trace?.end({ 'rpc.status_code': status, ...ids(requestId) }, isFault ? code : undefined);
      },
    };
  }
}

/** A request by REST. */
export interface HttpArrival {
  readonly method: string;
  readonly scheme: string;
  readonly path: string;
  readonly route: string | undefined;
  readonly traced: boolean;
  /** On the clock of `performance.now()`. */
  readonly arrivedAt: number;
  readonly header: HeaderReader;
}

/** A call of an rpc. */
export interface RpcArrival {
  /** `grpc` or `connectrpc`. */
  readonly system: string;
  /** Service and method. */
  readonly method: string;
  readonly traced: boolean;
  readonly arrivedAt: number;
  readonly header: HeaderReader;
}

function httpSpan({ method: original, scheme, path, route, header }: HttpArrival, method: string) {
  const name = method === '_OTHER' ? 'HTTP' : method;
  return {
    name: route === undefined ? name : `${name} ${route}`,
    attributes: () => ({
      'http.request.method': method,
      ...(method === '_OTHER' && { 'http.request.method_original': original }),
      'url.path': path,
      'url.scheme': scheme,
      ...(route !== undefined && { 'http.route': route }),
      'user_agent.original': header('user-agent') ?? undefined,
    }),
    header,
  };
}

function ids(requestId: string): { 'gateway.request_id': string | undefined } {
  return { 'gateway.request_id': requestId || undefined };
}
