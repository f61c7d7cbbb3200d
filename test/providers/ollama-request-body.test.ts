import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { ChatRequest, Message } from 'ollama';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role, ToolChoiceMode } from '../../gen/llmgateway/v1/completion_pb.ts';
import { EmbeddingRequestSchema } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import type { GatewayError } from '../../src/errors.ts';
import { writeOllamaEmbeddingBody } from '../../src/providers/ollama-embeddings.ts';
import { typedOllamaKeys, writeOllamaBody } from '../../src/providers/ollama-request-body.ts';

type Fields = MessageInitShape<typeof CompletionRequestSchema>;

/** What is expected is typed by Ollama's own library, and by what its server has learned since. */
type Body = Omit<ChatRequest, 'think' | 'messages'> & {
  messages: (Message & { tool_call_id?: string; tool_calls?: { id?: string }[] })[];
  think?: ChatRequest['think'] | 'max';
  truncate?: boolean;
};

const text = (value: string) => ({ kind: { case: 'text' as const, value } });
const user = { role: Role.USER, parts: [text('hi')] };

function write(fields: Fields, more: { model?: string; drop?: boolean; streaming?: boolean } = {}) {
  const request = create(CompletionRequestSchema, { messages: [user], ...fields });
  const written = writeOllamaBody(request, {
    provider: 'local',
    model: more.model ?? 'm',
    streaming: more.streaming ?? false,
    dropUnsupported: more.drop ? 'drop' : 'error',
  });
  return { ...written, body: JSON.parse(written.body), text: written.body };
}

function refusalOf(fields: Fields, model?: string): { reason: string; fields: string[] } {
  try {
    write(fields, model === undefined ? {} : { model });
  } catch (error) {
    const { reason, violations } = error as GatewayError;
    return { reason, fields: violations.map(({ field }) => field) };
  }
  throw new Error('nothing was refused');
}

function messageOf(message: NonNullable<Fields['messages']>[number]) {
  return write({ messages: [message] }).body.messages[0];
}

const weather = {
  kind: {
    case: 'function' as const,
    value: {
      name: 'weather',
      description: 'Tells it',
      parametersJson: '{"type":"object","properties":{"b":{},"a":{}}}',
    },
  },
};

describe('a request to /api/chat', () => {
  it.each([true, false])('always says whether to stream: %s', (streaming) => {
    expect(write({}, { streaming }).body).toEqual<Body>({
      model: 'm',
      messages: [{ role: 'user', content: 'hi' }],
      stream: streaming,
    });
  });

  it('has its sampling in options, under their own names', () => {
    const { body, droppedFields } = write({
      maxOutputTokens: 9,
      stop: ['a', 'b'],
      temperature: 0,
      topP: 0.5,
      topK: 40,
      seed: -7,
      frequencyPenalty: 1,
      presencePenalty: -1,
    });

    expect(body.options).toEqual<Body['options']>({
      num_predict: 9,
      stop: ['a', 'b'],
      temperature: 0,
      top_p: 0.5,
      top_k: 40,
      seed: -7,
      frequency_penalty: 1,
      presence_penalty: -1,
    });
    expect(droppedFields).toEqual([]);
  });

  it('takes options and all else from the extras of its family and its name', () => {
    const extraJson = {
      ollama: '{"options":{"num_ctx":8192,"min_p":0.1},"keep_alive":"10m","truncate":false}',
      local: '{"keep_alive":-1}',
      openai: '{"user":"ann"}',
    };

    const { body, droppedFields } = write({ extraJson, temperature: 1 });

    expect(body).toMatchObject({
      options: { num_ctx: 8192, min_p: 0.1, temperature: 1 },
      keep_alive: -1,
      truncate: false,
    });
    expect(droppedFields).toEqual(['extra_json.openai']);
  });

  it.each([...typedOllamaKeys])('refuses the extra %s, which has a field of its own', (path) => {
    const [key = '', option] = path.split('.');
    const extras = { [key]: option === undefined ? null : { [option]: null, num_ctx: 1 } };

    expect(refusalOf({ extraJson: { ollama: JSON.stringify(extras) } })).toEqual({
      reason: 'invalid_request',
      fields: [`extra_json.ollama.${path}`],
    });
    expect(refusalOf({ extraJson: { local: JSON.stringify(extras) } }).fields).toEqual([`extra_json.local.${path}`]);
  });

  it.each(['5', '"x"', '[]', 'null'])('refuses options that are no object: %s', (options) => {
    expect(refusalOf({ extraJson: { ollama: `{"options":${options}}` } }).fields).toEqual([
      'extra_json.ollama.options',
    ]);
  });

  it.each<[effort: string, model: string, think: unknown]>([
    ['none', 'qwen3', false],
    ['minimal', 'qwen3', 'low'],
    ['low', 'qwen3', 'low'],
    ['medium', 'gpt-oss:20b', 'medium'],
    ['high', 'openai/gpt-oss', 'high'],
    ['xhigh', 'qwen3', 'max'],
    ['true', 'qwen3', true],
  ])('writes the effort %s for %s', (effort, model, think) => {
    expect(write({ reasoning: { effort } }, { model }).body.think).toBe(think);
  });

  it.each([
    ['none', 'gpt-oss:20b'],
    ['true', 'gpt-oss'],
    ['a lot', 'qwen3'],
    ['constructor', 'qwen3'],
  ])('cannot take the effort %s for %s', (effort, model) => {
    expect(refusalOf({ reasoning: { effort } }, model).fields).toEqual(['reasoning.effort']);
    const { body, droppedFields } = write({ reasoning: { effort } }, { model, drop: true });
    expect([body.think, droppedFields]).toEqual([undefined, ['reasoning.effort']]);
  });

  it('leaves thinking to the model where no effort is asked', () => {
    expect(write({ reasoning: { includeText: true } }).body).not.toHaveProperty('think');
  });

  it('asks for JSON, or for JSON of a schema with its keys in order', () => {
    const schemaJson = '{"type":"object","properties":{"b":{"type":"string"},"a":{"const":12345678901234567890}}}';

    const json = write({ responseFormat: { kind: { case: 'jsonObject', value: {} } } });
    const schema = write({
      responseFormat: { kind: { case: 'jsonSchema', value: { name: 'x', schemaJson, strict: true } } },
    });

    expect(json.body.format).toBe('json');
    expect(schema.text).toContain(`"format":${schemaJson}`);
    expect(schema.droppedFields).toEqual([]);
  });

  it('asks for log probabilities', () => {
    expect(write({ logprobs: true, topLogprobs: 3 }).body).toMatchObject({ logprobs: true, top_logprobs: 3 });
  });

  const unsupported: [field: string, fields: Fields][] = [
    ['n', { n: 2 }],
    ['tool_choice', { tools: [weather], toolChoice: { mode: ToolChoiceMode.REQUIRED } }],
    ['tool_choice', { tools: [weather], toolChoice: { mode: ToolChoiceMode.REQUIRED, allowedTools: ['weather'] } }],
    ['parallel_tool_calls', { parallelToolCalls: false }],
    ['logit_bias', { logitBias: { '1': 1 } }],
    ['output_modalities', { outputModalities: ['text', 'audio'] }],
    ['audio_output', { audioOutput: { voice: 'x' } }],
    ['reasoning.budget_tokens', { reasoning: { budgetTokens: 5 } }],
    ['tools[0].custom', { tools: [{ kind: { case: 'custom', value: { name: 'x' } } }] }],
    ['messages[0].parts[1].image.url', withMedia('image', { case: 'url', value: 'https://x/y.png' })],
    ['messages[0].parts[1].image.file_id', withMedia('image', { case: 'fileId', value: 'f' })],
    ['messages[0].parts[1].audio.data', withMedia('audio', { case: 'data', value: Uint8Array.of(1) })],
    ['messages[0].parts[1].file.data', withMedia('file', { case: 'data', value: Uint8Array.of(1) })],
  ];

  function withMedia(
    kind: 'image' | 'audio' | 'file',
    source: { case: 'url' | 'fileId'; value: string } | { case: 'data'; value: Uint8Array },
  ): Fields {
    return {
      messages: [{ role: Role.USER, parts: [text('x'), { kind: { case: kind, value: { source } } }] }],
    } as Fields;
  }

  it.each(unsupported)('cannot take %s', (field, fields) => {
    expect(refusalOf(fields)).toEqual({ reason: 'invalid_request', fields: [field] });
    expect(write(fields, { drop: true }).droppedFields).toEqual([field]);
  });

  it.each<Fields>([
    { n: 1 },
    { parallelToolCalls: true },
    { outputModalities: ['text'] },
    { serviceTier: 'flex' },
    { tools: [weather], toolChoice: { mode: ToolChoiceMode.AUTO } },
  ])('does without what happens anyway: %j', (fields) => {
    expect(write(fields).droppedFields).toEqual([]);
  });

  it('writes tools with their schemas as they are', () => {
    const { body, text, droppedFields } = write({
      tools: [
        weather,
        { kind: { case: 'function', value: { name: 'now', strict: true } } },
        { kind: { case: 'provider', value: { family: 'ollama', json: '{"type":"own"}' } } },
        { kind: { case: 'provider', value: { family: 'openai', json: '{"type":"web_search"}' } } },
      ],
    });

    expect(text).toContain('"parameters":{"type":"object","properties":{"b":{},"a":{}}}');
    expect(body.tools).toMatchObject([
      { type: 'function', function: { name: 'weather', description: 'Tells it' } },
      { type: 'function', function: { name: 'now', parameters: { type: 'object', properties: {} } } },
      { type: 'own' },
    ]);
    expect(droppedFields).toEqual(['tools.function.strict', 'tools.provider.openai']);
  });

  it('offers no tool where none may be called, and only those that are allowed', () => {
    const other = { kind: { case: 'function' as const, value: { name: 'other' } } };
    const tools = [weather, other];

    expect(write({ tools, toolChoice: { mode: ToolChoiceMode.NONE } }).body).not.toHaveProperty('tools');
    const some = write({ tools, toolChoice: { mode: ToolChoiceMode.AUTO, allowedTools: ['other'] } });
    expect(some.body.tools).toMatchObject([{ function: { name: 'other' } }]);
  });

  it('is one that Ollama’s own library could send', () => {
    const call = { case: 'toolCall' as const, value: { id: 'c', name: 'weather', arguments: '{"city":"Rome"}' } };
    const image = { case: 'image' as const, value: { source: { case: 'data' as const, value: Uint8Array.of(1) } } };

    const { body } = write(
      {
        messages: [
          { role: Role.SYSTEM, parts: [text('be brief')] },
          { role: Role.USER, parts: [text('and here?'), { kind: image }] },
          { role: Role.ASSISTANT, parts: [{ kind: { case: 'reasoning', value: 'hm' } }, { kind: call }] },
          { role: Role.TOOL, toolCallId: 'c', parts: [text('cold')] },
        ],
        tools: [weather],
        maxOutputTokens: 5,
        reasoning: { effort: 'max' },
        responseFormat: { kind: { case: 'jsonSchema', value: { schemaJson: '{"type":"object"}' } } },
        logprobs: true,
        topLogprobs: 2,
        extraJson: { ollama: '{"options":{"num_ctx":8192},"keep_alive":"10m","truncate":false}' },
      },
      { streaming: true },
    );

    expect(body).toEqual<Body>({
      model: 'm',
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: 'and here?', images: ['AQ=='] },
        {
          role: 'assistant',
          content: '',
          thinking: 'hm',
          tool_calls: [{ id: 'c', function: { name: 'weather', arguments: { city: 'Rome' } } }],
        },
        { role: 'tool', content: 'cold', tool_name: 'weather', tool_call_id: 'c' },
      ],
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            description: 'Tells it',
            parameters: { type: 'object', properties: { b: {}, a: {} } },
          },
        },
      ],
      format: { type: 'object' },
      options: { num_ctx: 8192, num_predict: 5 },
      think: 'max',
      logprobs: true,
      top_logprobs: 2,
      keep_alive: '10m',
      truncate: false,
      stream: true,
    });
  });
});

describe('a message', () => {
  it.each([
    [Role.SYSTEM, 'system'],
    [Role.DEVELOPER, 'system'],
    [Role.USER, 'user'],
  ])('of role %s is from %s, its texts paragraphs of one', (role, word) => {
    expect(messageOf({ role, name: 'ann', parts: [text('a'), text('b')] })).toEqual({ role: word, content: 'a\nb' });
  });

  it('has images beside its text, as bare base64', () => {
    const image = (byte: number) => ({
      kind: {
        case: 'image' as const,
        value: { source: { case: 'data' as const, value: Uint8Array.of(255, byte) }, mimeType: 'image/png' },
      },
    });

    expect(messageOf({ role: Role.USER, parts: [text('what?'), image(1), image(2)] })).toEqual({
      role: 'user',
      content: 'what?',
      images: ['/wE=', '/wI='],
    });
  });

  it('of the model has its thinking, its text and its calls apart', () => {
    const call = (id: string, args: string, custom = false) => ({
      kind: { case: 'toolCall' as const, value: { id, name: 'weather', arguments: args, custom } },
    });
    const parts = [
      { kind: { case: 'reasoning' as const, value: 'hm' } },
      text('Let '),
      text('me see'),
      { kind: { case: 'refusal' as const, value: '.' } },
      call('1', '{"b":12345678901234567890,"a":1}'),
      call('2', ''),
      call('3', '{"city":'),
      call('4', '[1]'),
      call('5', 'free text', true),
    ];

    const written = write({ messages: [{ role: Role.ASSISTANT, parts }] });

    expect(written.text).toContain('"arguments":{"b":12345678901234567890,"a":1}');
    expect(written.body.messages[0]).toMatchObject({ role: 'assistant', content: 'Let me see.', thinking: 'hm' });
    expect(written.body.messages[0].tool_calls.slice(1)).toEqual([
      { id: '2', function: { name: 'weather', arguments: {} } },
      { id: '3', function: { name: 'weather', arguments: { input: '{"city":' } } },
      { id: '4', function: { name: 'weather', arguments: { input: '[1]' } } },
      { id: '5', function: { name: 'weather', arguments: { input: 'free text' } } },
    ]);
  });

  it('with a result names the tool, by its own name or by that of the call', () => {
    const call = { kind: { case: 'toolCall' as const, value: { id: 'c1', name: 'weather', arguments: '{}' } } };
    const result = (fields: object) => ({ role: Role.TOOL, toolCallId: 'c1', parts: [text('cold')], ...fields });

    const { body, droppedFields } = write({
      messages: [
        user,
        { role: Role.ASSISTANT, parts: [call] },
        result({}),
        result({ name: 'other', toolFailed: true }),
        result({ toolCallId: 'c2' }),
      ],
    });

    expect(body.messages.slice(2)).toEqual([
      { role: 'tool', content: 'cold', tool_name: 'weather', tool_call_id: 'c1' },
      { role: 'tool', content: 'cold', tool_name: 'other', tool_call_id: 'c1' },
      { role: 'tool', content: 'cold', tool_call_id: 'c2' },
    ]);
    expect(droppedFields).toEqual(['messages.tool_failed']);
  });

  it('has its extras under what it says itself, and none of other families', () => {
    const extraJson = { ollama: '{"content":"no","x":1}', gemini: '{"y":2}' };
    const part = { ...text('hi'), extraJson: { ollama: '{"z":3}', anthropic: '{"signature":"s"}' } };

    const { body, droppedFields } = write({ messages: [{ role: Role.USER, parts: [part], extraJson }] });

    expect(body.messages[0]).toEqual({ role: 'user', content: 'hi', x: 1, z: 3 });
    expect(droppedFields).toEqual(['messages.extra_json.gemini', 'messages.parts.extra_json.anthropic']);
  });
});

describe('a request to /api/embed', () => {
  const written = (fields: MessageInitShape<typeof EmbeddingRequestSchema>) =>
    writeOllamaEmbeddingBody(create(EmbeddingRequestSchema, fields), 'local', 'm');
  const inputs = [{ kind: { case: 'text' as const, value: 'a' } }];

  it('has its texts, its dimensions and its extras', () => {
    const extraJson = { ollama: '{"truncate":false,"options":{"num_ctx":1}}', gemini: '{}' };

    const { body, droppedFields } = written({ inputs, dimensions: 256, extraJson });

    expect(JSON.parse(body)).toEqual({
      model: 'm',
      input: ['a'],
      dimensions: 256,
      truncate: false,
      options: { num_ctx: 1 },
    });
    expect(droppedFields).toEqual(['extra_json.gemini']);
  });

  it('takes no ids of tokens, and no extra that has a field of its own', () => {
    const tokens = { kind: { case: 'tokens' as const, value: { ids: [1] } } };

    expect(() => written({ inputs: [...inputs, tokens] })).toThrow('local cannot take inputs[1].tokens');
    expect(() => written({ inputs, extraJson: { ollama: '{"input":"x"}' } })).toThrow('extra_json.ollama.input');
  });
});
