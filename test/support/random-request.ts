import { create, type MessageInitShape } from '@bufbuild/protobuf';
import fc from 'fast-check';
import {
  type CompletionRequest,
  CompletionRequestSchema,
  type MediaSchema,
  type MessageSchema,
  type PartSchema,
  type ResponseFormatSchema,
  Role,
  ToolChoiceMode,
  type ToolSchema,
} from '../../gen/llmgateway/v1/completion_pb.ts';

type Part = MessageInitShape<typeof PartSchema>;
type Message = MessageInitShape<typeof MessageSchema>;
type Fields = MessageInitShape<typeof CompletionRequestSchema>;
type Media = MessageInitShape<typeof MediaSchema>;

const text = fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom('', 'hello', 'Grüße 👋', '{"a":1}', '\u2028"\\'));
const name = fc.constantFrom('get_weather', 'search', 'clock', 'draw');
const id = fc.stringMatching(/^call_[a-z0-9]{4}$/);
const hint = fc.option(fc.record({ ttl: fc.constantFrom('', '5m', '1h') }), { nil: undefined, freq: 6 });
const schemaJson = fc.constantFrom(
  '',
  '{}',
  '{"type":"object","properties":{}}',
  '{"type":"object","properties":{"city":{"type":"string","enum":["Rome"]}},"required":["city"],"additionalProperties":false}',
  '{"type":"object","properties":{"a":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/b"}]}},"$defs":{"b":{"type":"integer"}}}',
);

function media(mimeTypes: readonly string[], sources: readonly ('url' | 'data' | 'file_id')[]): fc.Arbitrary<Media> {
  const every = {
    url: fc.webUrl().map((value) => ({ case: 'url' as const, value })),
    data: fc.uint8Array({ maxLength: 6 }).map((value) => ({ case: 'data' as const, value })),
    file_id: fc.constantFrom('file-1', 'files/abc').map((value) => ({ case: 'fileId' as const, value })),
  };
  return fc.record(
    {
      source: fc.oneof(...sources.map((source) => every[source])),
      mimeType: fc.constantFrom(...mimeTypes),
      name: fc.constantFrom('', 'a.pdf'),
      detail: fc.constantFrom('', 'low', 'auto'),
    },
    { requiredKeys: ['source', 'mimeType'] },
  ) as fc.Arbitrary<Media>;
}

const image = media(['image/png', 'image/jpeg'], ['data', 'url']);
const audio = media(['audio/wav', 'audio/mpeg'], ['data']);
const file = media(['application/pdf', 'text/plain'], ['data', 'url', 'file_id']);

const userPart: fc.Arbitrary<Part> = fc.record({
  kind: fc.oneof(
    { weight: 4, arbitrary: text.map((value) => ({ case: 'text' as const, value })) },
    image.map((value) => ({ case: 'image' as const, value })),
    audio.map((value) => ({ case: 'audio' as const, value })),
    file.map((value) => ({ case: 'file' as const, value })),
  ),
  cacheBreakpoint: hint,
});

const toolCall = fc
  .record({
    id,
    name,
    arguments: fc.constantFrom('{}', '{"city":"Rome"}', '{"deep":{"list":[1,null]}}', '', '{"cut'),
    custom: fc.boolean(),
  })
  .map((value) => ({ case: 'toolCall' as const, value }));

const assistantPart: fc.Arbitrary<Part> = fc.record({
  kind: fc.oneof(
    { weight: 3, arbitrary: text.map((value) => ({ case: 'text' as const, value })) },
    { weight: 3, arbitrary: toolCall },
    text.map((value) => ({ case: 'reasoning' as const, value })),
    text.map((value) => ({ case: 'refusal' as const, value })),
    image.map((value) => ({ case: 'image' as const, value })),
  ),
  cacheBreakpoint: hint,
});

const resultPart: fc.Arbitrary<Part> = fc.record({
  kind: fc.oneof(
    { weight: 4, arbitrary: text.map((value) => ({ case: 'text' as const, value })) },
    image.map((value) => ({ case: 'image' as const, value })),
  ),
  cacheBreakpoint: hint,
});

const author = fc.constantFrom('', '', 'ann');

const opening: fc.Arbitrary<Message> = fc.record({
  role: fc.constantFrom(Role.SYSTEM, Role.DEVELOPER),
  parts: fc.array(fc.record({ kind: text.map((value) => ({ case: 'text' as const, value })), cacheBreakpoint: hint }), {
    minLength: 1,
    maxLength: 2,
  }),
  name: author,
});

const said: fc.Arbitrary<Message> = fc.record({
  role: fc.constant(Role.USER),
  parts: fc.array(userPart, { minLength: 1, maxLength: 3 }),
  name: author,
});

/** What the model said, and a result for each of its calls. */
const answered: fc.Arbitrary<Message[]> = fc
  .record({
    parts: fc.array(assistantPart, { minLength: 1, maxLength: 4 }),
    name: author,
    results: fc.array(
      fc.record({ parts: fc.array(resultPart, { minLength: 1, maxLength: 2 }), failed: fc.boolean() }),
      {
        minLength: 4,
        maxLength: 4,
      },
    ),
  })
  .map(({ parts, name, results }) => [
    { role: Role.ASSISTANT, parts, name },
    ...parts.flatMap(({ kind }, index) => {
      const result = results[index];
      if (kind?.case !== 'toolCall' || !result) return [];
      const { id = '', name = '' } = kind.value as { id?: string; name?: string };
      return [{ role: Role.TOOL, parts: result.parts, toolCallId: id, toolFailed: result.failed, name }];
    }),
  ]);

const tool: fc.Arbitrary<MessageInitShape<typeof ToolSchema>> = fc.record({
  kind: fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .record({ name, description: text, parametersJson: schemaJson, strict: fc.option(fc.boolean()) })
        .map(({ strict, ...value }) => ({
          case: 'function' as const,
          value: { ...value, ...(strict !== null && { strict }) },
        })),
    },
    fc
      .record({
        name: fc.constant('free'),
        description: text,
        formatJson: fc.constantFrom('', '{"type":"text"}'),
      })
      .map((value) => ({ case: 'custom' as const, value })),
  ),
  cacheBreakpoint: hint,
});

const responseFormat: fc.Arbitrary<MessageInitShape<typeof ResponseFormatSchema>> = fc.oneof(
  fc.constant({ kind: { case: 'jsonObject' as const, value: {} } }),
  fc
    .record({ name: fc.constantFrom('', 'answer'), description: text, schemaJson, strict: fc.boolean() })
    .map((value) => ({
      kind: { case: 'jsonSchema' as const, value },
    })),
);

function nameOf({ kind }: MessageInitShape<typeof ToolSchema>): string | undefined {
  return kind?.case === 'function' || kind?.case === 'custom' ? kind.value.name : undefined;
}

/** Words that mean something to one provider only. */
export interface RequestWords {
  readonly efforts: readonly string[];
  readonly serviceTiers: readonly string[];
}

/** Requests that the contract allows, with as much in them as there may be. */
export function randomRequest({ efforts, serviceTiers }: RequestWords): fc.Arbitrary<CompletionRequest> {
  return fc
    .record({
      openings: fc.array(opening, { maxLength: 2 }),
      turns: fc.array(
        fc.oneof(
          said.map((message) => [message]),
          answered,
        ),
        { maxLength: 4 },
      ),
      last: said,
      fields: fc.record(
        {
          temperature: fc.double({ min: 0, max: 2, noNaN: true }),
          topP: fc.double({ min: 0, max: 1, noNaN: true }),
          maxOutputTokens: fc.integer({ min: 1, max: 100_000 }),
          stop: fc.array(fc.constantFrom('END', '\n\n'), { maxLength: 3 }),
          tools: fc.uniqueArray(tool, { maxLength: 4, selector: nameOf }),
          toolChoice: fc.record({
            mode: fc.constantFrom(
              ToolChoiceMode.AUTO,
              ToolChoiceMode.NONE,
              ToolChoiceMode.REQUIRED,
              ToolChoiceMode.UNSPECIFIED,
            ),
            allowedTools: fc.uniqueArray(name, { maxLength: 2 }),
          }),
          parallelToolCalls: fc.boolean(),
          responseFormat,
          reasoning: fc.record(
            {
              effort: fc.constantFrom('', ...efforts),
              budgetTokens: fc.integer({ min: 0, max: 30_000 }),
              includeText: fc.boolean(),
            },
            { requiredKeys: [] },
          ),
          n: fc.integer({ min: 1, max: 4 }),
          seed: fc.maxSafeInteger(),
          topK: fc.integer({ min: 1, max: 100 }),
          frequencyPenalty: fc.double({ min: -2, max: 2, noNaN: true }),
          presencePenalty: fc.double({ min: -2, max: 2, noNaN: true }),
          logprobs: fc.constant(true),
          topLogprobs: fc.integer({ min: 0, max: 20 }),
          logitBias: fc.dictionary(fc.constantFrom('50256', '11'), fc.double({ min: -100, max: 100, noNaN: true }), {
            noNullPrototype: true,
          }),
          serviceTier: fc.constantFrom('', ...serviceTiers),
          outputModalities: fc.constantFrom(['text'], ['text', 'audio']),
          audioOutput: fc.record({ voice: fc.constantFrom('alloy'), format: fc.constantFrom('wav', 'mp3') }),
          options: fc.record({
            userId: fc.constantFrom('', 'u-1'),
            metadata: fc.dictionary(fc.constantFrom('team', 'run'), text, { noNullPrototype: true }),
          }),
        },
        { requiredKeys: [] },
      ),
    })
    .map(({ openings, turns, last, fields }) =>
      create(CompletionRequestSchema, {
        messages: [...openings, ...turns.flat(), last],
        ...fields,
      } as unknown as Fields),
    );
}
