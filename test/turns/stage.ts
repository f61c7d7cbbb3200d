import OpenAI from 'openai';
import type {
  ChatCompletionMessageFunctionToolCall as Call,
  ChatCompletionMessageParam as Message,
  ChatCompletionTool as Tool,
} from 'openai/resources/chat/completions';
import { expect } from 'vitest';
import { startUpstream } from '../providers/support.ts';
import { startGateway } from '../support/gateway.ts';
import { dialects, type Json } from './dialects.ts';

/** A kind of provider that a conversation is held with. */
export type Kind = keyof typeof dialects;

/** Every kind, to be tried one after the other. */
export const kinds = Object.keys(dialects) as Kind[];

/** A gateway with a provider of each kind, whose upstream says what a test tells it to. */
export interface Stage extends AsyncDisposable {
  readonly client: OpenAI;
  /** Say these bodies next, one a request. */
  play(...bodies: readonly string[]): void;
  /** The bodies of requests since the last look, oldest first. */
  sent(): Json[];
}

/** The name of the provider of a kind. `ollama` alone would name the one that the environment switches. */
export const providerOf = (kind: Kind): string => `the-${kind}`;

/** Build a stage. */
export async function startStage(): Promise<Stage> {
  const script: string[] = [];
  const upstream = await startUpstream(({ method }, response) => {
    const body = method === 'POST' ? script.shift() : '{}';
    if (body === undefined) response.writeHead(500);
    response.end(body);
  });
  const providers = kinds.map((kind) => ({
    name: providerOf(kind),
    kind,
    base_url: `${upstream.url}/${kind}${dialects[kind].path}`,
    ...(kind !== 'ollama' && { api_key: 'k' }),
    drop_unsupported: 'drop',
  }));
  const retry = { attempts_per_target: 1, attempts: 1 };
  const gateway = await startGateway({ server: { body_limit_bytes: 50_000_000 }, providers, retry });
  return {
    client: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 }),
    play(...bodies) {
      script.splice(0, script.length, ...bodies);
    },
    sent: () => upstream.requests.splice(0).flatMap(({ body }) => (body === '' ? [] : [JSON.parse(body) as Json])),
    async [Symbol.asyncDispose]() {
      await gateway.close();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

/** What is asked in one turn. */
export interface Question {
  readonly model: string;
  readonly messages: Message[];
  readonly tools?: Tool[];
}

/** Ask by OpenAI's SDK; its message as it has it: whole, or put together of a stream by the SDK. */
export async function ask(client: OpenAI, question: Question, streaming: boolean): Promise<Message> {
  const { choices } = streaming
    ? await client.chat.completions.stream(question).finalChatCompletion()
    : await client.chat.completions.create(question);
  if (!choices[0]) throw new Error('no choice');
  return choices[0].message;
}

/** The calls in a message, in their order. */
export function callsIn(message: Message): Call[] {
  const calls = 'tool_calls' in message ? (message.tool_calls ?? []) : [];
  return calls.filter((call) => call.type === 'function');
}

/** The message as a client has it that keeps nothing but what OpenAI defines. */
export function standardOnly(message: Message): Message {
  const calls = callsIn(message).map(({ id, type, function: { name, arguments: args } }) => ({
    id,
    type,
    function: { name, arguments: args },
  }));
  const content = typeof message.content === 'string' ? message.content : null;
  return { role: 'assistant', content, ...(calls.length > 0 && { tool_calls: calls }) };
}

/** Tools by their names, without a word on what they take. */
export function toolsNamed(names: Iterable<string>): Tool[] {
  const parameters = { type: 'object', properties: {} };
  return [...new Set(names)].map((name) => ({ type: 'function', function: { name, parameters } }));
}

/** Gemini and Claude take turns: what one side says in a row, results of parallel calls above all, is one turn. */
export function expectAlternation(kind: Kind, body: Json): void {
  if (kind !== 'gemini' && kind !== 'anthropic') return;
  const roles = dialects[kind].turnsOf(body).map(({ role }) => role);
  expect(roles.filter((role, index) => role === roles[index - 1])).toEqual([]);
}
