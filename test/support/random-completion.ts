import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { DurationSchema, TimestampSchema } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import {
  AttemptOutcome,
  type Completion,
  type CompletionEvent,
  CompletionEventSchema,
  CompletionSchema,
  FinishReason,
  type MediaSchema,
  type PartSchema,
  Role,
  type TokenLogprobSchema,
} from '../../gen/llmgateway/v1/completion_pb.ts';

/** The numbers of an enum. */
function known<Value extends number>(words: Record<string, Value>): Value[] {
  return Object.values(words);
}

/** Any text that protobuf can carry: every code point, astral ones and controls among them, but no lone half. */
const text = fc.string({ unit: 'binary', maxLength: 24 });
const word = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,11}$/);
const count = fc.nat(0xffffffff);
const double = fc.double({ noNaN: true }).map((value) => (value === 0 ? 0 : value));
const bytes = fc.uint8Array({ maxLength: 24 });

/** The text of a JSON object whose top-level keys are words: those keep their order in JavaScript. */
const jsonObject = fc
  .dictionary(word, fc.jsonValue({ maxDepth: 2, noUnicodeString: false }), { noNullPrototype: true })
  .map((value) => JSON.stringify(value));

const extraJson = fc.dictionary(fc.constantFrom('openai', 'gemini', 'anthropic', 'my-provider'), jsonObject, {
  maxKeys: 2,
  noNullPrototype: true,
});

const timestamp = fc
  .record({ seconds: fc.bigInt(-62135596800n, 253402300799n), nanos: fc.nat(999_999_999) })
  .map((value) => create(TimestampSchema, value));
const duration = fc
  .record({ seconds: fc.bigInt(0n, 315_576_000_000n), nanos: fc.nat(999_999_999) })
  .map((value) => create(DurationSchema, value));

const usage = fc.record(
  {
    promptTokens: count,
    completionTokens: count,
    totalTokens: count,
    cachedPromptTokens: count,
    cacheWritePromptTokens: count,
    reasoningTokens: count,
    promptAudioTokens: count,
    completionAudioTokens: count,
    acceptedPredictionTokens: count,
    rejectedPredictionTokens: count,
    estimated: fc.boolean(),
  },
  { requiredKeys: ['promptTokens'] },
);

const citation = fc.record(
  { url: text, title: text, startIndex: count, endIndex: count, citedText: text, extraJson },
  { requiredKeys: ['url'] },
);

const media: fc.Arbitrary<MessageInitShape<typeof MediaSchema>> = fc.record({
  source: fc.oneof(
    bytes.map((value) => ({ case: 'data' as const, value })),
    text.map((value) => ({ case: 'url' as const, value })),
    word.map((value) => ({ case: 'fileId' as const, value })),
    fc.constant({ case: undefined }),
  ),
  mimeType: fc.constantFrom('', 'image/png', 'audio/wav'),
  name: text,
  detail: fc.constantFrom('', 'low'),
  transcript: text,
});

const toolCall = fc.record({
  id: word,
  name: word,
  arguments: fc.oneof(jsonObject, fc.constantFrom('', '{}', '{"city": "Par', 'not JSON at all'), text),
  custom: fc.boolean(),
});

const kind = fc.oneof(
  text.map((value) => ({ case: 'text' as const, value })),
  text.map((value) => ({ case: 'reasoning' as const, value })),
  text.map((value) => ({ case: 'refusal' as const, value })),
  toolCall.map((value) => ({ case: 'toolCall' as const, value })),
  media.map((value) => ({ case: 'image' as const, value })),
  media.map((value) => ({ case: 'audio' as const, value })),
  media.map((value) => ({ case: 'file' as const, value })),
);

const part: fc.Arbitrary<MessageInitShape<typeof PartSchema>> = fc.oneof(
  { weight: 9, arbitrary: fc.record({ kind, citations: fc.array(citation, { maxLength: 2 }), extraJson }) },
  {
    weight: 1,
    arbitrary: extraJson.filter((extra) => Object.keys(extra).length > 0).map((extra) => ({ extraJson: extra })),
  },
);

const topLogprob = fc.record({ token: text, logprob: double, bytes }, { requiredKeys: ['token', 'logprob'] });
const tokenLogprob: fc.Arbitrary<MessageInitShape<typeof TokenLogprobSchema>> = fc.record(
  { token: text, logprob: double, bytes, topLogprobs: fc.array(topLogprob, { maxLength: 2 }) },
  { requiredKeys: ['token', 'logprob'] },
);

const choice = fc.record(
  {
    index: fc.constant(0),
    message: fc.record({ role: fc.constant(Role.ASSISTANT), parts: fc.array(part, { maxLength: 4 }), extraJson }),
    finishReason: fc.constantFrom(...known(FinishReason)),
    providerReason: fc.oneof(word, fc.constant('')),
    stopSequence: text,
    logprobs: fc.record({
      content: fc.array(tokenLogprob, { maxLength: 2 }),
      refusal: fc.array(tokenLogprob, { maxLength: 2 }),
    }),
    extraJson,
  },
  { requiredKeys: ['message', 'finishReason'] },
);

const attempt = fc.record(
  {
    provider: word,
    model: text,
    outcome: fc.constantFrom(...known(AttemptOutcome)),
    reason: word,
    duration,
    providerRequestId: text,
    usage,
  },
  { requiredKeys: ['provider'] },
);

/** Any answer that the contract can hold: every kind of part, several choices, extras, media, citations, logprobs. */
export const completions: fc.Arbitrary<Completion> = fc
  .record(
    {
      id: word,
      requestId: word,
      provider: word,
      model: text,
      createdAt: timestamp,
      cached: fc.boolean(),
      droppedFields: fc.array(word, { maxLength: 2 }),
      choices: fc.array(choice, { minLength: 1, maxLength: 3 }),
      usage,
      cost: fc.record({ promptUsd: double, completionUsd: double, totalUsd: double }, { requiredKeys: [] }),
      attempts: fc.array(attempt, { maxLength: 2 }),
      duration,
      extraJson,
    },
    { requiredKeys: ['model', 'choices'] },
  )
  .map((value) =>
    create(CompletionSchema, { ...value, choices: value.choices.map((each, index) => ({ ...each, index })) }),
  );

/** Usage in the middle of a stream: it is replaced by what comes later. */
export const usageEvents: fc.Arbitrary<CompletionEvent> = usage.map((value) =>
  create(CompletionEventSchema, { event: { case: 'usage', value } }),
);
