import { describe, expect, it } from 'vitest';
import { FinishReason } from '../../../gen/llmgateway/v1/completion_pb.ts';
import {
  choiceFinished,
  extra,
  finished,
  reasoningDelta,
  started,
  textDelta,
  toolCallDelta,
} from '../../../src/completion.ts';
import { readMessages } from '../../../src/transport/rest/openai-messages.ts';
import { beginning, frames, scripted, send, serve } from './serve.ts';

const thinking = scripted(
  started('claude-sonnet-4-5', beginning),
  reasoningDelta(0, 0, 'let me '),
  reasoningDelta(0, 0, 'see'),
  extra('anthropic', '{"signature":"c2ln"}', 0, 0),
  reasoningDelta(0, 1, ''),
  extra('anthropic', '{"data":"aGlkZGVu"}', 0, 1),
  textDelta(0, 2, 'I ask.'),
  extra('anthropic', '{"of":"a text"}', 0, 2),
  toolCallDelta(0, 3, '{}', { id: 'toolu_1', name: 'clock' }),
  extra('anthropic', '{"caller":{"type":"direct"}}', 0, 3),
  choiceFinished(0, FinishReason.TOOL_CALLS, 'tool_use'),
  finished(undefined),
);

const details = [
  {
    type: 'reasoning.text',
    text: 'let me see',
    signature: 'c2ln',
    id: 'anthropic-0',
    format: 'anthropic-claude-v1',
    index: 0,
  },
  { type: 'reasoning.encrypted', data: 'aGlkZGVu', id: 'anthropic-1', format: 'anthropic-claude-v1', index: 1 },
];

const body = { model: 'm', messages: [{ role: 'user', content: 'what time is it?' }] };

/** The parts of an echoed message, as far as they say. */
function partsOf(message: object) {
  const [read] = readMessages([{ role: 'assistant', content: null, ...message }], 'messages');
  return {
    parts: read?.parts.map(({ kind, extraJson }) => [kind.case, kind.value, extraJson]),
    extras: read?.extraJson,
  };
}

describe('signed thoughts', () => {
  it('go out whole, with their signatures, and nothing else of the family', async () => {
    const { json } = await send(await serve({ complete: thinking }), '/v1/chat/completions', { body });
    const { message } = (json as { choices: { message: object }[] }).choices[0] ?? {};

    expect(message).toEqual({
      role: 'assistant',
      content: 'I ask.',
      refusal: null,
      reasoning_content: 'let me see',
      reasoning_details: details,
      tool_calls: [{ id: 'toolu_1', type: 'function', function: { name: 'clock', arguments: '{}' } }],
    });
  });

  it('go out on streams, each in one chunk', async () => {
    const { text } = await send(await serve({ complete: thinking }), '/v1/chat/completions', {
      body: { ...body, stream: true },
    });
    const deltas = frames(text).flatMap((chunk) => chunk.choices?.[0]?.delta ?? []);

    expect(deltas.flatMap((delta) => delta.reasoning_details ?? [])).toEqual(details);
    expect(deltas.map((delta) => delta.reasoning_content ?? '').join('')).toBe('let me see');
    expect(text).not.toMatch(/caller|a text/);
  });

  it('come back as they were, and leave nothing else behind', async () => {
    const { json } = await send(await serve({ complete: thinking }), '/v1/chat/completions', { body });
    const { message } = (json as { choices: { message: object }[] }).choices[0] ?? {};

    expect(partsOf(message ?? {})).toMatchObject({
      parts: [
        ['reasoning', 'let me see', { anthropic: '{"signature":"c2ln"}' }],
        ['reasoning', '', { anthropic: '{"data":"aGlkZGVu"}' }],
        ['text', 'I ask.', {}],
        ['toolCall', { id: 'toolu_1' }, {}],
      ],
      extras: {},
    });
  });

  it('come back from whoever else signs them in this form, and stay there for them', () => {
    const pieces = [
      { type: 'reasoning.text', text: 'let ', index: 0, format: 'anthropic-claude-v1' },
      { type: 'reasoning.text', text: 'me', index: 0, format: 'anthropic-claude-v1' },
      { type: 'reasoning.text', signature: 'c2ln', index: 0, format: 'anthropic-claude-v1' },
    ];

    expect(partsOf({ reasoning: 'let me', reasoning_details: pieces })).toEqual({
      parts: [['reasoning', 'let me', { anthropic: '{"signature":"c2ln"}' }]],
      extras: { openai: JSON.stringify({ reasoning_details: pieces }) },
    });
  });

  it('take their text from beside them where it is only there', () => {
    const signature = { type: 'reasoning.text', signature: 'c2ln' };

    expect(partsOf({ reasoning_content: 'let me', reasoning_details: [signature] }).parts).toEqual([
      ['reasoning', 'let me', { anthropic: '{"signature":"c2ln"}' }],
    ]);
  });

  it.each([
    [[{ type: 'reasoning.text', text: 'hm' }]],
    [[{ type: 'reasoning.text', text: 'hm', signature: 's', format: 'google-gemini-v1' }]],
    [[{ type: 'reasoning.encrypted', data: 'x', format: 'openai-responses-v1' }]],
    [[null, 'text', 7]],
    ['no list'],
  ])('are not what others send: %j', (reasoning_details) => {
    expect(partsOf({ reasoning: 'hm', reasoning_details })).toEqual({
      parts: [['reasoning', 'hm', {}]],
      extras: { openai: JSON.stringify({ reasoning_details }) },
    });
  });
});
