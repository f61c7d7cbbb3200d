import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';

/** What a test reads of a request that the gateway sent upstream. */
export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly body: Record<string, unknown> | undefined;
}

/** One request and its answer, in the hands of a test. */
export class Exchange {
  readonly request: UpstreamRequest;
  /** Resolves when the connection's answer is over, whoever ended it, with whether the gateway left early. */
  readonly closed: Promise<{ left: boolean }>;
  readonly #response: ServerResponse;

  constructor(request: UpstreamRequest, response: ServerResponse) {
    this.request = request;
    this.#response = response;
    this.closed = new Promise((resolve) => {
      response.once('close', () => resolve({ left: !response.writableEnded }));
    });
  }

  /** Answer whole. */
  json(value: unknown, status = 200, headers: Record<string, string> = {}): void {
    this.text(JSON.stringify(value), status, { 'content-type': 'application/json', ...headers });
  }

  /** Answer whole, with any body. */
  text(body: string, status = 200, headers: Record<string, string> = {}): void {
    this.#response.writeHead(status, { 'content-length': Buffer.byteLength(body), ...headers }).end(body);
  }

  /** Send the head of a stream. */
  head(headers: Record<string, string> = {}): void {
    this.#response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
    this.#response.flushHeaders();
  }

  /** Send bytes of a stream as they are; resolves once they may be followed by more. */
  write(bytes: string | Uint8Array): Promise<void> {
    if (!this.#response.headersSent) this.head();
    if (this.#response.write(bytes) || this.#response.closed) return Promise.resolve();
    return new Promise((resolve) => {
      const ready = () => {
        this.#response.off('drain', ready);
        this.#response.off('close', ready);
        resolve();
      };
      this.#response.on('drain', ready);
      this.#response.on('close', ready);
    });
  }

  /** Send one event of a stream. */
  event(data: unknown): Promise<void> {
    return this.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
  }

  /** End a stream as it should end. */
  done(): void {
    this.#response.end('data: [DONE]\n\n');
  }

  /** End a stream without its last word. */
  end(): void {
    this.#response.end();
  }

  /** Break the connection. What was sent is read first: a reset throws away what the other side has not taken yet. */
  async reset(): Promise<void> {
    if (this.#response.headersSent) await after(50);
    this.#response.socket?.resetAndDestroy();
  }
}

/** An OpenAI-compatible upstream that does what a test says. */
export interface ScriptedUpstream {
  /** The `base_url` of a provider that asks it. */
  readonly url: string;
  /** Every completion or embedding asked so far, oldest first. */
  readonly requests: readonly UpstreamRequest[];
  /** Connections that were ever made. */
  connections(): number;
  /** Connections that are open now. */
  openSockets(): number;
  /** How often it was asked for its models. */
  listings(): number;
  /** Answers not yet over. */
  openAnswers(): number;
  /** Answer everything from now on by this; undefined: exchanges wait for `next`. */
  script(answer: ((exchange: Exchange) => unknown) | undefined): void;
  /** The next exchange that no script answers. */
  next(): Promise<Exchange>;
  /** Stop listening and break every connection; `restart` listens at the same port again. */
  stop(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** Start a scripted upstream on a free port. It lists one model, `scripted-model`. */
export async function startScriptedUpstream(): Promise<ScriptedUpstream> {
  const requests: UpstreamRequest[] = [];
  const waiting: Exchange[] = [];
  const wanted: ((exchange: Exchange) => void)[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  let answers = 0;
  let listings = 0;
  let script: ((exchange: Exchange) => unknown) | undefined;

  const server = createServer(async (incoming, response) => {
    const request = await read(incoming);
    if (!request) return;
    if (request.method === 'GET' && request.path.endsWith('/models')) {
      listings++;
      const list = { object: 'list', data: [{ id: 'scripted-model', object: 'model', created: 1, owned_by: 'tests' }] };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(list));
      return;
    }
    requests.push(request);
    answers++;
    response.once('close', () => answers--);
    const exchange = new Exchange(request, response);
    const want = wanted.shift();
    if (want) want(exchange);
    else if (script) script(exchange);
    else waiting.push(exchange);
  });
  server.on('connection', (socket) => {
    connections++;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.keepAliveTimeout = 60_000;
  const listen = (at: number) => new Promise<void>((resolve) => server.listen(at, '127.0.0.1', resolve));
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });

  return {
    url: `http://127.0.0.1:${port}/v1`,
    requests,
    connections: () => connections,
    openSockets: () => sockets.size,
    listings: () => listings,
    openAnswers: () => answers,
    script(answer) {
      script = answer;
    },
    next() {
      const exchange = waiting.shift();
      return exchange ? Promise.resolve(exchange) : new Promise((resolve) => wanted.push(resolve));
    },
    stop: close,
    restart: () => listen(port),
    close,
  };
}

async function read(incoming: IncomingMessage): Promise<UpstreamRequest | undefined> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of incoming) chunks.push(chunk);
  } catch {
    return undefined; // the gateway left while it asked
  }
  const text = Buffer.concat(chunks).toString();
  let body: Record<string, unknown> | undefined;
  try {
    body = JSON.parse(text);
  } catch {
    // not JSON: the test that expects JSON sees undefined
  }
  return { method: incoming.method ?? '', path: incoming.url ?? '', headers: incoming.headers, text, body };
}

/** A whole answer of OpenAI's shape. */
export function wholeAnswer(text: string): object {
  return {
    id: 'upstream-1',
    object: 'chat.completion',
    created: 1,
    model: 'scripted-model',
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 },
  };
}

/** A chunk of a streamed answer of OpenAI's shape. */
export function chunk(delta: object, finishReason: string | null = null): object {
  return {
    id: 'upstream-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'scripted-model',
    choices: [{ index: 0, delta, finish_reason: finishReason }],
  };
}

/** The chunk that tells what a streamed answer took. */
export const usageChunk: object = {
  id: 'upstream-1',
  object: 'chat.completion.chunk',
  created: 1,
  model: 'scripted-model',
  choices: [],
  usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 },
};

/** Answers any request with these words, streamed as one chunk each if a stream is asked for. */
export function saying(...words: string[]): (exchange: Exchange) => Promise<void> {
  return async (exchange) => {
    if (exchange.request.body?.stream !== true) return exchange.json(wholeAnswer(words.join('')));
    for (const word of words) await exchange.event(chunk({ content: word }));
    await exchange.event(chunk({}, 'stop'));
    await exchange.event(usageChunk);
    exchange.done();
  };
}
