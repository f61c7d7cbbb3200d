import { createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import type { CompletionEvent, CompletionRequest } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { FinishReason } from '../../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../../gen/llmgateway/v1/embedding_service_pb.ts';
import { HealthStatus } from '../../../gen/llmgateway/v1/health_service_pb.ts';
import type { CallContext } from '../../../src/completion.ts';
import { choiceFinished, finished, started, textDelta } from '../../../src/completion.ts';
import { GatewayError } from '../../../src/errors.ts';
import type { Gateway } from '../../../src/gateway.ts';
import type { DoorDependencies } from '../../../src/transport/call.ts';
import { addressReader } from '../../../src/transport/client-address.ts';
import { createRestHandler } from '../../../src/transport/rest/rest.ts';

/** What the fake gateway was asked. */
export interface Asked {
  readonly request: CompletionRequest;
  readonly context: CallContext;
}

/** The doors on a port of their own, in front of a scripted gateway. */
export interface Served {
  readonly url: string;
  readonly asked: Asked[];
  readonly logged: string[];
}

export type Script = (request: CompletionRequest, context: CallContext) => AsyncIterable<CompletionEvent>;

export const beginning = {
  id: 'chatcmpl-1',
  provider: 'groq',
  createdAt: { $typeName: 'google.protobuf.Timestamp' as const, seconds: 1_800_000_000n, nanos: 5 },
};

export const sampleUsage = {
  $typeName: 'llmgateway.v1.Usage' as const,
  promptTokens: 3,
  completionTokens: 2,
  totalTokens: 5,
  estimated: false,
};

/** A gateway that says hello, whatever it is asked. */
export const hello: Script = async function* () {
  yield started('gpt-oss', beginning);
  yield textDelta(0, 0, 'Hel');
  yield textDelta(0, 0, 'lo');
  yield choiceFinished(0, FinishReason.STOP, 'stop');
  yield finished(sampleUsage);
};

/** A gateway that yields these events. */
export function scripted(...events: CompletionEvent[]): Script {
  return async function* () {
    yield* events;
  };
}

export interface ServeOptions extends Partial<Omit<DoorDependencies, 'gateway'>> {
  readonly complete?: Script;
  readonly gateway?: Partial<Gateway>;
  readonly embed?: (request: EmbeddingRequest) => EmbeddingResult;
  readonly http2?: boolean;
}

function unscripted(): never {
  throw new Error('nothing is scripted');
}

export async function serve(options: ServeOptions = {}): Promise<Served> {
  const asked: Asked[] = [];
  const logged: string[] = [];
  const { complete = hello, gateway, embed, http2, ...dependencies } = options;
  const handler = createRestHandler({
    gateway: {
      complete(request, context) {
        asked.push({ request, context });
        return complete(request, context);
      },
      async *embed(request) {
        if (embed) yield embed(request);
      },
      listModels: async () => [],
      listProviders: () => [],
      getHealth: () => ({
        $typeName: 'llmgateway.v1.GetHealthResponse',
        status: HealthStatus.HEALTHY,
        version: '0.1.0',
        activeProviders: [],
        totalRequests: 0,
        providers: [],
      }),
      circuitBreakerOf: unscripted,
      resetCircuitBreaker: unscripted,
      setCircuitBreaker: unscripted,
      explainRoute: unscripted,
      getUsage: unscripted,
      purgeCache: unscripted,
      ...gateway,
    },
    arrive: () => () => {},
    authenticate: () => ({ name: 'anonymous', tier: 'default', models: [], admin: true }),
    addressOf: addressReader([]),
    log: pino({}, { write: (line: string) => void logged.push(line) }),
    bodyLimitBytes: 1_000_000,
    writeStallMs: 60_000,
    draining: () => false,
    reload: async () => {
      throw new GatewayError('not_found', 'there is nothing to reload');
    },
    ...dependencies,
  });
  const server = http2 ? createHttp2Server(handler) : createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    if ('closeAllConnections' in server) server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, logged };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came
  readonly json: any;
}

export interface Sending {
  readonly method?: string;
  readonly headers?: Record<string, string | number>;
  readonly body?: string | Buffer | object;
}

/** Send one request over a connection of its own, and read the whole answer. */
export function send(served: Served, path: string, sending: Sending = {}): Promise<Answer> {
  const { body, headers } = sending;
  const bytes = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const method = sending.method ?? (body === undefined ? 'GET' : 'POST');
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    const request = httpRequest(served.url + path, { method, agent: false, headers: { ...type, ...headers } });
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parsed(text) });
      });
    });
    request.end(bytes);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The data of a stream of server-sent events, parsed except for `[DONE]`. */
// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came
export function frames(text: string): any[] {
  return text
    .split('\n\n')
    .filter((frame) => frame.startsWith('data: '))
    .map((frame) => parsed(frame.slice(6)) ?? frame.slice(6));
}

/** Send one request over HTTP/2. */
export async function sendHttp2(served: Served, path: string, sending: Sending = {}): Promise<Answer> {
  const session = connectHttp2(served.url);
  try {
    const method = sending.method ?? (sending.body === undefined ? 'GET' : 'POST');
    const stream = session.request({ ':path': path, ':method': method, ...sending.headers });
    const headers = new Promise<IncomingHttpHeaders>((resolve) => stream.on('response', resolve));
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    const ended = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
    stream.end(typeof sending.body === 'object' ? JSON.stringify(sending.body) : sending.body);
    const received = await headers;
    await ended;
    const text = Buffer.concat(chunks).toString('utf8');
    return { status: Number(received[':status']), headers: received, text, json: parsed(text) };
  } finally {
    session.close();
  }
}
