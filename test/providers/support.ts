import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Completion,
  type CompletionEvent,
  type CompletionRequest,
  CompletionRequestSchema,
  Role,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { EmbeddingRequestSchema, type EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { collect } from '../../src/completion.ts';
import type { Provider, ProviderCall } from '../../src/providers/provider.ts';
import { createProvider, type ProviderSettings } from '../../src/providers/registry.ts';

/** The key that tests configure: it must show up in no message. */
export const secretKey = 'key-that-is-never-shown';

/** A provider on a base URL, with a key. */
export function providerAt(baseUrl: string, settings: Partial<ProviderSettings> = {}): Provider {
  return createProvider({ name: 'upstream', kind: 'openai_compatible', baseUrl, apiKeys: [secretKey], ...settings });
}

/** A question of one line. */
export function question(text = 'hi', fields: Partial<CompletionRequest> = {}): CompletionRequest {
  const messages = [{ role: Role.USER, parts: [{ kind: { case: 'text' as const, value: text } }] }];
  return create(CompletionRequestSchema, { messages, ...fields } as never);
}

/** A call that nobody ends. */
export function callOf(fields: Partial<ProviderCall> = {}): ProviderCall {
  return { model: 'm', streaming: false, requestId: 'r-1', signal: new AbortController().signal, ...fields };
}

/** What a provider answers, as one message. */
export async function answerOf(
  provider: Provider,
  request = question(),
  call: Partial<ProviderCall> = {},
): Promise<Completion> {
  return collect(provider.complete(request, callOf(call)));
}

/** All events until the end, and what the answer failed with, if it did. */
export async function eventsOf(
  events: AsyncIterable<CompletionEvent>,
): Promise<{ events: CompletionEvent[]; error: unknown }> {
  const seen: CompletionEvent[] = [];
  try {
    for await (const event of events) seen.push(event);
    return { events: seen, error: undefined };
  } catch (error) {
    return { events: seen, error };
  }
}

/** The vectors that a provider answers with. */
export async function vectorsOf(
  provider: Provider,
  fields: MessageInitShape<typeof EmbeddingRequestSchema>,
): Promise<EmbeddingResult> {
  for await (const result of provider.embed(create(EmbeddingRequestSchema, fields), callOf())) return result;
  throw new Error('the provider yielded nothing');
}

/** An upstream of a test's own, on a free port. */
export interface Upstream extends AsyncDisposable {
  readonly url: string;
  readonly requests: { method: string; path: string; headers: IncomingMessage['headers']; body: string }[];
  /** Sockets that are open now. */
  readonly sockets: ReadonlySet<unknown>;
}

/** Start an upstream that answers as told. */
export async function startUpstream(
  handler: (request: IncomingMessage, response: ServerResponse, body: string) => void,
): Promise<Upstream> {
  const requests: Upstream['requests'] = [];
  const sockets = new Set<unknown>();
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      requests.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers, body });
      handler(request, response, body);
    });
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    sockets,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** Where the recordings are; undefined: nowhere. */
export const replayFolder = [process.env.REPLAY_CORPUS ?? '../shared/replay']
  .map((folder) => resolve(import.meta.dirname, '../..', folder))
  .find((folder) => existsSync(`${folder}/replay-upstream.mjs`));

/** Start the server that replays recordings; stop it by disposing. */
export async function startReplay(corpora: readonly string[]): Promise<AsyncDisposable & { readonly url: string }> {
  const child: ChildProcess = spawn(
    process.execPath,
    [`${replayFolder}/replay-upstream.mjs`, ...corpora.flatMap((corpus) => ['--corpus', `${replayFolder}/${corpus}`])],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const url = await new Promise<string>((started, failed) => {
    let printed = '';
    child.stdout?.on('data', (bytes) => {
      printed += bytes;
      const match = /"listening":"([^"]+)"/.exec(printed);
      if (match?.[1]) started(match[1]);
    });
    child.on('exit', () => failed(new Error('the replay server ended')));
  });
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
    },
  };
}
