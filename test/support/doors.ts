import type { MessageInitShape } from '@bufbuild/protobuf';
import { type Client, Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from '@connectrpc/connect-node';
import { createParser } from 'eventsource-parser';
import { Agent, fetch } from 'undici';
import {
  CallFailureSchema,
  type Completion,
  type CompletionEvent,
  type CompletionRequestSchema,
  FinishReason,
  Guarantee,
  Role,
  RoutingStrategy,
  type Usage,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import type { Reading } from './replay.ts';

/** A call as a test means it, before a door puts it into its own words. */
export interface Asked {
  readonly model: string;
  readonly provider?: string;
  readonly fallback?: boolean;
  readonly strategy?: keyof typeof strategies;
  readonly guarantee?: 'buffered' | 'none';
  /** How many answers; the native shape has one. */
  readonly n?: number;
  /** What the user says. The default is `hi`. */
  readonly text?: string;
  /** The conversation, sent in place of `text` by the RPC doors. */
  readonly messages?: MessageInitShape<typeof CompletionRequestSchema>['messages'];
  /** A body in OpenAI's words, sent in place of `text` by the REST doors; the native one takes its messages only. */
  readonly openaiBody?: { readonly messages: readonly unknown[] } & Record<string, unknown>;
  /** Names of functions that the model may call. */
  readonly tools?: readonly string[];
  readonly signal?: AbortSignal;
  readonly headers?: Record<string, string>;
  readonly timeoutMs?: number;
  /** Told of each event or frame that comes. */
  readonly onEvent?: () => void;
}

const strategies = {
  round_robin: RoutingStrategy.ROUND_ROBIN,
  least_latency: RoutingStrategy.LEAST_LATENCY,
  lowest_cost: RoutingStrategy.LOWEST_COST,
  highest_quality: RoutingStrategy.HIGHEST_QUALITY,
  random: RoutingStrategy.RANDOM,
  failover: RoutingStrategy.FAILOVER,
} as const;

/** How a call failed, in the words of its door. */
export interface Failure {
  /** The HTTP status at REST doors, where the failure came before the first event. */
  readonly status?: number;
  /** The Connect code at RPC doors, in lower case. */
  readonly code?: string;
  /** The gateway's own word, where the door tells it. */
  readonly reason?: string;
  readonly type?: string;
  readonly openaiCode?: string | null;
  readonly message: string;
}

/** What came of a call. */
export interface Outcome {
  /** The answer; where the call failed, as much of it as came. */
  readonly told: Reading;
  readonly failure: Failure | undefined;
  readonly headers: Record<string, string>;
  /** Everything that came, at the streaming RPC doors. */
  readonly events?: readonly CompletionEvent[];
  readonly completion?: Completion;
}

/** A way into the gateway. */
export interface Door {
  readonly name: string;
  readonly streaming: boolean;
  readonly family: 'rpc' | 'openai' | 'native';
  ask(asked: Asked): Promise<Outcome>;
}

export interface Doors {
  readonly all: readonly Door[];
  named(name: string): Door;
  close(): Promise<void>;
}

/** Open every door of a gateway. */
export function openDoors(url: string): Doors {
  const sessions = new Http2SessionManager(url);
  const agent = new Agent({ connections: 256, bodyTimeout: 60_000 });
  const transports: Record<string, Transport> = {
    grpc: createGrpcTransport({ baseUrl: url, sessionManager: sessions }),
    'grpc-web': createGrpcWebTransport({ baseUrl: url, httpVersion: '1.1' }),
    'connect-binary': createConnectTransport({ baseUrl: url, httpVersion: '1.1', useBinaryFormat: true }),
    'connect-json': createConnectTransport({ baseUrl: url, httpVersion: '1.1', useBinaryFormat: false }),
  };
  const all: Door[] = [
    ...Object.entries(transports).flatMap(([name, transport]) => {
      const client = createClient(CompletionService, transport);
      return [rpcUnary(name, client), rpcStream(name, client)];
    }),
    openaiUnary(url, agent),
    openaiStream(url, agent),
    nativeUnary(url, agent),
    nativeStream(url, agent),
  ];
  return {
    all,
    named(name) {
      const door = all.find((each) => each.name === name);
      if (!door) throw new Error(`no door ${name}`);
      return door;
    },
    async close() {
      sessions.abort();
      await agent.destroy();
    },
  };
}

// ---------------------------------------------------------------- gRPC, gRPC-Web, Connect

function rpcRequest(asked: Asked): MessageInitShape<typeof CompletionRequestSchema> {
  const { model, provider, fallback, strategy, guarantee, n, text = 'hi', tools = [] } = asked;
  return {
    model,
    ...(n !== undefined && { n }),
    messages: asked.messages ?? [{ role: Role.USER, parts: [{ kind: { case: 'text', value: text } }] }],
    tools: tools.map((name) => ({
      kind: { case: 'function' as const, value: { name, parametersJson: '{"type":"object","properties":{}}' } },
    })),
    options: {
      ...(provider !== undefined && { provider }),
      ...(fallback !== undefined && { fallback }),
      ...(strategy && { routingStrategy: strategies[strategy] }),
      ...(guarantee && { guarantee: guarantee === 'buffered' ? Guarantee.BUFFERED : Guarantee.NONE }),
    },
  };
}

type CompletionClient = Client<typeof CompletionService>;

function rpcUnary(name: string, client: CompletionClient): Door {
  return {
    name: `${name} unary`,
    streaming: false,
    family: 'rpc',
    async ask(asked) {
      const headers: Record<string, string> = {};
      try {
        const response = await client.createCompletion({ request: rpcRequest(asked) }, callOptions(asked, headers));
        const { completion } = response;
        if (!completion) throw new Error('an answer without a completion');
        return { told: readingOf(completion), failure: undefined, headers, completion };
      } catch (error) {
        return { told: nothing(), failure: rpcFailure(error), headers: { ...headers, ...metadataOf(error) } };
      }
    },
  };
}

function rpcStream(name: string, client: CompletionClient): Door {
  return {
    name: `${name} stream`,
    streaming: true,
    family: 'rpc',
    async ask(asked) {
      const headers: Record<string, string> = {};
      const events: CompletionEvent[] = [];
      const fold = new CompletionFold();
      try {
        for await (const { event } of client.streamCompletion(
          { request: rpcRequest(asked) },
          callOptions(asked, headers),
        )) {
          if (!event) throw new Error('a message without an event');
          events.push(event);
          asked.onEvent?.();
        }
        for (const event of events) fold.add(event);
        const completion = fold.result();
        return { told: readingOf(completion), failure: undefined, headers, events, completion };
      } catch (error) {
        return {
          told: partial(events),
          failure: rpcFailure(error),
          headers: { ...headers, ...metadataOf(error) },
          events,
        };
      }
    },
  };
}

/** The headers and trailers of an answer that was an error: clients are told them with it only. */
function metadataOf(error: unknown): Record<string, string> {
  return Object.fromEntries(ConnectError.from(error).metadata);
}

function callOptions({ signal, timeoutMs, headers: sent }: Asked, headers: Record<string, string>) {
  return {
    ...(signal && { signal }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(sent && { headers: sent }),
    onHeader: (got: Headers) => void Object.assign(headers, Object.fromEntries(got)),
  };
}

/** What an RPC door says of a failed call. */
export function rpcFailure(cause: unknown): Failure {
  const error = ConnectError.from(cause);
  const detail = error.findDetails(CallFailureSchema)[0];
  return {
    code: Code[error.code].replaceAll(/(?<!^)[A-Z]/g, '_$&').toLowerCase(),
    message: error.rawMessage,
    ...(detail && { reason: detail.reason }),
  };
}

const finishWords: Record<number, string> = {
  [FinishReason.STOP]: 'stop',
  [FinishReason.LENGTH]: 'length',
  [FinishReason.TOOL_CALLS]: 'tool_calls',
  [FinishReason.CONTENT_FILTER]: 'content_filter',
};

function readingOf(completion: Completion): Reading {
  const choice = completion.choices.find(({ index }) => index === 0);
  const reading = nothing();
  for (const { kind } of choice?.message?.parts ?? []) {
    if (kind.case === 'text') reading.text += kind.value;
    if (kind.case === 'reasoning') reading.reasoning += kind.value;
    if (kind.case === 'toolCall') {
      reading.tool_calls.push({ name: kind.value.name, arguments: argumentsOf(kind.value.arguments) });
    }
  }
  reading.finish_reason = choice && (finishWords[choice.finishReason] ?? 'stop');
  reading.usage = completion.usage && usageOf(completion.usage);
  return reading;
}

/** What a stream that failed had told. */
function partial(events: readonly CompletionEvent[]): Reading {
  const reading = nothing();
  for (const { event } of events) {
    if (event.case === 'textDelta') reading.text += event.value.text;
    if (event.case === 'reasoningDelta') reading.reasoning += event.value.text;
  }
  return reading;
}

function usageOf(usage: Usage): NonNullable<Reading['usage']> {
  const { promptTokens, completionTokens, totalTokens, cachedPromptTokens, reasoningTokens } = usage;
  return {
    prompt: promptTokens,
    completion: completionTokens,
    total: totalTokens,
    cached: cachedPromptTokens,
    reasoning: reasoningTokens,
  };
}

function argumentsOf(text: string | undefined): unknown {
  try {
    return JSON.parse(text || '{}');
  } catch {
    return text;
  }
}

function nothing(): Reading {
  return { text: '', reasoning: '', tool_calls: [], finish_reason: undefined, usage: undefined };
}

// ---------------------------------------------------------------- REST

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: AsyncIterable<Uint8Array>;
}

async function post(agent: Agent, url: string, asked: Asked, body: object): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    dispatcher: agent,
    headers: { 'content-type': 'application/json', ...asked.headers },
    body: JSON.stringify(body),
    ...(asked.signal && { signal: asked.signal }),
  });
  if (!response.body) throw new Error('an answer without a body');
  return { status: response.status, headers: Object.fromEntries(response.headers), body: response.body };
}

async function textOf(answer: Answer): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of answer.body) text += decoder.decode(bytes, { stream: true });
  return text;
}

/** Every `data:` of an event stream, and how the stream ended. */
async function framesOf(answer: Answer, onFrame: () => void = () => {}): Promise<{ frames: string[]; broken: string }> {
  const frames: string[] = [];
  const parser = createParser({
    onEvent: ({ data }) => {
      frames.push(data);
      onFrame();
    },
  });
  const decoder = new TextDecoder();
  try {
    for await (const bytes of answer.body) parser.feed(decoder.decode(bytes, { stream: true }));
    return { frames, broken: '' };
  } catch (error) {
    return { frames, broken: String(error) };
  }
}

function gone(error: unknown): Outcome {
  return { told: nothing(), failure: { message: String(error) }, headers: {} };
}

function openaiTools(names: readonly string[] | undefined): object {
  if (!names?.length) return {};
  const parameters = { type: 'object', properties: {} };
  return { tools: names.map((name) => ({ type: 'function', function: { name, parameters } })) };
}

function openaiBody(asked: Asked, stream: boolean): object {
  const { model, provider, fallback, guarantee, n, text = 'hi', tools } = asked;
  return {
    ...(asked.openaiBody ?? { messages: [{ role: 'user', content: text }] }),
    ...openaiTools(tools),
    model,
    provider,
    fallback,
    routing_strategy: asked.strategy,
    guarantee,
    n,
    stream,
    ...(stream && { stream_options: { include_usage: true } }),
  };
}

/** The parts of OpenAI's answers that the doors read. */
interface OpenAIMessage {
  readonly content?: string | null;
  readonly reasoning_content?: string | null;
  readonly tool_calls?: readonly {
    readonly index?: number;
    readonly id?: string;
    readonly function?: { readonly name?: string; readonly arguments?: string };
  }[];
}

interface OpenAIUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number };
  readonly completion_tokens_details?: { readonly reasoning_tokens?: number };
}

function readOpenAIUsage(usage: OpenAIUsage | null | undefined): Reading['usage'] {
  if (!usage) return undefined;
  return {
    prompt: usage.prompt_tokens,
    completion: usage.completion_tokens,
    total: usage.total_tokens,
    cached: usage.prompt_tokens_details?.cached_tokens,
    reasoning: usage.completion_tokens_details?.reasoning_tokens,
  };
}

function openaiFailure(text: string, status?: number): Failure {
  try {
    const { error } = JSON.parse(text);
    const { message, type, code: openaiCode, metadata } = error;
    return { message, type, openaiCode, reason: metadata?.reason, ...(status && { status }) };
  } catch {
    return { message: `not an error of OpenAI's shape: ${text.slice(0, 200)}`, ...(status && { status }) };
  }
}

function openaiUnary(url: string, agent: Agent): Door {
  return {
    name: 'openai unary',
    streaming: false,
    family: 'openai',
    async ask(asked) {
      try {
        const answer = await post(agent, `${url}/v1/chat/completions`, asked, openaiBody(asked, false));
        const { headers, status } = answer;
        const text = await textOf(answer);
        if (status !== 200) return { told: nothing(), failure: openaiFailure(text, status), headers };
        const body = JSON.parse(text);
        const message: OpenAIMessage = body.choices[0].message;
        const told: Reading = {
          text: message.content ?? '',
          reasoning: message.reasoning_content ?? '',
          tool_calls: (message.tool_calls ?? []).map((call) => ({
            name: call.function?.name ?? '',
            arguments: argumentsOf(call.function?.arguments),
          })),
          finish_reason: body.choices[0].finish_reason,
          usage: readOpenAIUsage(body.usage),
        };
        return { told, failure: undefined, headers };
      } catch (error) {
        return gone(error);
      }
    },
  };
}

function openaiStream(url: string, agent: Agent): Door {
  return {
    name: 'openai stream',
    streaming: true,
    family: 'openai',
    async ask(asked) {
      try {
        const answer = await post(agent, `${url}/v1/chat/completions`, asked, openaiBody(asked, true));
        const { headers, status } = answer;
        if (status !== 200) return { told: nothing(), failure: openaiFailure(await textOf(answer), status), headers };
        const { frames, broken } = await framesOf(answer, asked.onEvent);
        return { ...foldOpenAI(frames, broken), headers };
      } catch (error) {
        return gone(error);
      }
    },
  };
}

/** What an SDK makes of the frames; a stream without `[DONE]`, or with an error, has failed. */
function foldOpenAI(frames: readonly string[], broken: string): { told: Reading; failure: Failure | undefined } {
  const told = nothing();
  const calls: { name: string; arguments: string }[] = [];
  let failure: Failure | undefined;
  let done = false;
  for (const frame of frames) {
    if (done) failure ??= { message: 'a frame after [DONE]' };
    if (frame === '[DONE]') {
      if (failure) failure = { message: `[DONE] after an error: ${failure.message}` };
      done = true;
      continue;
    }
    const chunk = JSON.parse(frame);
    if (chunk.error) {
      failure = openaiFailure(frame);
      continue;
    }
    if (chunk.usage) told.usage = readOpenAIUsage(chunk.usage);
    for (const choice of chunk.choices) {
      if (choice.index !== 0) continue;
      const delta: OpenAIMessage = choice.delta;
      told.text += delta.content ?? '';
      told.reasoning += delta.reasoning_content ?? '';
      for (const { index = 0, function: called } of delta.tool_calls ?? []) {
        calls[index] ??= { name: '', arguments: '' };
        calls[index].name += called?.name ?? '';
        calls[index].arguments += called?.arguments ?? '';
      }
      told.finish_reason = choice.finish_reason ?? told.finish_reason;
    }
  }
  told.tool_calls = calls.map((call) => ({ name: call.name, arguments: argumentsOf(call.arguments) }));
  if (broken) failure ??= { message: `broken off: ${broken}` };
  if (!done) failure ??= { message: 'no [DONE] and no error' };
  return { told, failure };
}

function nativeBody(asked: Asked, stream: boolean): object {
  const { model, provider, fallback, guarantee, strategy, text = 'hi', tools } = asked;
  const messages = asked.openaiBody?.messages ?? [{ role: 'user', content: text }];
  return { messages, model, provider, fallback, guarantee, routing_strategy: strategy, stream, ...openaiTools(tools) };
}

function nativeFailure(text: string, status?: number): Failure {
  try {
    const { error, message } = JSON.parse(text);
    return { message, reason: error, ...(status && { status }) };
  } catch {
    return { message: `not an error of the native shape: ${text.slice(0, 200)}`, ...(status && { status }) };
  }
}

function nativeUnary(url: string, agent: Agent): Door {
  return {
    name: 'native unary',
    streaming: false,
    family: 'native',
    async ask(asked) {
      try {
        const answer = await post(agent, `${url}/completion`, asked, nativeBody(asked, false));
        const { headers, status } = answer;
        const text = await textOf(answer);
        if (status !== 200) return { told: nothing(), failure: nativeFailure(text, status), headers };
        const body = JSON.parse(text);
        const told = { ...nothing(), text: body.content ?? '', finish_reason: body.finish_reason };
        return { told: { ...told, usage: readOpenAIUsage(body.usage) }, failure: undefined, headers };
      } catch (error) {
        return gone(error);
      }
    },
  };
}

function nativeStream(url: string, agent: Agent): Door {
  return {
    name: 'native stream',
    streaming: true,
    family: 'native',
    async ask(asked) {
      try {
        const answer = await post(agent, `${url}/completion`, asked, nativeBody(asked, true));
        const { headers, status } = answer;
        if (status !== 200) return { told: nothing(), failure: nativeFailure(await textOf(answer), status), headers };
        const { frames, broken } = await framesOf(answer, asked.onEvent);
        const told = nothing();
        let failure: Failure | undefined;
        let done = false;
        for (const frame of frames) {
          const event = JSON.parse(frame);
          if (done) failure ??= { message: 'a frame after the last one' };
          if (event.done) done = true;
          if (event.error) failure = { reason: event.error, message: event.message };
          else told.text += event.content ?? '';
          if (event.done && !event.error) {
            told.finish_reason = event.finish_reason;
            told.usage = readOpenAIUsage(event.usage);
          }
        }
        if (broken) failure ??= { message: `broken off: ${broken}` };
        if (!done) failure ??= { message: 'no last event and no error' };
        return { told, failure, headers };
      } catch (error) {
        return gone(error);
      }
    },
  };
}
