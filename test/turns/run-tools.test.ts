import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dummySignature } from '../../src/providers/gemini-signatures.ts';
import { dialects, type Json, readConversation, type Turn } from './dialects.ts';
import { type Kind, kinds, providerOf, type Stage, startStage } from './stage.ts';

// OpenAI's SDK calls the tools itself: two at once, then one more, then it has the answer. It sends nothing back but what OpenAI
// defines: no signatures, no thoughts.

const called = (name: string, args: Json, id?: string) => ({ ...(id && { id }), name, args });
const signature = 'c2lnbmVk';

/** What the assistant says first and second, in each dialect. */
const openaiTurns = [
  {
    role: 'assistant',
    content: null,
    tool_calls: [
      { id: 'call_a', type: 'function', function: { name: 'add', arguments: '{"a":2,"b":3}' } },
      { id: 'call_b', type: 'function', function: { name: 'multiply', arguments: '{"a":2,"b":3}' } },
    ],
  },
  {
    role: 'assistant',
    content: 'Once more.',
    tool_calls: [{ id: 'call_c', type: 'function', function: { name: 'add', arguments: '{"a":5,"b":6}' } }],
  },
];
const turns: Record<Kind, Json[]> = {
  openai_compatible: openaiTurns,
  groq: openaiTurns,
  ollama: [
    {
      role: 'assistant',
      content: '',
      tool_calls: [
        { function: { name: 'add', arguments: { a: 2, b: 3 } } },
        { function: { name: 'multiply', arguments: { a: 2, b: 3 } } },
      ],
    },
    {
      role: 'assistant',
      content: 'Once more.',
      tool_calls: [{ function: { name: 'add', arguments: { a: 5, b: 6 } } }],
    },
  ],
  gemini: [
    {
      role: 'model',
      parts: [
        { functionCall: called('add', { a: 2, b: 3 }), thoughtSignature: signature },
        { functionCall: called('multiply', { a: 2, b: 3 }) },
      ],
    },
    {
      role: 'model',
      parts: [
        { text: 'Once more.' },
        { functionCall: called('add', { a: 5, b: 6 }, 'own-id'), thoughtSignature: `${signature}Mg==` },
      ],
    },
  ],
  anthropic: [
    {
      role: 'assistant',
      content: [
        { type: 'thinking', thinking: 'Both at once.', signature },
        { type: 'redacted_thinking', data: 'aGlkZGVu' },
        { type: 'tool_use', id: 'toolu_a', name: 'add', input: { a: 2, b: 3 } },
        { type: 'tool_use', id: 'toolu_b', name: 'multiply', input: { a: 2, b: 3 } },
      ],
    },
    {
      role: 'assistant',
      content: [
        { type: 'text', text: 'Once more.' },
        { type: 'tool_use', id: 'toolu_c', name: 'add', input: { a: 5, b: 6 } },
      ],
    },
  ],
};

const numbers = { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } }, required: ['a', 'b'] };
type Numbers = { a: number; b: number };
const parse = JSON.parse as (text: string) => Numbers;
const tools = [
  { name: 'add', description: 'Adds', function: ({ a, b }: Numbers) => `sum ${a + b}` },
  { name: 'multiply', description: 'Multiplies', function: ({ a, b }: Numbers) => `product ${a * b}` },
].map((tool) => ({ type: 'function' as const, function: { ...tool, parameters: numbers, parse } }));

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage?.[Symbol.asyncDispose]());

describe.each(kinds)('runTools against %s', (kind) => {
  const dialect = dialects[kind];

  it.each([false, true])('goes from calls to the answer (streamed: %s)', async (streaming) => {
    const said = [...turns[kind], dialect.saying('5, 6 and 11.')];
    stage.play(...said.map((turn) => dialect.write(turn, streaming)));
    const question = {
      model: `${providerOf(kind)}/${kind === 'gemini' ? 'gemini-3-flash-preview' : 'model-1'}`,
      messages: [{ role: 'user' as const, content: 'Add and multiply 2 and 3, and add the results.' }],
      tools,
    };
    const runner = streaming
      ? stage.client.chat.completions.runTools({ ...question, stream: true })
      : stage.client.chat.completions.runTools(question);

    expect(await runner.finalContent()).toBe('5, 6 and 11.');
    const sent = stage.sent();
    expect(sent.length).toBe(3);
    const last = readConversation(dialect, sent[2] ?? {});
    expect(last.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user']);
    expect(last[1]?.calls).toMatchObject([
      { id: '#0', name: 'add', arguments: { a: 2, b: 3 } },
      { id: '#1', name: 'multiply', arguments: { a: 2, b: 3 } },
    ]);
    expect(last[2]?.results.map(({ id }) => id)).toEqual(['#0', '#1']);
    expect(last[2]?.results.map(({ text }) => text)).toEqual([
      expect.stringContaining('sum 5'),
      expect.stringContaining('product 6'),
    ]);
    expect(last[3]).toMatchObject({ text: 'Once more.', calls: [{ id: '#2', name: 'add' }] });
    expect(last[4]?.results).toMatchObject([{ id: '#2', text: expect.stringContaining('sum 11') }]);
    // What was said before is the same each time: providers cache by it.
    expect(readConversation(dialect, sent[1] ?? {})).toEqual(last.slice(0, 3));
    expectOwnThings(kind, sent[2] ?? {}, last);
  });
});

/** What a dialect has beside: names in results, and what stands in for signatures. */
function expectOwnThings(kind: Kind, body: Json, [, first, results, second]: readonly Turn[]): void {
  if (kind === 'gemini') {
    expect(first?.calls.map((call) => call.signature)).toEqual([dummySignature, undefined]);
    expect(second?.calls.map((call) => call.signature)).toEqual([dummySignature]);
  }
  if (kind === 'gemini' || kind === 'ollama')
    expect(results?.results.map(({ name }) => name)).toEqual(['add', 'multiply']);
  if (kind === 'anthropic') expect(first?.thoughts).toEqual([]);
  if (kind !== 'groq' && kind !== 'openai_compatible') return;
  for (const message of body.messages as Json[]) {
    expect(['role', 'content', 'tool_calls', 'tool_call_id']).toEqual(expect.arrayContaining(Object.keys(message)));
  }
}
