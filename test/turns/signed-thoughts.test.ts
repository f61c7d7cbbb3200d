import type { ChatCompletionMessageParam as Message } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dialects, type Json, readConversation } from './dialects.ts';
import { ask, callsIn, type Kind, providerOf, type Stage, startStage, toolsNamed } from './stage.ts';

// Several things are signed in one turn: all of them are needed back, also from a client that streams.

const thoughtful: Json = {
  role: 'assistant',
  content: [
    { type: 'thinking', thinking: 'Add, then multiply.', signature: 'c2lnbmVkMQ==' },
    { type: 'redacted_thinking', data: 'aGlkZGVu' },
    { type: 'thinking', thinking: 'Or both.', signature: 'c2lnbmVkMg==' },
    { type: 'text', text: 'I count.' },
    { type: 'tool_use', id: 'toolu_a', name: 'add', input: { a: 2 } },
    { type: 'tool_use', id: 'toolu_b', name: 'multiply', input: { a: 2 } },
  ],
};
const signedParts: Json = {
  role: 'model',
  parts: [
    { text: 'Add, then multiply.', thought: true },
    { text: 'I count.', thoughtSignature: 'c2lnbmVkMA==' },
    { functionCall: { id: 'own-a', name: 'add', args: { a: 2 } }, thoughtSignature: 'c2lnbmVkMQ==' },
    { functionCall: { id: 'own-b', name: 'multiply', args: { a: 2 } }, thoughtSignature: 'c2lnbmVkMg==' },
  ],
};

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage?.[Symbol.asyncDispose]());

/** What the provider gets back of its own turn, after OpenAI's SDK had it. */
async function sentBack(kind: Kind, turn: Json, streaming: boolean): Promise<Json | undefined> {
  const dialect = dialects[kind];
  stage.play(dialect.write(turn, streaming), dialect.write(dialect.saying('5 and 6'), streaming));
  const asked = { model: `${providerOf(kind)}/gemini-3-or-another`, tools: toolsNamed(['add', 'multiply']) };
  const question: Message = { role: 'user', content: 'Add and multiply.' };
  const called = await ask(stage.client, { ...asked, messages: [question] }, streaming);
  const results = callsIn(called).map(({ id }) => ({ role: 'tool' as const, tool_call_id: id, content: 'done' }));
  await ask(stage.client, { ...asked, messages: [question, called, ...results] }, streaming);
  const [, sent = {}] = stage.sent();
  expect(readConversation(dialect, sent)[2]?.results.map(({ id }) => id)).toEqual(['#0', '#1']);
  return dialect.turnsOf(sent)[1];
}

describe.each([false, true])('signed thoughts (streamed: %s)', (streaming) => {
  it('of Claude come back whole', async () => {
    expect(await sentBack('anthropic', thoughtful, streaming)).toEqual(thoughtful);
  });

  it('of Gemini come back whole', async () => {
    expect(await sentBack('gemini', signedParts, streaming)).toEqual(signedParts);
  });
});

describe.each([false, true])('what OpenAI does not define (streamed: %s)', (streaming) => {
  it.each(['openai_compatible', 'groq'] as const)(
    "is not made up by the way through OpenAI's SDK: %s",
    async (kind) => {
      const turn = {
        role: 'assistant',
        content: 'I count.',
        tool_calls: [
          { id: 'call_a', type: 'function', function: { name: 'add', arguments: '{"a":2}' } },
          { id: 'call_b', type: 'function', function: { name: 'multiply', arguments: '{"a":2}' } },
        ],
      };

      expect(await sentBack(kind, turn, streaming)).toEqual(turn);
    },
  );
});
