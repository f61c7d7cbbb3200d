import { create } from '@bufbuild/protobuf';
import { createValidator } from '@bufbuild/protovalidate';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CompletionRequest, CompletionRequestSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isPlainlyValid } from '../../src/admission/plainly-valid.ts';

const validator = createValidator();

/** Values at, beside and far beyond every bound. */
const numbers = fc.constantFrom(
  -(2 ** 53),
  -101,
  -2.1,
  -2,
  -1,
  -0.1,
  0,
  0.5,
  1,
  2,
  2.1,
  5,
  6,
  7,
  20,
  21,
  128,
  129,
  2 ** 53,
  Number.NaN,
);
const counts = fc.constantFrom(0, 1, 2, 20, 21, 128, 129, 4_000_000_000);
const texts = fc.constantFrom(
  '',
  'a',
  'not a name',
  'a.b:c-D_9',
  'x'.repeat(128),
  '😀'.repeat(128),
  'x'.repeat(129),
  'x'.repeat(256),
  'x'.repeat(257),
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 3 });

const tools = fc.oneof(
  fc.record({ case: fc.constant('function' as const), value: fc.record({ name: texts }) }),
  fc.record({ case: fc.constant('custom' as const), value: fc.record({ name: texts }) }),
  fc.constant({ case: undefined }),
);

const options = fc.record({
  provider: texts,
  routingStrategy: fc.constantFrom(0, 6, 7),
  cacheMode: fc.constantFrom(0, 3, 4),
  cacheMaxAge: maybe(fc.record({ seconds: fc.constantFrom(-1n, 0n, 60n) })),
  idempotencyKey: texts,
  userId: texts,
  timeout: maybe(fc.record({ seconds: fc.constantFrom(0n, 1n, 300n, 301n) })),
  metadata: fc.dictionary(texts, texts, { maxKeys: 2 }),
});

const strange = fc.record({
  model: texts,
  messages: fc.array(fc.record({ role: fc.constantFrom(0, 1, 2, 5, 6) }), { maxLength: 3 }),
  temperature: numbers,
  topP: numbers,
  maxOutputTokens: counts,
  stop: fc.array(texts, { maxLength: 18 }),
  tools: fc.array(fc.record({ kind: tools }), { maxLength: 3 }),
  toolChoice: fc.record({ mode: fc.constantFrom(0, 3, 4) }),
  responseFormat: fc.constantFrom({}, { kind: { case: 'jsonObject', value: {} } }),
  n: counts,
  seed: numbers,
  topK: counts,
  frequencyPenalty: numbers,
  presencePenalty: numbers,
  topLogprobs: counts,
  logitBias: fc.dictionary(texts, numbers, { maxKeys: 2 }),
  options,
});

/** A good request with one or two fields that may not be: all at once would hardly ever be right. */
const requests: fc.Arbitrary<CompletionRequest> = strange.chain((fields) =>
  fc
    .subarray(Object.keys(fields), { maxLength: 2 })
    .map((names) => names.map((name) => [name, fields[name as keyof typeof fields]]))
    .map((given) =>
      create(CompletionRequestSchema, {
        messages: [{ role: 2 }],
        logprobs: true,
        ...Object.fromEntries(given),
      } as never),
    ),
);

describe('the shortcut of the check', () => {
  it('says yes to what nearly every call has', () => {
    const request = create(CompletionRequestSchema, {
      model: 'm',
      messages: [{ role: 2, parts: [{ kind: { case: 'text', value: 'hi' } }] }],
      temperature: 0.7,
      maxOutputTokens: 100,
      tools: [{ kind: { case: 'function', value: { name: 'look_up' } } }],
      options: { provider: 'groq', fallback: true },
    });
    expect(isPlainlyValid(request)).toBe(true);
  });

  it('never says yes where protovalidate finds fault', () => {
    let yes = 0;
    fc.assert(
      fc.property(requests, (request) => {
        if (!isPlainlyValid(request)) return;
        yes++;
        expect(validator.validate(CompletionRequestSchema, request).kind).toBe('valid');
      }),
      { numRuns: 5000 },
    );
    expect(yes).toBeGreaterThan(500);
  });

  it('covers every field that has rules: a new one makes this fail until it is looked at', () => {
    expect(CompletionRequestSchema.fields.map(({ name }) => name)).toEqual([
      'model',
      'messages',
      'temperature',
      'top_p',
      'max_output_tokens',
      'stop',
      'tools',
      'tool_choice',
      'parallel_tool_calls',
      'response_format',
      'reasoning',
      'n',
      'seed',
      'top_k',
      'options',
      'frequency_penalty',
      'presence_penalty',
      'logprobs',
      'top_logprobs',
      'logit_bias',
      'service_tier',
      'output_modalities',
      'audio_output',
      'extra_json',
    ]);
  });
});
