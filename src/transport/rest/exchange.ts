import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Account } from '../../completion.ts';
import { atEndOfTurn } from '../../end-of-turn.ts';
import type { DoorRequest } from '../../telemetry/door-requests.ts';
import { requestIdOf } from '../call.ts';
import { limitHeaders } from '../limit-headers.ts';

/** The two ways in which REST paths word their answers: `/v1` as OpenAI does, everything else in the gateway's own way. */
export type Family = 'openai' | 'native';

/** Header names, in lower case as HTTP/2 wants them, and values. */
export type Headers = Record<string, string | number>;

/** Names and values in turn, as Node takes them. */
export type HeaderList = (string | number)[];

/** How long the rest of a refused body is read and thrown away before the connection is cut. */
const LINGER_MS = 2000;
const SMALL_BODY = 65_536;

/** What is known of a request when it comes. */
export interface Coming {
  /** Path of the request, without query and without a slash at its end. */
  readonly path: string;
  /** Where the caller is. */
  readonly address: string;
  /** The time a slow reader may leave an answer unread, in milliseconds. */
  readonly writeStallMs: number;
}

/**
 * One request and its answer, as the routes see them.
 *
 * It gives every answer the headers that all of them carry, and tells once when the caller has gone.
 */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly family: Family;
  /** Path of the request, without query and without a slash at its end. */
  readonly path: string;
  readonly address: string;
  /** Whether the connection was lost before the answer was written whole. */
  left = false;
  /** Whether the gateway was called: from then on it keeps the account. */
  called = false;
  /** Of the call, once there is one. */
  account: Account | undefined;
  requestId: string;
  /** What the request is to whoever keeps account of all of them, once it is known where it goes. */
  doorRequest: DoorRequest | undefined;
  readonly #startedAt = performance.now();
  readonly #writeStallMs: number;
  #onLeave: (() => void) | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, { path, address, writeStallMs }: Coming) {
    this.request = request;
    this.response = response;
    this.path = path;
    this.address = address;
    this.family = path === '/v1' || path.startsWith('/v1/') ? 'openai' : 'native';
    this.requestId = requestIdOf(this.header('x-request-id'));
    this.#writeStallMs = writeStallMs;
    // `writableFinished` is true on HTTP/2 also for a stream that the client has reset: only `writableEnded` tells.
    response.on('close', () => {
      this.#tellEnd();
      if (response.writableEnded) return;
      this.left = true;
      this.#onLeave?.();
    });
    // A write that meets a connection just lost is no event of its own: `close` follows.
    response.on('error', ignore);
  }

  /** What follows the `?` of the request's target; empty: nothing. */
  get query(): string {
    const { url = '' } = this.request;
    const at = url.indexOf('?');
    return at === -1 ? '' : url.slice(at + 1);
  }

  /** When the request came, on the clock of `performance.now()`. */
  get arrivedAt(): number {
    return this.#startedAt;
  }

  /** What may bring more requests of the same caller; undefined: in HTTP/2, whose compatible objects have a connection each. */
  get connection(): object | undefined {
    return this.request.httpVersionMajor === 1 ? this.request.socket : undefined;
  }

  #tellEnd(): void {
    const { headersSent, statusCode } = this.response;
    const status = headersSent ? statusCode : undefined;
    this.doorRequest?.end({ requestId: this.requestId, status, isFault: headersSent && statusCode >= 500 });
  }

  /** A request header by its lower-case name. */
  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  /** Take the id the body gives, unless a header gave a good one. */
  adoptRequestId(candidate: unknown): void {
    if (typeof candidate === 'string')
      this.requestId = requestIdOf(this.header('x-request-id'), candidate, this.requestId);
  }

  /** Have something done once the caller has gone, at once if that has happened already. */
  whenLeft(act: () => void): void {
    this.#onLeave = act;
    if (this.left) act();
  }

  /** Seconds since the request came. */
  elapsedSeconds(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  /** The headers that every answer carries, and more. */
  headers(...more: readonly Headers[]): HeaderList {
    const seconds = this.elapsedSeconds();
    const list: HeaderList = ['x-request-id', this.requestId, 'x-process-time', seconds.toFixed(6)];
    if (this.family === 'openai') list.push('openai-processing-ms', Math.round(seconds * 1000));
    if (this.account) append(list, limitHeaders(this.account));
    for (const headers of more) append(list, headers);
    return list;
  }

  /** Answer with a text, JSON unless `more` says otherwise, head and body in one write at the end of this turn. */
  answer(status: number, body: string, ...more: readonly Headers[]): void {
    const { request, response } = this;
    if (this.left) return;
    const list = this.headers(...more);
    const size = Buffer.byteLength(body);
    if (status !== 204) {
      if (!more.some((headers) => 'content-type' in headers)) list.push('content-type', 'application/json');
      list.push('content-length', size);
    }
    response.writeHead(status, list);
    const hasBody = request.method !== 'HEAD' && status !== 204;
    atEndOfTurn(() => {
      if (hasBody) response.end(body, encodingOf(body, size));
      else response.end();
      this.cutIfUnread();
    });
  }

  /** Cut a caller who leaves the end of the answer unread for the allowed time. */
  cutIfUnread(): void {
    const { response } = this;
    if (response.writableFinished || response.writableLength === 0) return;
    const timer = setTimeout(() => response.destroy(), this.#writeStallMs);
    response.once('close', () => clearTimeout(timer));
    response.once('finish', () => clearTimeout(timer));
  }

  /**
   * Let a caller whose body is not read to its end see the answer.
   *
   * Closing a connection with unread bytes resets it, and the reset may overtake the answer. So the rest is read for a while
   * and thrown away; whoever sends on for longer is cut.
   */
  discardBody(): void {
    const { request } = this;
    if (request.complete) return;
    // A small one is mostly here already, and who does not send it meets the time limit of requests.
    if (Number(request.headers['content-length']) <= SMALL_BODY) return void request.resume();
    const timer = setTimeout(() => request.destroy(), LINGER_MS);
    request.once('end', () => clearTimeout(timer));
    request.once('close', () => clearTimeout(timer));
    request.resume();
  }
}

function ignore(): void {}

function append(list: HeaderList, headers: Headers): void {
  for (const name in headers) list.push(name, headers[name] as string | number);
}

/** How to write a text of so many bytes in UTF-8: plain ASCII is the same in Latin-1, which Node writes in half the time. */
export function encodingOf(text: string, size = Buffer.byteLength(text)): 'latin1' | 'utf8' {
  return size === text.length ? 'latin1' : 'utf8';
}
