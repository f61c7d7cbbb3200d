import { type Dispatcher, Pool } from 'undici';
import { atEndOfTurn } from '../end-of-turn.ts';
import { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import type { UpstreamWatch } from '../telemetry/call-notes.ts';
import { networkFault } from './network-fault.ts';
import { Places, type Waiting } from './places.ts';
import { type WayOut, wayOut } from './way-out.ts';

/** Response headers by lower-case name. */
export type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** One request to a provider. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  /** Path and query, as `pathBelow` makes it. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Closes the socket at once; the call then throws the signal's reason. */
  readonly signal: StopSignal;
  /** Hears when it is sent, answered and over. */
  readonly watch?: UpstreamWatch | undefined;
  /** Called once, when the headers of the answer are here. */
  readonly onHeaders?: (headers: ResponseHeaders, status: number) => void;
}

/** An answer that was read to its end. */
export interface WholeAnswer {
  readonly status: number;
  readonly headers: ResponseHeaders;
  readonly body: Buffer;
}

/** An answer whose headers are here, and whose body is read as it is asked for. */
export interface StreamedAnswer {
  readonly status: number;
  readonly headers: ResponseHeaders;
  readonly body: ResponseBody;
}

/**
 * The bytes of an answer. Whoever does not read stops the upstream: at most 64 KiB wait here.
 *
 * `next` throws the signal's reason when the call is aborted, and a GatewayError when the network fails; what had arrived
 * before a failure is handed over first.
 */
export interface ResponseBody extends AsyncIterableIterator<Buffer, undefined> {
  /** The next bytes without taking them; undefined at the end. */
  peek(): Promise<Buffer | undefined>;
  /** Close the socket, unless the answer is over or released. */
  return(): Promise<IteratorReturnResult<undefined>>;
  /** Read no more, but leave the connection to later calls if the answer ends within a second. */
  release(): void;
}

/** How a provider is reached. */
export interface HttpClientOptions {
  /** The provider's name, for messages. */
  readonly provider: string;
  /** Only its origin counts here; see `pathBelow`. */
  readonly baseUrl: string;
  /** The default value is 3000. */
  readonly connectTimeoutMs?: number | undefined;
  /** URL of the proxy on the way there; undefined: none. */
  readonly proxy?: string | undefined;
  /** The most connections; calls beyond it wait for one. The default value is 512. */
  readonly maxConnections?: number | undefined;
}

/** The most bytes of an answer that is not a stream. */
export const maxAnswerBytes = 16 * 1024 * 1024;

const maxWaitingBytes = 64 * 1024;
const idleSocketMs = 30_000;
const releaseMs = 1_000;

/** The request path of a dialect's path under a base URL, with or without a slash at its end; a query of the base stays. */
export function pathBelow(baseUrl: string, path: string): string {
  const { pathname, search } = new URL(baseUrl);
  return pathname.replace(/\/+$/, '') + path + search;
}

/** What had been read from a socket when it failed: tells a stale connection from one that never answered. */
const bytesReadAtError = new WeakMap<Error, number>();

/** What a request is sent by. */
interface Connections {
  readonly provider: string;
  readonly pool: Pool;
  readonly places: Places;
}

/**
 * Connections to one provider: keep-alive, HTTP/1.1, no redirects, no time limits but that of connecting.
 *
 * Time limits are the attempt layer's: it aborts the signal. HTTP/2 stays off because there an abort would leave the
 * connection, and the upstream's work, to the goodwill of the other side.
 */
export class HttpClient {
  readonly #connections: Connections;
  readonly #forward: WayOut['forward'];

  constructor({ provider, baseUrl, connectTimeoutMs = 3_000, proxy, maxConnections = 512 }: HttpClientOptions) {
    const { origin, connect, forward } = wayOut({ provider, baseUrl, proxy, connectTimeoutMs });
    const pool = new Pool(origin, {
      connections: maxConnections,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: idleSocketMs,
      connect(options, callback) {
        connect(options, (...[error, socket]) => {
          if (error) return callback(error, null);
          socket.on('error', (cause) => bytesReadAtError.set(cause, socket.bytesRead));
          callback(null, socket);
        });
      },
    });
    this.#connections = { provider, pool, places: new Places(maxConnections) };
    this.#forward = forward;
  }

  /** Send a request, and read the answer whole: at most 16 MiB. */
  fetch(request: HttpRequest): Promise<WholeAnswer> {
    return new Promise((resolve, reject) => {
      new Exchange(this.#connections, this.#addressed(request), reject, resolve).start();
    });
  }

  /** Send a request; resolves once the headers of the answer are here. */
  stream(request: HttpRequest): Promise<StreamedAnswer> {
    return new Promise((resolve, reject) => {
      new Exchange(this.#connections, this.#addressed(request), reject, undefined, resolve).start();
    });
  }

  /** Close the connections, once the calls on them are over. */
  close(): Promise<void> {
    return this.#connections.pool.close();
  }

  /** A request as whoever is at the other end of the connection wants it. */
  #addressed(request: HttpRequest): HttpRequest {
    if (!this.#forward) return request;
    const { origin, headers } = this.#forward;
    return { ...request, path: origin + request.path, headers: { ...request.headers, ...headers } };
  }
}

/** One request and its answer: undici's handler on one side, the body that is read on the other. */
class Exchange implements Dispatcher.DispatchHandler, ResponseBody, Waiting {
  readonly #connections: Connections;
  readonly #request: HttpRequest;
  readonly #reject: (cause: unknown) => void;
  readonly #whole: ((answer: WholeAnswer) => void) | undefined;
  readonly #streamed: ((answer: StreamedAnswer) => void) | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #reader: { resolve: (bytes: boolean) => void; reject: (cause: unknown) => void } | undefined;
  #chunks: Buffer[] = [];
  #size = 0;
  #status = 0;
  #headers: ResponseHeaders = {};
  #answered = false;
  #retried = false;
  #over = false;
  #failure: { cause: unknown } | undefined;
  #releaseTimer: NodeJS.Timeout | undefined;

  constructor(
    connections: Connections,
    request: HttpRequest,
    reject: (cause: unknown) => void,
    whole: ((answer: WholeAnswer) => void) | undefined,
    streamed?: (answer: StreamedAnswer) => void,
  ) {
    this.#connections = connections;
    this.#request = request;
    this.#reject = reject;
    this.#whole = whole;
    this.#streamed = streamed;
  }

  start(): void {
    const { signal } = this.#request;
    if (signal.aborted) this.#reject(signal.reason);
    else {
      signal.addEventListener('abort', this.#onAbort);
      this.#connections.places.take(this);
    }
  }

  /** There is a connection for it, or one may be made. */
  begin(): void {
    atEndOfTurn(this.#dispatch);
  }

  readonly #dispatch = (): void => {
    if (this.#over) return;
    const { method, path, headers, body } = this.#request;
    try {
      this.#connections.pool.dispatch({ method, path, headers, body: body ?? null }, this);
    } catch (cause) {
      this.#end({ cause });
    }
  };

  readonly #onAbort = (): void => {
    this.#chunks = [];
    this.#close(this.#request.signal.reason);
  };

  #close(cause: unknown): void {
    this.#end({ cause });
    this.#controller?.abort(new Error('closed'));
  }

  /** Nothing more will come. Idempotent: undici reports our own abort as an error, too. */
  #end(failure?: { cause: unknown }): void {
    if (this.#over) return;
    this.#over = true;
    this.#failure = failure;
    this.#connections.places.leave(this);
    this.#request.signal.removeEventListener('abort', this.#onAbort);
    clearTimeout(this.#releaseTimer);
    this.#request.watch?.ended(failure?.cause);
    if (failure) this.#reject(failure.cause);
    this.#tell();
  }

  // What undici calls.

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // The call may have been aborted while the connection was being made.
    if (this.#over) controller.abort(new Error('closed'));
    else {
      this.#controller = controller;
      this.#request.watch?.sent();
    }
  }

  onResponseStarted(): void {
    this.#answered = true;
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (status < 200) return;
    this.#status = status;
    this.#headers = headers;
    this.#request.watch?.answered(status);
    this.#request.onHeaders?.(headers, status);
    this.#streamed?.({ status, headers, body: this });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#size += chunk.byteLength;
    if (this.#whole) {
      if (this.#size > maxAnswerBytes) throw tooLarge(this.#connections.provider);
      this.#chunks.push(chunk);
      return;
    }
    if (this.#releaseTimer) {
      if (this.#size > maxWaitingBytes) this.#close(undefined);
      return;
    }
    this.#chunks.push(chunk);
    if (this.#size >= maxWaitingBytes) controller.pause();
    this.#tell();
  }

  onResponseEnd(): void {
    this.#end();
    const whole = this.#whole;
    if (whole) atEndOfTurn(() => whole({ status: this.#status, headers: this.#headers, body: join(this.#chunks) }));
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#over) return;
    // A connection that the provider closed while it was idle: the request was never looked at, so it goes out once more.
    // In a microtask, since undici is still taking the old connection apart.
    if (!this.#answered && !this.#retried && wasUsedBefore(error)) {
      this.#retried = true;
      queueMicrotask(() => {
        if (!this.#over) this.begin();
      });
      return;
    }
    const cause =
      error instanceof GatewayError ? error : networkFault(this.#connections.provider, error, this.#answered);
    this.#end({ cause });
  }

  // What the reader calls.

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Whether there are bytes, once that is known. */
  #arrival(): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      if (this.#chunks.length > 0 || this.#over) this.#tell();
    });
  }

  #tell(): void {
    const reader = this.#reader;
    this.#reader = undefined;
    if (this.#chunks.length > 0 || !this.#failure) reader?.resolve(this.#chunks.length > 0);
    else reader?.reject(this.#failure.cause);
  }

  async peek(): Promise<Buffer | undefined> {
    return (await this.#arrival()) ? this.#chunks[0] : undefined;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    if (this.#chunks.length === 0 && !(await this.#arrival())) return { done: true, value: undefined };
    const value = join(this.#chunks);
    this.#chunks = [];
    this.#size = 0;
    if (this.#controller?.paused) this.#controller.resume();
    return { done: false, value };
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#chunks = [];
    if (!this.#over && !this.#releaseTimer) this.#close(undefined);
    return { done: true, value: undefined };
  }

  release(): void {
    this.#chunks = [];
    if (this.#over) return;
    this.#size = 0;
    this.#releaseTimer = setTimeout(() => this.#close(undefined), releaseMs).unref();
    if (this.#controller?.paused) this.#controller.resume();
  }
}

function join(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks;
  return chunks.length === 1 && first ? first : Buffer.concat(chunks);
}

function wasUsedBefore(error: Error & { code?: string; socket?: { bytesRead?: number } }): boolean {
  if (error.code !== 'UND_ERR_SOCKET' && error.code !== 'ECONNRESET' && error.code !== 'EPIPE') return false;
  return (error.socket?.bytesRead ?? bytesReadAtError.get(error) ?? 0) > 0;
}

function tooLarge(provider: string): GatewayError {
  return new GatewayError('provider_protocol', `the answer of ${provider} is larger than ${maxAnswerBytes} bytes`, {
    provider,
  });
}

/** Read a body to its end: at most 16 MiB. */
export async function readWhole(provider: string, body: ResponseBody): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > maxAnswerBytes) throw tooLarge(provider);
    chunks.push(chunk);
  }
  return join(chunks);
}
