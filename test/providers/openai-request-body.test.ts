import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role, ToolChoiceMode } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import { dialectAt, type OpenAIDialect, plainDialect } from '../../src/providers/openai-dialect.ts';
import { writeRequestBody } from '../../src/providers/openai-request-body.ts';

type Fields = MessageInitShape<typeof CompletionRequestSchema>;

const openai = dialectAt('https://api.openai.com/v1');
const user = { role: Role.USER, parts: [{ kind: { case: 'text' as const, value: 'hi' } }] };

function write(
  fields: Fields,
  dialect: OpenAIDialect = plainDialect,
  more: { model?: string; drop?: boolean; streaming?: boolean } = {},
) {
  const request = create(CompletionRequestSchema, { messages: [user], ...fields });
  const { body, droppedFields } = writeRequestBody(request, {
    provider: 'upstream',
    model: more.model ?? 'm',
    streaming: more.streaming ?? false,
    dialect,
    dropUnsupported: more.drop ? 'drop' : 'error',
  });
  return { body: JSON.parse(body), text: body, droppedFields };
}

function messageOf(message: NonNullable<Fields['messages']>[number], dialect?: OpenAIDialect) {
  return write({ messages: [message] }, dialect).body.messages[0];
}

function refusalOf(run: () => unknown): GatewayError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError);
    return error as GatewayError;
  }
  throw new Error('nothing was refused');
}

const text = (value: string) => ({ kind: { case: 'text' as const, value } });

describe('a request', () => {
  it('of one line is as short as can be', () => {
    expect(write({}).body).toEqual({ model: 'm', messages: [{ role: 'user', content: 'hi' }] });
  });

  it('writes every plain field under its own name', () => {
    const fields = {
      temperature: 0,
      topP: 0.5,
      topK: 40,
      stop: ['a'],
      n: 2,
      seed: -7,
      frequencyPenalty: 1,
      presencePenalty: -1,
      logprobs: true,
      topLogprobs: 0,
      logitBias: { '50256': -100 },
      parallelToolCalls: false,
      reasoning: { effort: 'low' },
      outputModalities: ['text', 'audio'],
      audioOutput: { voice: 'alloy', format: 'wav' },
      serviceTier: 'flex',
    };

    expect(write(fields).body).toMatchObject({
      temperature: 0,
      top_p: 0.5,
      top_k: 40,
      stop: ['a'],
      n: 2,
      seed: -7,
      frequency_penalty: 1,
      presence_penalty: -1,
      logprobs: true,
      top_logprobs: 0,
      logit_bias: { '50256': -100 },
      parallel_tool_calls: false,
      reasoning_effort: 'low',
      modalities: ['text', 'audio'],
      audio: { voice: 'alloy', format: 'wav' },
      service_tier: 'flex',
    });
  });

  it('asks for usage on every stream', () => {
    const { body } = write({}, plainDialect, { streaming: true });

    expect(body).toMatchObject({ stream: true, stream_options: { include_usage: true } });
  });

  it.each([
    [plainDialect, 'llama-3', 'max_tokens'],
    [plainDialect, 'openai/gpt-5-mini', 'max_completion_tokens'],
    [plainDialect, 'o3', 'max_completion_tokens'],
    [openai, 'gpt-4.1', 'max_completion_tokens'],
    [dialectAt('https://me.openai.azure.com/openai/v1'), 'mine', 'max_completion_tokens'],
  ])('names its limit for the one who reads it (%#)', (dialect, model, name) => {
    expect(write({ maxOutputTokens: 5 }, dialect, { model }).body[name]).toBe(5);
  });

  it('names neither the gateway options nor the user', () => {
    const options = { provider: 'p', userId: 'u', metadata: { a: 'b' }, requestId: 'r' };

    expect(Object.keys(write({ options }).body)).toEqual(['model', 'messages']);
  });

  it('brings metadata only beside store', () => {
    const options = { metadata: { a: 'b' } };

    expect(write({ options, extraJson: { openai: '{"store":true}' } }).body).toMatchObject({
      store: true,
      metadata: { a: 'b' },
    });
    expect(write({ options, extraJson: { openai: '{"store":false}' } }).body.metadata).toBeUndefined();
  });
});

describe('extras of a request', () => {
  it('go upstream to the letter', () => {
    const { text: body } = write({ extraJson: { openai: ' {"z": 12345678901234567890, "a" : {"2":1, "1":2}} ' } });

    expect(body).toContain('"z": 12345678901234567890, "a" : {"2":1, "1":2}');
  });

  it("of the family lie under those of the provider's name, and others stay here", () => {
    const { body, droppedFields } = write({
      extraJson: { upstream: '{"verbosity":"low"}', openai: '{"verbosity":"high","user":"u"}', gemini: '{"x":1}' },
    });

    expect(body).toMatchObject({ verbosity: 'low', user: 'u' });
    expect(body.x).toBeUndefined();
    expect(droppedFields).toEqual(['extra_json.gemini']);
  });

  it.each(['model', 'messages', 'stream', 'max_tokens', 'max_completion_tokens', 'n', 'tools', 'metadata'])(
    'must not hold %s, which has a field of its own',
    (key) => {
      const error = refusalOf(() => write({ extraJson: { openai: JSON.stringify({ user: 'u', [key]: 1 }) } }));

      expect(error.reason).toBe('invalid_request');
      expect(error.violations).toEqual([{ field: `extra_json.openai.${key}`, description: 'has a field of its own' }]);
    },
  );

  it('under the provider name are no way round that rule', () => {
    expect(refusalOf(() => write({ extraJson: { upstream: '{"max_tokens":9}' } })).reason).toBe('invalid_request');
  });

  it('may hold the key __proto__ without harm', () => {
    expect(write({ extraJson: { openai: '{"__proto__":{"polluted":1}}' } }).text).toContain(
      '"__proto__":{"polluted":1}',
    );
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

describe('a field that a provider cannot take', () => {
  const dialect = {
    ...plainDialect,
    unsupported: new Set(['logprobs', 'top_logprobs', 'n', 'top_k', 'output_modalities']),
  };

  it('is refused by name', () => {
    const error = refusalOf(() => write({ topK: 5, logprobs: true, topLogprobs: 3 }, dialect));

    expect(error.reason).toBe('invalid_request');
    expect(error.violations.map(({ field }) => field)).toEqual(['top_k', 'logprobs', 'top_logprobs']);
  });

  it('is left out and listed where the configuration says drop', () => {
    const { body, droppedFields } = write({ topK: 5, n: 2 }, dialect, { drop: true });

    expect(Object.keys(body)).toEqual(['model', 'messages']);
    expect(droppedFields).toEqual(['top_k', 'n']);
  });

  it('is left out silently where it asks for what happens anyway', () => {
    const { body, droppedFields } = write({ n: 1, logprobs: false, outputModalities: ['text'] }, dialect);

    expect(Object.keys(body)).toEqual(['model', 'messages']);
    expect(droppedFields).toEqual([]);
  });

  it('is left out silently where it is a hint', () => {
    const message = { ...user, name: 'ann', parts: [{ ...text('hi'), cacheBreakpoint: { ttl: '5m' } }] };
    const hintless = {
      ...plainDialect,
      unknownHints: new Set(['name', 'service_tier', 'prompt_cache_breakpoint'] as const),
    };
    const { body, droppedFields } = write(
      { messages: [message], serviceTier: 'flex', reasoning: { includeText: true } },
      hintless,
    );

    expect(body).toEqual({ model: 'm', messages: [{ role: 'user', content: 'hi' }] });
    expect(droppedFields).toEqual([]);
  });

  it('is refused deep in a message, too', () => {
    const sound = {
      kind: { case: 'audio' as const, value: { source: { case: 'url' as const, value: 'https://a/b' } } },
    };

    expect(refusalOf(() => messageOf({ role: Role.USER, parts: [sound] })).violations[0]?.field).toBe(
      'messages[0].parts[0].audio.url',
    );
  });

  it('is a budget of reasoning tokens for all that follow OpenAI', () => {
    expect(refusalOf(() => write({ reasoning: { budgetTokens: 100 } })).violations[0]?.field).toBe(
      'reasoning.budget_tokens',
    );
  });
});

describe('messages', () => {
  it('of system and developer keep their word only where it is known', () => {
    const developer = { role: Role.DEVELOPER, parts: [text('be kind')] };

    expect(messageOf(developer)).toEqual({ role: 'system', content: 'be kind' });
    expect(messageOf(developer, openai)).toEqual({ role: 'developer', content: 'be kind' });
  });

  it('of several parts are lists, with images, sounds and files', () => {
    const data = Uint8Array.of(1, 2, 3);
    const media = (kind: 'image' | 'audio' | 'file', fields: object) =>
      ({ kind: { case: kind, value: fields } }) as never;

    expect(
      messageOf({
        role: Role.USER,
        name: 'ann',
        parts: [
          text('look'),
          media('image', { source: { case: 'url', value: 'https://a/b.png' }, detail: 'low' }),
          media('image', { source: { case: 'data', value: data }, mimeType: 'image/jpeg' }),
          media('audio', { source: { case: 'data', value: data }, mimeType: 'audio/mpeg' }),
          media('file', { source: { case: 'data', value: data }, mimeType: 'application/pdf', name: 'a.pdf' }),
          media('file', { source: { case: 'fileId', value: 'file-1' } }),
        ],
      }),
    ).toEqual({
      role: 'user',
      name: 'ann',
      content: [
        { type: 'text', text: 'look' },
        { type: 'image_url', image_url: { url: 'https://a/b.png', detail: 'low' } },
        { type: 'image_url', image_url: { url: 'data:image/jpeg;base64,AQID' } },
        { type: 'input_audio', input_audio: { data: 'AQID', format: 'mp3' } },
        { type: 'file', file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,AQID' } },
        { type: 'file', file: { file_id: 'file-1' } },
      ],
    });
  });

  it('of a part with extras spread them under the typed keys', () => {
    const part = { ...text('hi'), extraJson: { openai: '{"type":"other","text":"other","x":1}', gemini: '{"y":2}' } };
    const { body, droppedFields } = write({
      messages: [{ ...user, parts: [part], extraJson: { openai: '{"role":"system","weight":1}' } }],
    });

    expect(body.messages).toEqual([{ weight: 1, role: 'user', content: [{ x: 1, type: 'text', text: 'hi' }] }]);
    expect(droppedFields).toEqual(['messages.parts.extra_json.gemini']);
  });

  it('mark where the prompt may be cached, for OpenAI in its own words', () => {
    const marked = (ttl: string) =>
      messageOf({ ...user, parts: [{ ...text('hi'), cacheBreakpoint: { ttl } }] }, openai).content;

    expect(marked('12h')[0].prompt_cache_breakpoint).toEqual({ mode: 'explicit', ttl: '12h' });
    expect(marked('5m')[0].prompt_cache_breakpoint).toEqual({ mode: 'explicit' });
  });

  it('of tools name the call they answer', () => {
    const result = { role: Role.TOOL, toolCallId: 'c1', name: 'add', toolFailed: true, parts: [text('no')] };
    const { body, droppedFields } = write({ messages: [result] });

    expect(body.messages).toEqual([{ role: 'tool', tool_call_id: 'c1', content: 'no' }]);
    expect(droppedFields).toEqual(['messages.tool_failed']);
  });

  const turn = {
    role: Role.ASSISTANT,
    parts: [
      {
        kind: { case: 'reasoning' as const, value: 'hm ' },
        extraJson: { openai: '{"reasoning_details":[{"id":1}],"channel":"x"}' },
      },
      text('Let me '),
      text('see.'),
      {
        kind: { case: 'toolCall' as const, value: { id: 'c1', name: 'add', arguments: '' } },
        extraJson: { openai: '{"extra_content":{"google":{"thought_signature":"s"}}}' },
      },
      { kind: { case: 'toolCall' as const, value: { id: 'c2', name: 'run', arguments: 'ls', custom: true } } },
    ],
  };

  it('of the model join its texts, keep its calls, and go back as they came', () => {
    expect(messageOf(turn)).toEqual({
      role: 'assistant',
      content: 'Let me see.',
      reasoning_content: 'hm ',
      reasoning_details: [{ id: 1 }],
      tool_calls: [
        {
          id: 'c1',
          type: 'function',
          function: { name: 'add', arguments: '{}' },
          extra_content: { google: { thought_signature: 's' } },
        },
        { id: 'c2', type: 'custom', custom: { name: 'run', input: 'ls' } },
      ],
    });
  });

  it("of the model lose their reasoning, and others' signatures, where they are not taken back", () => {
    const { body, droppedFields } = write({ messages: [turn] }, openai);

    expect(Object.keys(body.messages[0])).toEqual(['role', 'content', 'tool_calls']);
    expect(Object.keys(body.messages[0].tool_calls[0])).toEqual(['id', 'type', 'function']);
    expect(droppedFields).toEqual(['messages.parts.reasoning']);
  });

  it('of the model with calls only have no content', () => {
    expect(messageOf({ role: Role.ASSISTANT, parts: turn.parts.slice(4) }).content).toBeNull();
  });

  it('of the model refer to what it said by its id', () => {
    const spoken = {
      kind: { case: 'audio' as const, value: { source: { case: 'data' as const, value: Uint8Array.of(1) } } },
    };
    const parts = [{ ...spoken, extraJson: { openai: '{"audio":{"id":"audio_1","expires_at":1}}' } }];

    expect(messageOf({ role: Role.ASSISTANT, parts })).toEqual({
      role: 'assistant',
      content: null,
      audio: { id: 'audio_1' },
    });
  });

  it('keep opaque blocks of their own family only', () => {
    const parts = [
      text('a'),
      { extraJson: { openai: '{"type":"odd","v":1}' } },
      { extraJson: { anthropic: '{"type":"x"}' } },
    ];
    const { body, droppedFields } = write({ messages: [{ ...user, parts }] });

    expect(body.messages[0].content).toEqual([
      { type: 'text', text: 'a' },
      { type: 'odd', v: 1 },
    ]);
    expect(droppedFields).toEqual(['messages.parts.extra_json.anthropic']);
  });
});

describe('tools', () => {
  const add = {
    kind: {
      case: 'function' as const,
      value: { name: 'add', description: 'adds', parametersJson: '{"z":1,"1":2.50}', strict: true },
    },
  };
  const now = { kind: { case: 'function' as const, value: { name: 'now' } } };
  const run = { kind: { case: 'custom' as const, value: { name: 'run', formatJson: '{"type":"text"}' } } };

  it('keep their schemas to the letter', () => {
    const { text: body } = write({ tools: [add] });

    expect(body).toContain('{"name":"add","description":"adds","parameters":{"z":1,"1":2.50},"strict":true}');
  });

  it('without a schema take no arguments', () => {
    expect(write({ tools: [now] }).body.tools[0].function.parameters).toEqual({ type: 'object', properties: {} });
  });

  it('of the provider go to their own family only', () => {
    const built = (family: string) => ({
      kind: { case: 'provider' as const, value: { family, json: '{"type":"web_search"}' } },
    });
    const { body, droppedFields } = write({ tools: [built('openai'), built('gemini'), run] });

    expect(body.tools).toEqual([
      { type: 'web_search' },
      { type: 'custom', custom: { name: 'run', format: { type: 'text' } } },
    ]);
    expect(droppedFields).toEqual(['tools.provider.gemini']);
  });

  it.each([
    [{ mode: ToolChoiceMode.AUTO }, 'auto'],
    [{ mode: ToolChoiceMode.NONE }, 'none'],
    [{ mode: ToolChoiceMode.REQUIRED }, 'required'],
    [
      { mode: ToolChoiceMode.REQUIRED, allowedTools: ['add'] },
      { type: 'function', function: { name: 'add' } },
    ],
    [
      { mode: ToolChoiceMode.REQUIRED, allowedTools: ['run'] },
      { type: 'custom', custom: { name: 'run' } },
    ],
  ])('are chosen as %j', (toolChoice, written) => {
    expect(write({ tools: [add, now, run], toolChoice }).body.tool_choice).toEqual(written);
  });

  it('of which some are allowed are narrowed, or named where that is known', () => {
    const toolChoice = { mode: ToolChoiceMode.AUTO, allowedTools: ['add', 'run'] };
    const plain = write({ tools: [add, now, run], toolChoice }).body;
    const known = write({ tools: [add, now, run], toolChoice }, openai).body;

    expect([plain.tools.length, plain.tool_choice]).toEqual([2, 'auto']);
    expect(known.tools.length).toBe(3);
    expect(known.tool_choice).toEqual({
      type: 'allowed_tools',
      allowed_tools: {
        mode: 'auto',
        tools: [
          { type: 'function', function: { name: 'add' } },
          { type: 'custom', custom: { name: 'run' } },
        ],
      },
    });
  });
});

describe('the form of the answer', () => {
  it('is any JSON object', () => {
    const { body } = write({ responseFormat: { kind: { case: 'jsonObject', value: {} } } });

    expect(body.response_format).toEqual({ type: 'json_object' });
  });

  it('is a schema, to the letter', () => {
    const value = { name: 'city', description: 'd', schemaJson: '{"b":1,"a":2}', strict: true };
    const { text: body } = write({ responseFormat: { kind: { case: 'jsonSchema', value } } });

    expect(body).toContain(
      '"response_format":{"type":"json_schema","json_schema":{"name":"city","description":"d","schema":{"b":1,"a":2},"strict":true}}',
    );
  });
});

describe('what not every provider takes', () => {
  const png = {
    kind: { case: 'image' as const, value: { source: { case: 'data' as const, value: new Uint8Array(3) } } },
  };
  const wav = {
    kind: { case: 'audio' as const, value: { source: { case: 'data' as const, value: new Uint8Array(3) } } },
  };
  const result = { role: Role.TOOL, toolCallId: 'c1', parts: [text('see'), png] };
  const picky: OpenAIDialect = {
    ...plainDialect,
    takesMedia: (kind) => kind === 'image',
    refusals: false,
    unsupported: new Set(['tools.custom']),
  };

  it.each([
    ['a result', result],
    ['an answer', { role: Role.ASSISTANT, parts: [text('see'), png] }],
    ['an instruction', { role: Role.SYSTEM, parts: [text('see'), png] }],
  ])('is a picture in %s: OpenAI wants text there', (_, message) => {
    expect(refusalOf(() => write({ messages: [user, message] }, openai)).violations).toMatchObject([
      { field: 'messages[1].parts[1].image' },
    ]);
    const { body, droppedFields } = write({ messages: [user, message] }, openai, { drop: true });
    expect(JSON.stringify(body)).not.toContain('image');
    expect(droppedFields).toEqual(['messages[1].parts[1].image']);
    expect(write({ messages: [user, message] }).text).toContain('image_url');
  });

  it('is sound', () => {
    const message = { role: Role.USER, parts: [png, wav] };

    expect(refusalOf(() => write({ messages: [message] }, picky)).violations).toMatchObject([
      { field: 'messages[0].parts[1].audio' },
    ]);
  });

  it('is a refusal, which is what the model said all the same', () => {
    const parts = [{ kind: { case: 'refusal' as const, value: 'no' } }];

    expect(messageOf({ role: Role.ASSISTANT, parts }, picky)).toEqual({ role: 'assistant', content: 'no' });
    expect(messageOf({ role: Role.ASSISTANT, parts })).toMatchObject({ refusal: 'no' });
  });

  it('is a call with free text, which becomes a function, so that its result does not hang in the air', () => {
    const value = { id: 'c1', name: 'run', arguments: 'ls', custom: true };
    const messages = [{ role: Role.ASSISTANT, parts: [{ kind: { case: 'toolCall' as const, value } }] }];

    expect(refusalOf(() => write({ messages }, picky)).violations).toMatchObject([
      { field: 'messages[0].parts[0].tool_call.custom' },
    ]);
    expect(write({ messages }, picky, { drop: true }).body.messages[0].tool_calls).toEqual([
      { id: 'c1', type: 'function', function: { name: 'run', arguments: '{"input":"ls"}' } },
    ]);
  });
});
