import type { ServerResponse } from 'node:http';
import OpenAI from 'openai';
import type {
  ChatCompletionMessageParam as Message,
  ChatCompletionTool as Tool,
} from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startUpstream, type Upstream } from '../providers/support.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { corpora, loadOracle, type Recording, recordings } from '../support/replay.ts';

type Json = Record<string, unknown>;

// A conversation with Claude, held by OpenAI's SDK: two tools called at once, their results, a final answer.

let answer: (body: Json, response: ServerResponse) => void;
let upstream: Upstream;
let gateway: TestGateway;
let client: OpenAI;

beforeAll(async () => {
  upstream = await startUpstream((_, response, body) => answer(JSON.parse(body), response));
  const provider = { name: 'claude', kind: 'anthropic', api_key: 'k', base_url: `${upstream.url}/v1` };
  const config = { providers: [{ ...provider, drop_unsupported: 'drop' }] };
  gateway = await startGateway(config);
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 });
});
afterAll(async () => {
  await gateway?.close();
  await upstream?.[Symbol.asyncDispose]();
});

const bodies = () => upstream.requests.splice(0).map(({ body }) => JSON.parse(body) as Json);

const numbers = {
  type: 'object',
  properties: {
    a: { type: 'integer', description: 'first number' },
    b: { type: 'integer', description: 'second number' },
  },
  required: ['a', 'b'],
};
const tools: Tool[] = [
  { type: 'function', function: { name: 'add', description: 'Add two numbers', parameters: numbers } },
  { type: 'function', function: { name: 'multiply', description: 'Multiply two numbers', parameters: numbers } },
];

/** Ask, and return the message as a client keeps it: all that came, whole or put together from a stream. */
async function ask(
  messages: Message[],
  model: string,
  streaming: boolean,
  { dropped = null, ...more }: { reasoning_effort?: 'low'; dropped?: string | null } = {},
): Promise<Message> {
  const request = { model: `claude/${model}`, messages, tools, max_completion_tokens: 4_000, ...more };
  if (!streaming) {
    const { data, response } = await client.chat.completions.create(request).withResponse();
    expect(response.headers.get('x-gateway-dropped-params')).toBe(dropped);
    return data.choices[0]?.message as Message;
  }
  const { data, response } = await client.chat.completions.create({ ...request, stream: true }).withResponse();
  expect(response.headers.get('x-gateway-dropped-params')).toBe(dropped);
  const message: Json = { role: 'assistant', content: '' };
  const calls: { id: string; type: string; function: { name: string; arguments: string } }[] = [];
  for await (const { choices } of data) {
    const { content, tool_calls, reasoning_content, reasoning_details } = (choices[0]?.delta ?? {}) as Json;
    message.content += (content as string) ?? '';
    if (reasoning_content) message.reasoning_content = `${message.reasoning_content ?? ''}${reasoning_content}`;
    if (Array.isArray(reasoning_details)) {
      message.reasoning_details = [...((message.reasoning_details as unknown[]) ?? []), ...reasoning_details];
    }
    for (const call of (tool_calls as ((typeof calls)[number] & { index: number })[]) ?? []) {
      const { index, ...first } = call;
      const known = calls[index];
      if (known) known.function.arguments += call.function.arguments;
      else calls[index] = first;
    }
  }
  if (calls.length > 0) message.tool_calls = calls;
  return message as unknown as Message;
}

const results = (message: Message): Message[] =>
  ('tool_calls' in message ? (message.tool_calls ?? []) : []).map(({ id }, index) => ({
    role: 'tool',
    tool_call_id: id,
    content: ['5', '6'][index] ?? '',
  }));

describe.skipIf(recordings.missing)('two turns that were recorded', () => {
  it('are asked as the recorded client asked them', async () => {
    const oracle = await loadOracle();
    const [first, second] = ['anthropic-stream-paralleltools-02', 'anthropic-stream-toolresult-01'].map((name) =>
      oracle.loadCorpus(corpora).find(({ id }) => id === name),
    ) as [Recording, Recording];
    answer = (body, response) => {
      const { response: recorded } = (body.messages as unknown[]).length === 1 ? first : second;
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(recorded.body);
    };
    const model = first.request.body?.model as string;
    const messages: Message[] = [
      { role: 'system', content: 'You are a helpful assistant. Always use both add and multiply at the same time.' },
      { role: 'user', content: 'Add and multiply the number 2 and 3' },
    ];

    const called = await ask(messages, model, true);
    const said = await ask([...messages, called, ...results(called)], model, true);

    const [firstBody, secondBody] = bodies();
    const ids = (called as { tool_calls: { id: string }[] }).tool_calls.map(({ id }) => id);
    expect(comparable(firstBody)).toEqual(comparable(first.request.body));
    expect(withNewIds(comparable(secondBody), ids)).toEqual(
      withNewIds(comparable(second.request.body), ['toolu_01NbP3iG8A6TYDwEUxN6tiWw', 'toolu_01Luz2H6g7H2QWmHBDtu4r24']),
    );
    expect(said.content).toMatch(/5[\s\S]*6/);
  });
});

/** What both sides say in other words: where to cache, that tools may be called at once, and what was said before the calls. */
function comparable(body: unknown): unknown {
  const { tool_choice, ...rest } = JSON.parse(
    JSON.stringify(body, (key, value) => (key === 'cache_control' ? undefined : value)),
  );
  expect([undefined, 'auto']).toContain(tool_choice?.type);
  for (const { role, content } of rest.messages) {
    if (role === 'assistant' && content[0].type === 'text') content[0].text = 'said';
  }
  return rest;
}

function withNewIds(body: unknown, ids: readonly string[]): unknown {
  return JSON.parse(ids.reduce((json, id, index) => json.replaceAll(id, `id-${index}`), JSON.stringify(body)));
}

const thinkingTurn = [
  { type: 'thinking', thinking: 'both at once', signature: 'c2lnbmVk' },
  { type: 'redacted_thinking', data: 'aGlkZGVu' },
  { type: 'text', text: 'I count.' },
  { type: 'tool_use', id: 'toolu_1', name: 'add', input: { a: 2, b: 3 } },
  { type: 'tool_use', id: 'toolu_2', name: 'multiply', input: { a: 2, b: 3 } },
];

/** Answer as Claude does: whole, or as events of blocks. */
function tell(response: ServerResponse, streaming: boolean, content: Json[], stop_reason: string): void {
  const usage = { input_tokens: 7, cache_creation_input_tokens: 0, cache_read_input_tokens: 3, output_tokens: 5 };
  const message = { id: 'msg', type: 'message', role: 'assistant', model: 'claude-sonnet-4-5', usage, stop_reason };
  if (!streaming) return void response.end(JSON.stringify({ ...message, content }));
  const events: Json[] = [{ type: 'message_start', message: { ...message, content: [], stop_reason: null } }];
  for (const [index, block] of content.entries()) {
    const { text, thinking, signature, input, ...rest } = block;
    const fields = { text: text && '', thinking: thinking && '', signature: signature && '', input: input && {} };
    events.push({ type: 'content_block_start', index, content_block: { ...rest, ...fields } });
    const delta = (fields: object) => events.push({ type: 'content_block_delta', index, delta: fields });
    if (text) delta({ type: 'text_delta', text });
    if (thinking)
      for (const piece of String(thinking).split(/(?= )/)) delta({ type: 'thinking_delta', thinking: piece });
    if (signature) delta({ type: 'signature_delta', signature });
    if (input) delta({ type: 'input_json_delta', partial_json: JSON.stringify(input) });
    events.push({ type: 'content_block_stop', index });
  }
  events.push({ type: 'message_delta', delta: { stop_reason }, usage: { output_tokens: 5 } }, { type: 'message_stop' });
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(''));
}

describe.each([false, true])('a conversation with thoughts (streamed: %s)', (streaming) => {
  const question: Message[] = [{ role: 'user', content: 'Add and multiply 2 and 3' }];
  const play = () => {
    answer = (body, response) =>
      (body.messages as unknown[]).length === 1
        ? tell(response, streaming, thinkingTurn, 'tool_use')
        : tell(response, streaming, [{ type: 'text', text: '5 and 6' }], 'end_turn');
  };

  it('brings signed thoughts back to their provider as they were', async () => {
    play();
    const called = await ask(question, 'claude-sonnet-4-5', streaming, { reasoning_effort: 'low' });
    const said = await ask([...question, called, ...results(called)], 'claude-sonnet-4-5', streaming, {
      reasoning_effort: 'low',
    });

    const [first, second] = bodies();
    expect(first?.thinking).toEqual({ type: 'enabled', budget_tokens: 2_048 });
    expect(second?.thinking).toEqual(first?.thinking);
    expect(second?.messages).toEqual([
      { role: 'user', content: [{ type: 'text', text: 'Add and multiply 2 and 3' }] },
      { role: 'assistant', content: thinkingTurn },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: '5' }] },
          { type: 'tool_result', tool_use_id: 'toolu_2', content: [{ type: 'text', text: '6' }] },
        ],
      },
    ]);
    expect(said.content).toBe('5 and 6');
  });

  it('goes on without thinking where a client keeps only what OpenAI knows', async () => {
    play();
    const { role, content, tool_calls } = (await ask(question, 'claude-sonnet-4-5', streaming, {
      reasoning_effort: 'low',
    })) as { role: 'assistant'; content: string; tool_calls: [] };
    const called = { role, content, tool_calls };
    const said = await ask([...question, called, ...results(called)], 'claude-sonnet-4-5', streaming, {
      reasoning_effort: 'low',
      dropped: 'reasoning',
    });

    const [first, second] = bodies();
    expect(first?.thinking).toBeDefined();
    expect(second?.thinking).toBeUndefined();
    expect(second).toMatchObject({ messages: [{}, { content: thinkingTurn.slice(2) }, {}] });
    expect(said.content).toBe('5 and 6');
  });
});
