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
type Call = { id: string; index?: number; function: { name: string; arguments: string } };

// A conversation with Gemini 3, held by OpenAI's SDK: two tools called at once, their results, a final answer.

const model = 'gemini-3.5-flash';
let answer: (body: Json, response: ServerResponse) => void;
let upstream: Upstream;
let gateway: TestGateway;
let client: OpenAI;

beforeAll(async () => {
  upstream = await startUpstream(({ method }, response, body) => {
    if (method === 'POST') answer(JSON.parse(body), response);
    else response.end('{"models":[]}');
  });
  const provider = { name: 'google', kind: 'gemini', api_key: 'k', base_url: `${upstream.url}/v1beta` };
  gateway = await startGateway({ providers: [provider] });
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 });
});
afterAll(async () => {
  await gateway?.close();
  await upstream?.[Symbol.asyncDispose]();
});

const bodies = () => upstream.requests.splice(0).flatMap(({ body }) => (body === '' ? [] : [JSON.parse(body) as Json]));

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools: Tool[] = [{ type: 'function', function: { name: 'weather', description: 'Tells it', parameters } }];
const question: Message[] = [{ role: 'user', content: 'Rome and Zürich?' }];

/** What Gemini says first: in one chunk, or in as many as there are parts, its end alone. */
const calling: Json[] = [
  { text: 'Two cities.', thought: true },
  { text: 'I look.' },
  { functionCall: { name: 'weather', args: { city: 'Rome' } }, thoughtSignature: 'c2lnbmVk' },
  { functionCall: { name: 'weather', args: { city: 'Zürich' } } },
];

function tell(response: ServerResponse, streaming: boolean, parts: readonly Json[]): void {
  const usageMetadata = { promptTokenCount: 7, candidatesTokenCount: 5, totalTokenCount: 12 };
  const end = { finishReason: 'STOP', index: 0 };
  if (!streaming) {
    response.end(JSON.stringify({ candidates: [{ content: { parts }, ...end }], usageMetadata, modelVersion: model }));
    return;
  }
  const candidates = [...parts.map((part) => ({ content: { role: 'model', parts: [part] } })), end];
  const chunks = candidates.map((candidate) => ({ candidates: [candidate], usageMetadata, modelVersion: model }));
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\r\n\r\n`).join(''));
}

/** Ask, and return the message as the SDK puts it together, with all that came. */
async function ask(messages: Message[], streaming: boolean): Promise<Json> {
  const request = { model: `google/${model}`, messages, tools };
  const completion = streaming
    ? await client.chat.completions.stream(request).finalChatCompletion()
    : await client.chat.completions.create(request);
  expect(completion.usage).toMatchObject(streaming ? {} : { prompt_tokens: 7, completion_tokens: 5 });
  return completion.choices.map(({ message }) => message as unknown as Json)[0] ?? {};
}

const results = (called: Json): Message[] =>
  ((called.tool_calls as Call[]) ?? []).map(({ id }, index) => ({
    role: 'tool',
    tool_call_id: id,
    content: index === 0 ? 'sunny' : '{"sky":"grey"}',
  }));

/** What reached Gemini in the second turn, its made-up ids by number. */
function secondTurn(called: Json): unknown {
  const [, second] = bodies();
  const ids = (called.tool_calls as Call[]).map(({ id }) => id);
  expect(new Set(ids).size).toBe(2);
  return JSON.parse(
    ids.reduce((json, id, index) => json.replaceAll(id, `id-${index}`), JSON.stringify(second?.contents)),
  );
}

describe.each([false, true])('a conversation with tools (streamed: %s)', (streaming) => {
  const play = () => {
    answer = ({ contents }, response) =>
      tell(response, streaming, (contents as unknown[]).length === 1 ? calling : [{ text: 'Sunny, and grey.' }]);
  };
  const answered = {
    role: 'user',
    parts: [
      { functionResponse: { id: 'id-0', name: 'weather', response: { result: 'sunny' } } },
      { functionResponse: { id: 'id-1', name: 'weather', response: { sky: 'grey' } } },
    ],
  };
  const call = (id: string, city: string) => ({ functionCall: { id, name: 'weather', args: { city } } });

  it('brings signatures back to their call', async () => {
    play();
    const called = await ask(question, streaming);
    const said = await ask([...question, called as unknown as Message, ...results(called)], streaming);

    expect(secondTurn(called)).toEqual([
      { role: 'user', parts: [{ text: 'Rome and Zürich?' }] },
      {
        role: 'model',
        parts: [
          ...(called.reasoning_content ? [{ text: 'Two cities.', thought: true }] : []),
          { text: 'I look.' },
          { ...call('id-0', 'Rome'), thoughtSignature: 'c2lnbmVk' },
          call('id-1', 'Zürich'),
        ],
      },
      answered,
    ]);
    expect(said.content).toBe('Sunny, and grey.');
  });

  it('goes on where a client keeps only what OpenAI knows', async () => {
    play();
    const called = await ask(question, streaming);
    const bare = (called.tool_calls as Call[]).map(({ id, function: f }) => ({ id, type: 'function', function: f }));
    const kept = { role: 'assistant', content: null, tool_calls: bare } as Message;
    const said = await ask([...question, kept, ...results(called)], streaming);

    const dummy = Buffer.from('skip_thought_signature_validator').toString('base64');
    expect(secondTurn(called)).toEqual([
      { role: 'user', parts: [{ text: 'Rome and Zürich?' }] },
      { role: 'model', parts: [{ ...call('id-0', 'Rome'), thoughtSignature: dummy }, call('id-1', 'Zürich')] },
      answered,
    ]);
    expect(said.content).toBe('Sunny, and grey.');
  });
});

describe.skipIf(recordings.missing)('a second turn that was recorded', () => {
  it.each(['gemini-unary-toolresult-reasoning-01', 'gemini-stream-toolresult-01'])(
    'is asked as the recorded client asked it: %s',
    async (name) => {
      const oracle = await loadOracle();
      const recording = oracle.loadCorpus(corpora).find(({ id }) => id === name) as Recording;
      const body = recording.request.body as { contents: { parts: Json[] }[] };
      const signed = body.contents[1]?.parts[0] ?? {};
      const { id, args } = signed.functionCall as Json & { id: string };
      answer = (_, response) => void response.end(recording.response.body);
      const call = {
        id,
        type: 'function' as const,
        function: { name: 'weather', arguments: JSON.stringify(args) },
        extra_content: { google: { thought_signature: signed.thoughtSignature } },
      };
      const location = { location: { type: 'string', description: 'the city' } };
      const streaming = oracle.expected(recording).stream;
      const request = {
        model: 'google/gemini-3-pro-preview',
        reasoning_effort: 'high' as const,
        tool_choice: 'auto' as const,
        messages: [
          { role: 'system' as const, content: 'You are a helpful assistant' },
          { role: 'user' as const, content: "What's the weather in Florence, Italy?" },
          { role: 'assistant' as const, tool_calls: [call] },
          { role: 'tool' as const, tool_call_id: id, content: '40 C' },
        ],
        tools: [
          {
            type: 'function' as const,
            function: {
              name: 'weather',
              description: 'Get weather information for a location',
              parameters: { type: 'object', properties: location, required: ['location'] },
            },
          },
        ],
      };
      const completion = streaming
        ? await client.chat.completions.stream(request).finalChatCompletion()
        : await client.chat.completions.create(request);

      const [sent] = bodies();
      expect(inOneSpelling(sent)).toEqual(inOneSpelling(body));
      expect(completion.choices[0]?.message.content).toMatch(/40°C \(104°F\)/);
      expect(completion.model).toBe('gemini-3.1-pro-preview');
    },
  );
});

/** What both sides say in other words: types in capitals, a role of the instructions, and whether thoughts are shown. */
function inOneSpelling(body: unknown): unknown {
  return JSON.parse(
    JSON.stringify(body, function (this: Json, key, value) {
      if (key === 'includeThoughts' || (key === 'role' && JSON.stringify(this.parts)?.includes('helpful')))
        return undefined;
      if (key === 'type') return String(value).toLowerCase();
      return value;
    }).replaceAll('"parametersJsonSchema"', '"parameters"'),
  );
}
