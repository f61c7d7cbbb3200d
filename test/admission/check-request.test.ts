import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { EmbeddingRequestSchema } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { checkCompletion, checkEmbedding } from '../../src/admission/check-request.ts';
import { finished } from '../../src/completion.ts';
import type { GatewayError } from '../../src/errors.ts';
import { contextOf } from '../attempt/fake-provider.ts';

type Init = MessageInitShape<typeof CompletionRequestSchema>;

const user = { role: Role.USER, parts: [{ kind: { case: 'text' as const, value: 'hi' } }] };
const text = { case: 'text' as const, value: 'hi' };

const complete = checkCompletion(async function* () {
  yield finished(undefined);
});

function refusal(init: Init): GatewayError | undefined {
  try {
    complete(create(CompletionRequestSchema, { messages: [user], ...init }), contextOf());
  } catch (error) {
    return error as GatewayError;
  }
  return undefined;
}

const tool = (name: string, parametersJson = '') => ({
  kind: { case: 'function' as const, value: { name, parametersJson } },
});

describe('the check of completions', () => {
  it.each<[string, Init]>([
    ['the least', {}],
    ['bounds themselves', { temperature: 2, topP: 0, n: 128, topLogprobs: 20, logprobs: true, seed: -(2 ** 53 - 1) }],
    ['a tool result', { messages: [{ role: Role.TOOL, toolCallId: 'c1', parts: [{ kind: text }] }] }],
    [
      'an opaque block',
      { messages: [{ role: Role.ASSISTANT, parts: [{ extraJson: { anthropic: '{"type":"x"}' } }] }] },
    ],
    ['a tool without arguments', { tools: [tool('a.b:c-D_9')] }],
    [
      'audio by its transcript',
      { messages: [{ role: Role.ASSISTANT, parts: [{ kind: { case: 'audio', value: { transcript: 'hi' } } }] }] },
    ],
  ])('accepts %s', (_, init) => {
    expect(refusal(init)).toBeUndefined();
  });

  it.each<[string, Init, RegExp]>([
    ['messages', { messages: [] }, /1/],
    ['messages[0].role', { messages: [{ ...user, role: 0 }] }, /0/],
    ['messages[0].role', { messages: [{ ...user, role: 99 as Role }] }, /99/],
    ['temperature', { temperature: 3 }, /2.*not 3/],
    ['temperature', { temperature: Number.NaN }, /NaN/],
    ['top_p', { topP: -0.1 }, /1.*not -0.1/],
    ['max_output_tokens', { maxOutputTokens: 0 }, /1.*not 0/],
    ['n', { n: 129 }, /128.*not 129/],
    ['stop', { stop: Array.from({ length: 17 }, () => 'x') }, /16.*not 17/],
    ['stop[1]', { stop: ['a', ''] }, /1.*not ""/],
    ['tools[0].function.name', { tools: [tool('no spaces')] }, /not "no spaces"/],
    ['tools[0].function.parameters_json', { tools: [tool('f', '{')] }, /JSON object/],
    ['tools[0].kind', { tools: [{}] }, /required/],
    ['top_logprobs', { topLogprobs: 2 }, /logprobs/],
    ['logit_bias["7"]', { logitBias: { 7: 101 } }, /100.*not 101/],
    ['seed', { seed: 1.5 }, /1\.5/],
    [
      'response_format.json_schema.schema_json',
      { responseFormat: { kind: { case: 'jsonSchema', value: { schemaJson: '[]' } } } },
      /JSON object/,
    ],
    ['options.timeout', { options: { timeout: { seconds: 301n } } }, /300.*not 301s/],
    ['options.idempotency_key', { options: { idempotencyKey: 'x'.repeat(256) } }, /255.*256 characters/],
    [
      'options.metadata',
      { options: { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, ''])) } },
      /16/,
    ],
    ['messages[0].tool_call_id', { messages: [{ role: Role.TOOL, parts: [{ kind: text }] }] }, /required/],
    ['messages[0].tool_call_id', { messages: [{ ...user, toolCallId: 'c1' }] }, /role tool only/],
    ['messages[0].parts[0]', { messages: [{ role: Role.USER, parts: [{}] }] }, /neither/],
    [
      'messages[0].parts[0].reasoning',
      { messages: [{ role: Role.USER, parts: [{ kind: { case: 'reasoning', value: 'x' } }] }] },
      /assistant/,
    ],
    [
      'messages[0].parts[0].image',
      { messages: [{ role: Role.USER, parts: [{ kind: { case: 'image', value: {} } }] }] },
      /source/,
    ],
    ['extra_json["openai"]', { extraJson: { openai: 'nope' } }, /JSON object/],
  ])('refuses %s of %o', (field, init, description) => {
    const error = refusal(init);
    expect(error?.reason).toBe('invalid_request');
    expect(error?.violations.map((violation) => violation.field)).toContain(field);
    expect(error?.violations.find((violation) => violation.field === field)?.description).toMatch(description);
    expect(error?.message).toContain(field);
  });

  it('tells all violations at once', () => {
    const error = refusal({ temperature: 3, n: 0, messages: [] });
    expect(error?.violations.map(({ field }) => field).sort()).toEqual(['messages', 'n', 'temperature']);
  });
});

describe('the check of embeddings', () => {
  it('refuses a request without inputs and an input without a kind', () => {
    const embed = checkEmbedding()(async function* () {});
    for (const [inputs, field] of [
      [[], 'inputs'],
      [[{}], 'inputs[0].kind'],
    ] as const) {
      const request = create(EmbeddingRequestSchema, { model: 'm', inputs: [...inputs] });
      expect(() => embed(request, contextOf())).toThrow(
        expect.objectContaining({ violations: [expect.objectContaining({ field })] }),
      );
    }
  });
});
