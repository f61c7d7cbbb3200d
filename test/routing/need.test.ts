import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { EmbeddingRequestSchema } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { misfit, type Need, needOf } from '../../src/routing/need.ts';
import { randomRequest } from '../support/random-request.ts';

type Fields = Omit<NonNullable<Parameters<typeof create<typeof CompletionRequestSchema>>[1]>, '$typeName'>;
type Parts = NonNullable<NonNullable<Fields['messages']>[number]['parts']>;

function needOfParts(parts: Parts, more: Fields = {}): Need {
  return needOf(create(CompletionRequestSchema, { messages: [{ role: Role.USER, parts }], ...more }));
}

function text(value: string) {
  return { kind: { case: 'text' as const, value } };
}

const picture = { source: { case: 'url' as const, value: 'https://example.com/a.png' }, mimeType: 'image/png' };

describe('what a completion needs', () => {
  it.each<[string, Parts, number]>([
    ['text', [text('a'.repeat(400))], 100],
    ['several texts, rounded up once', [text('abc'), text('de')], 2],
    ['text of two code units a character', [text('👋👋')], 1],
    ['nothing said', [text('')], 0],
    ['reasoning', [{ kind: { case: 'reasoning', value: 'a'.repeat(8) } }], 2],
    ['a refusal', [{ kind: { case: 'refusal', value: 'a'.repeat(12) } }], 3],
    ['a tool call', [{ kind: { case: 'toolCall', value: { id: 'call_1', name: 'find', arguments: '{"a": 1}' } } }], 3],
    ['an image', [{ kind: { case: 'image', value: picture } }], 1_000],
    ['an image beside text', [text('abcd'), { kind: { case: 'image', value: picture } }], 1_001],
    ['sound', [{ kind: { case: 'audio', value: { mimeType: 'audio/wav' } } }], 1_000],
    ['a document', [{ kind: { case: 'file', value: { ...picture, mimeType: 'application/pdf' } } }], 1_000],
    ['a text elsewhere', [{ kind: { case: 'file', value: { ...picture, mimeType: 'text/plain' } } }], 1_000],
    [
      'a text that came along',
      [
        {
          kind: {
            case: 'file',
            value: { source: { case: 'data', value: new Uint8Array(40_000) }, mimeType: 'text/csv' },
          },
        },
      ],
      10_000,
    ],
    ['an opaque block', [{ extraJson: { anthropic: '{"type":"x"}' } }], 3],
    ['the extras of a part that has content', [{ ...text('abcd'), extraJson: { gemini: '{"signature":"long"}' } }], 1],
  ])('counts %s', (_, parts, tokens) => {
    expect(needOfParts(parts)).toMatchObject({ promptTokens: tokens, windowTokens: tokens });
  });

  it('counts all messages, and the names of their authors', () => {
    const messages = [
      { role: Role.SYSTEM, parts: [text('a'.repeat(40))] },
      { role: Role.USER, name: 'anna', parts: [text('a'.repeat(40))] },
    ];
    expect(needOf(create(CompletionRequestSchema, { messages })).promptTokens).toBe(21);
  });

  it('counts tools and schemas as the texts that they are', () => {
    const { promptTokens } = needOfParts([], {
      tools: [
        { kind: { case: 'function', value: { name: 'find', description: 'aaaa', parametersJson: '{"a":{}}' } } },
        { kind: { case: 'custom', value: { name: 'draw', description: 'aaaa', formatJson: '{"b":{}}' } } },
        { kind: { case: 'provider', value: { family: 'openai', json: '{"c":{}}' } } },
      ],
      responseFormat: {
        kind: { case: 'jsonSchema', value: { name: 'unread', description: 'aaaa', schemaJson: '{"d":{}}' } },
      },
    });
    expect(promptTokens).toBe((16 + 16 + 8 + 12) / 4);
  });

  it.each<[string, Parts, Fields, Partial<Need>]>([
    ['nothing for a text', [text('a')], {}, { tools: false, vision: false, jsonSchema: false }],
    ['vision for an image', [{ kind: { case: 'image', value: picture } }], {}, { vision: true }],
    ['no vision for a document', [{ kind: { case: 'file', value: picture } }], {}, { vision: false }],
    ['tools for functions', [], { tools: [{ kind: { case: 'function', value: { name: 'f' } } }] }, { tools: true }],
    ['tools for free-form ones', [], { tools: [{ kind: { case: 'custom', value: { name: 'f' } } }] }, { tools: true }],
    [
      "no tools for a provider's own",
      [],
      { tools: [{ kind: { case: 'provider', value: { family: 'openai', json: '{}' } } }] },
      { tools: false },
    ],
    ['a schema for one', [], { responseFormat: { kind: { case: 'jsonSchema', value: {} } } }, { jsonSchema: true }],
    [
      'no schema for any JSON',
      [],
      { responseFormat: { kind: { case: 'jsonObject', value: {} } } },
      { jsonSchema: false },
    ],
    ['the length and number that are asked for', [], { maxOutputTokens: 50, n: 3 }, { outputTokens: 50, n: 3 }],
    ['one answer of any length else', [], {}, { outputTokens: undefined, n: 1 }],
  ])('is %s', (_, parts, fields, need) => {
    expect(needOfParts(parts, fields)).toMatchObject(need);
  });

  it('is a whole number of tokens for whatever may be asked', () => {
    fc.assert(
      fc.property(randomRequest({ efforts: ['low'], serviceTiers: ['auto'] }), (request) => {
        const { promptTokens, windowTokens } = needOf(request);
        expect(Number.isInteger(promptTokens) && promptTokens >= 0).toBe(true);
        expect(windowTokens).toBe(promptTokens);
      }),
      { numRuns: 50 },
    );
  });
});

describe('what an embedding needs', () => {
  it('is billed for all inputs, each of which has a window of its own, and has no answer to pay for', () => {
    const request = create(EmbeddingRequestSchema, {
      inputs: [
        { kind: { case: 'text', value: 'a'.repeat(41) } },
        { kind: { case: 'tokens', value: { ids: [1, 2, 3] } } },
        { kind: { case: 'text', value: 'a'.repeat(400) } },
      ],
    });
    expect(needOf(request)).toEqual({
      promptTokens: 11 + 3 + 100,
      windowTokens: 100,
      outputTokens: 0,
      n: 1,
      tools: false,
      vision: false,
      jsonSchema: false,
    });
  });
});

describe('a target', () => {
  const modest: Need = {
    promptTokens: 900,
    windowTokens: 900,
    outputTokens: 100,
    n: 5,
    tools: false,
    vision: false,
    jsonSchema: false,
  };
  const all = { tools: true, vision: true, jsonSchema: true };
  const none = { tools: false, vision: false, jsonSchema: false };

  it.each([
    ['fits with a window as large as prompt and answer', modest, 1_000, none, undefined],
    ['does not fit with one token less', modest, 999, none, 'window_too_small'],
    ['fits with room for the prompt where no length is asked for', { ...modest, outputTokens: undefined }, 900, none],
    ['does not fit without', { ...modest, outputTokens: undefined }, 899, none, 'window_too_small'],
    ['is measured by one input, not by all', { ...modest, promptTokens: 5_000 }, 1_000, none],
    ['fits with an unknown window', { ...modest, windowTokens: 1e9 }, undefined, none],
    ['fits with unknown capabilities', { ...modest, ...all }, 1_000, undefined],
    ['fits with one capability unknown', { ...modest, ...all }, 1_000, { tools: true, vision: true }],
    ['fits with all that is needed', { ...modest, ...all }, 1_000, all],
    [
      'needs tools where they are given',
      { ...modest, tools: true },
      1_000,
      { ...all, tools: false },
      'lacks_capability',
    ],
    ['needs vision for images', { ...modest, vision: true }, 1_000, { ...all, vision: false }, 'lacks_capability'],
    ['needs schemas', { ...modest, jsonSchema: true }, 1_000, { ...all, jsonSchema: false }, 'lacks_capability'],
    ['is told to be too small first', { ...modest, ...all }, 999, none, 'window_too_small'],
  ] as const)('%s', (_, need, contextWindow, capabilities, expected?: string) => {
    expect(misfit(need, { contextWindow, capabilities })).toBe(expected);
  });
});
