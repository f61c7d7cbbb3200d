import type { MessageCreateParams } from '@anthropic-ai/sdk/resources/messages';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role, ToolChoiceMode } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import { writeRequestBody } from '../../src/providers/anthropic-request-body.ts';

type Fields = MessageInitShape<typeof CompletionRequestSchema>;
type MessageFields = NonNullable<Fields['messages']>[number];

/** What is expected is typed by Anthropic's own SDK, and by what it has given up: earlier models still take it. */
type Body = MessageCreateParams & { temperature?: number; top_p?: number; top_k?: number };

const text = (value: string) => ({ kind: { case: 'text' as const, value } });
const user = { role: Role.USER, parts: [text('hi')] };
const manual = 'claude-sonnet-4-5';
const either = 'claude-opus-4-6';
const latest = 'claude-sonnet-5';

function write(fields: Fields, more: { model?: string; drop?: boolean; streaming?: boolean } = {}) {
  const request = create(CompletionRequestSchema, { messages: [user], ...fields });
  const { body, droppedFields } = writeRequestBody(request, {
    provider: 'upstream',
    model: more.model ?? manual,
    streaming: more.streaming ?? false,
    dropUnsupported: more.drop ? 'drop' : 'error',
  });
  return { body: JSON.parse(body), text: body, droppedFields };
}

function messagesOf(...messages: MessageFields[]): Body['messages'] {
  return write({ messages }).body.messages;
}

function violationsOf(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError);
    expect((error as GatewayError).reason).toBe('invalid_request');
    return (error as GatewayError).violations.map(({ field }) => field);
  }
  throw new Error('nothing was refused');
}

const toolCall = (id: string, name = 'clock', args = '{}', custom = false) => ({
  kind: { case: 'toolCall' as const, value: { id, name, arguments: args, custom } },
});
const thought = (value: string, own?: object) => ({
  kind: { case: 'reasoning' as const, value },
  extraJson: own ? { anthropic: JSON.stringify(own) } : {},
});
const result = (toolCallId: string, ...parts: ReturnType<typeof text>[]) => ({ role: Role.TOOL, toolCallId, parts });
const tool = (name: string, parametersJson = '', more: object = {}) => ({
  kind: { case: 'function' as const, value: { name, parametersJson, ...more } },
});

describe('a request', () => {
  it('of one line is as short as can be', () => {
    const expected: Body = {
      model: manual,
      max_tokens: 64_000,
      messages: [{ role: 'user', content: [{ type: 'text', text: 'hi' }] }],
    };
    expect(write({}).body).toEqual(expected);
  });

  it('writes every plain field under its own name', () => {
    const fields = {
      temperature: 0.5,
      topK: 40,
      stop: ['a', 'b'],
      maxOutputTokens: 5,
      serviceTier: 'auto',
      // Asks for nothing else than what happens anyway.
      n: 1,
      topP: 1,
      frequencyPenalty: 0,
      logprobs: false,
      topLogprobs: 0,
      outputModalities: ['text'],
      parallelToolCalls: true,
      options: { userId: 'u', metadata: { a: 'b' } },
    };
    const expected: Body = {
      model: manual,
      max_tokens: 5,
      messages: [{ role: 'user', content: [{ type: 'text', text: 'hi' }] }],
      temperature: 0.5,
      top_k: 40,
      stop_sequences: ['a', 'b'],
      service_tier: 'auto',
      stream: true,
    };
    expect(write(fields, { streaming: true })).toMatchObject({ body: expected, droppedFields: [] });
    expect(Object.keys(write(fields, { streaming: true }).body).sort()).toEqual(Object.keys(expected).sort());
  });

  it.each([
    ['claude-3-haiku-20240307', 4_096],
    ['claude-3-5-haiku-20241022', 8_192],
    ['claude-3-7-sonnet-20250219', 64_000],
    ['claude-opus-4-1-20250805', 32_000],
    ['claude-opus-4-5-20251101', 64_000],
    ['claude-opus-4-6', 128_000],
    ['claude-fable-5-2', 128_000],
    ['somebodys-own', 4_096],
  ])('allows %s %i tokens where the caller says nothing', (model, limit) => {
    expect(write({}, { model }).body.max_tokens).toBe(limit);
  });

  it.each([
    [{ n: 2 }, 'n'],
    [{ seed: 1 }, 'seed'],
    [{ frequencyPenalty: 1 }, 'frequency_penalty'],
    [{ presencePenalty: -1 }, 'presence_penalty'],
    [{ logprobs: true }, 'logprobs'],
    [{ topLogprobs: 2 }, 'top_logprobs'],
    [{ logitBias: { '1': 1 } }, 'logit_bias'],
    [{ outputModalities: ['text', 'audio'] }, 'output_modalities'],
    [{ audioOutput: { voice: 'v', format: 'wav' } }, 'audio_output'],
    [{ temperature: 1.5 }, 'temperature'],
    [{ stop: ['\n'] }, 'stop'],
    [{ responseFormat: { kind: { case: 'jsonObject' as const, value: {} } } }, 'response_format.json_object'],
    [{ tools: [{ kind: { case: 'custom' as const, value: { name: 'sql' } } }] }, 'tools[0].custom'],
    [
      { messages: [{ role: Role.USER, parts: [{ kind: { case: 'audio' as const, value: {} } }] }] },
      'messages[0].parts[0].audio',
    ],
    [
      {
        messages: [
          user,
          {
            role: Role.ASSISTANT,
            parts: [
              { kind: { case: 'image' as const, value: { source: { case: 'url' as const, value: 'https://h/i' } } } },
            ],
          },
        ],
      },
      'messages[1].parts[0].image',
    ],
    [
      {
        messages: [
          {
            role: Role.USER,
            parts: [
              {
                kind: {
                  case: 'file' as const,
                  value: { mimeType: 'application/zip', source: { case: 'data' as const, value: new Uint8Array([1]) } },
                },
              },
            ],
          },
        ],
      },
      'messages[0].parts[0].file.mime_type',
    ],
  ])('refuses what has no place, or leaves it out: %j', (fields: Fields, name) => {
    expect(violationsOf(() => write(fields))).toEqual([name]);

    const { droppedFields, text: body } = write(fields, { drop: true });
    expect(droppedFields).toEqual([name]);
    expect(body).not.toMatch(
      /seed|penalty|logprobs|logit|modalities|audio|temperature|stop_sequences|format|image|zip/,
    );
  });

  it('keeps the stop texts that can be seen', () => {
    expect(write({ stop: ['\n', 'END'] }, { drop: true }).body.stop_sequences).toEqual(['END']);
  });

  it.each([
    ['default', 'standard_only'],
    ['standard_only', 'standard_only'],
    ['flex', undefined],
    ['constructor', undefined],
  ])('takes the service tier %s as a hint', (word, tier) => {
    expect(write({ serviceTier: word })).toMatchObject({ droppedFields: [] });
    expect(write({ serviceTier: word }).body.service_tier).toBe(tier);
  });

  it('sends extras of its family as they are, and names those of others', () => {
    const { body, droppedFields } = write({
      extraJson: { anthropic: '{"metadata":{"user_id":"u"},"container":"c"}', openai: '{"store":true}' },
    });

    expect(body).toMatchObject({ metadata: { user_id: 'u' }, container: 'c' });
    expect(droppedFields).toEqual(['extra_json.openai']);
  });

  it.each(['max_tokens', 'system', 'thinking', 'output_config', 'tools'])('refuses %s among extras', (key) => {
    const extraJson = { anthropic: JSON.stringify({ [key]: 1 }) };

    expect(violationsOf(() => write({ extraJson }))).toEqual([`extra_json.anthropic.${key}`]);
  });
});

describe('sampling', () => {
  it.each([
    [latest, { temperature: 0 }, ['temperature']],
    [latest, { temperature: 1, topP: 1 }, []],
    [latest, { topP: 0.5, topK: 3 }, ['top_p', 'top_k']],
    [manual, { temperature: 0, topP: 0.5 }, []],
    ['somebodys-own', { temperature: 0, topK: 3 }, []],
    [manual, { temperature: 0, topP: 0.5, topK: 3, reasoning: { effort: 'low' } }, ['temperature', 'top_p', 'top_k']],
    [manual, { temperature: 1, topP: 0.96, reasoning: { effort: 'low' } }, []],
  ])('is for models and moods that take it: %s, %j', (model, fields, refused) => {
    expect(write(fields, { model, drop: true }).droppedFields).toEqual(refused);
  });
});

describe('the conversation', () => {
  it('has instructions apart, wherever they stand', () => {
    const { body } = write({
      messages: [
        { role: Role.SYSTEM, parts: [text('be brief'), { ...text('be kind'), cacheBreakpoint: { ttl: '1h' } }] },
        user,
        { role: Role.DEVELOPER, parts: [text('be quick'), text(' ')] },
      ],
    });
    const system: Body['system'] = [
      { type: 'text', text: 'be brief' },
      { type: 'text', text: 'be kind', cache_control: { type: 'ephemeral', ttl: '1h' } },
      { type: 'text', text: 'be quick' },
    ];

    expect(body.system).toEqual(system);
    expect(body.messages).toEqual([{ role: 'user', content: [{ type: 'text', text: 'hi' }] }]);
  });

  it('leaves instructions in blocks of its own where they stand', () => {
    const block = { type: 'tool_addition', tool: { type: 'tool_reference', name: 'clock' } };
    const part = { kind: { case: undefined }, extraJson: { anthropic: JSON.stringify(block) } };

    expect(messagesOf(user, { role: Role.SYSTEM, parts: [part] } as MessageFields)).toEqual([
      { role: 'user', content: [{ type: 'text', text: 'hi' }] },
      { role: 'system', content: [block] },
    ]);
  });

  it('takes turns, with the results of tools first', () => {
    const expected: Body['messages'] = [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'hi' },
          { type: 'text', text: 'what time is it?' },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'hm', signature: 'c2ln' },
          { type: 'redacted_thinking', data: 'eA==' },
          { type: 'text', text: 'I look.' },
          { type: 'tool_use', id: 'a', name: 'clock', input: {} },
          { type: 'tool_use', id: 'b_1', name: 'zone', input: { in: 'Rome' } },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: 'noon' }] },
          { type: 'tool_result', tool_use_id: 'b_1', is_error: true },
          { type: 'text', text: 'well?' },
        ],
      },
      { role: 'assistant', content: [{ type: 'text', text: 'no idea' }] },
    ];

    expect(
      messagesOf(
        user,
        { role: Role.USER, name: 'ann', parts: [text('what time is it?'), text('')] },
        { role: Role.ASSISTANT, parts: [thought('hm', { signature: 'c2ln' }), thought('', { data: 'eA==' })] },
        {
          role: Role.ASSISTANT,
          parts: [text('I look.'), toolCall('a', 'clock', ''), toolCall('b:1', 'zone', '{"in":"Rome"}')],
        },
        result('a', text('noon')),
        { ...result('b:1'), toolFailed: true },
        { role: Role.USER, parts: [text('well?')] },
        { role: Role.ASSISTANT, parts: [{ kind: { case: 'refusal', value: 'no idea' } }] },
      ),
    ).toEqual(expected);
  });

  it.each([
    ['{"a":1.0}', false, '"input":{"a":1.0}'],
    ['', false, '"input":{}'],
    ['{"cut', false, '"input":{"arguments":"{\\"cut"}'],
    ['[1]', false, '"input":{"arguments":"[1]"}'],
    ['select 1', true, '"input":{"input":"select 1"}'],
  ])('writes the arguments %s as an object', (args, custom, written) => {
    const messages = [user, { role: Role.ASSISTANT, parts: [toolCall('a', 'f', args, custom)] }, result('a')];

    expect(write({ messages }).text).toContain(written);
  });

  it('has images and files in every form, also within results', () => {
    const data = (bytes: string) => ({ case: 'data' as const, value: Buffer.from(bytes) });
    const image = (value: object) => ({ kind: { case: 'image', value } });
    const file = (value: object, own?: object) => ({
      kind: { case: 'file', value },
      extraJson: own ? { anthropic: JSON.stringify(own) } : {},
    });
    const parts = [
      image({ source: data('png'), mimeType: 'image/png', detail: 'low' }),
      image({ source: { case: 'url', value: 'https://h/i' } }),
      image({ source: { case: 'fileId', value: 'file_1' } }),
      file({ source: data('%PDF-1'), name: 'a.pdf', mimeType: 'application/pdf' }, { citations: { enabled: true } }),
      file({ source: data('%PDF-1') }),
      file({ source: data('größe'), mimeType: 'text/markdown', name: 'a.md' }, { context: 'notes' }),
      file({ source: data('{}'), mimeType: 'application/json' }),
      file({ source: { case: 'url', value: 'https://h/a.pdf' } }),
      file({ source: { case: 'fileId', value: 'file_2' }, mimeType: 'application/pdf' }),
      file({ source: data('jpg'), mimeType: 'image/jpeg' }),
    ] as NonNullable<MessageFields['parts']>;
    const pdf = {
      type: 'base64',
      media_type: 'application/pdf',
      data: Buffer.from('%PDF-1').toString('base64'),
    } as const;
    const expected: Extract<Body['messages'][number]['content'], unknown[]> = [
      {
        type: 'image',
        source: { type: 'base64', media_type: 'image/png', data: Buffer.from('png').toString('base64') },
      },
      { type: 'image', source: { type: 'url', url: 'https://h/i' } },
      { type: 'image', source: { type: 'file', file_id: 'file_1' } },
      { type: 'document', source: pdf, title: 'a.pdf', citations: { enabled: true } },
      { type: 'document', source: pdf },
      {
        type: 'document',
        source: { type: 'text', media_type: 'text/plain', data: 'größe' },
        title: 'a.md',
        context: 'notes',
      },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: '{}' } },
      { type: 'document', source: { type: 'url', url: 'https://h/a.pdf' } },
      { type: 'document', source: { type: 'file', file_id: 'file_2' } },
      {
        type: 'image',
        source: { type: 'base64', media_type: 'image/jpeg', data: Buffer.from('jpg').toString('base64') },
      },
    ];

    expect(messagesOf({ role: Role.USER, parts })).toEqual([{ role: 'user', content: expected }]);
    expect(
      messagesOf(
        user,
        { role: Role.ASSISTANT, parts: [toolCall('a')] },
        { role: Role.TOOL, toolCallId: 'a', parts },
      )[2],
    ).toEqual({ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: expected }] });
  });

  it('marks what is worth caching', () => {
    const breakpoint = { cacheBreakpoint: { ttl: '' } };
    const cache_control = { type: 'ephemeral' } as const;
    const expected: Body['messages'] = [
      { role: 'user', content: [{ type: 'text', text: 'hi', cache_control }] },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'clock', input: {}, cache_control }] },
      {
        role: 'user',
        content: [{ type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: 'noon' }], cache_control }],
      },
    ];

    expect(
      messagesOf(
        { role: Role.USER, parts: [{ ...text('hi'), ...breakpoint }] },
        { role: Role.ASSISTANT, parts: [{ ...toolCall('a'), cacheBreakpoint: { ttl: '24h' } }] },
        { ...result('a'), parts: [{ ...text('noon'), ...breakpoint }] },
      ),
    ).toEqual(expected);
  });

  it('has blocks of its own family in their places, and nobody else’s', () => {
    const search = { type: 'server_tool_use', id: 's', name: 'web_search', input: { query: 'q' } };
    const opaque = (family: string, block: object) => ({
      kind: { case: undefined },
      extraJson: { [family]: JSON.stringify(block) },
    });
    const { body, droppedFields } = write({
      messages: [
        user,
        {
          role: Role.ASSISTANT,
          parts: [opaque('anthropic', search), opaque('gemini', { x: 1 }), text('so')],
        } as MessageFields,
      ],
    });

    expect(body.messages[1].content).toEqual([search, { type: 'text', text: 'so' }]);
    expect(droppedFields).toEqual(['messages.parts.extra_json.gemini']);
  });

  it('cites what the model cited, and no one else’s sources', () => {
    const web = { type: 'web_search_result_location', encrypted_index: 'e' };
    const pages = { type: 'page_location', document_index: 0, start_page_number: 1, end_page_number: 2 };
    const found = { type: 'search_result_location', search_result_index: 0, start_block_index: 0, end_block_index: 1 };
    const citations = [
      { url: 'https://h', title: 'T', citedText: 'c', extraJson: { anthropic: JSON.stringify(web) } },
      { title: 'D', citedText: 'c', extraJson: { anthropic: JSON.stringify({ ...pages, file_id: 'f' }) } },
      { url: 'https://h', citedText: 'c', extraJson: { anthropic: JSON.stringify(found) } },
      { url: 'https://other', title: 'O' },
    ];
    const { body, droppedFields } = write({
      messages: [user, { role: Role.ASSISTANT, parts: [{ ...text('so'), citations }] }, user],
    });
    const expected: Extract<Body['messages'][number]['content'], unknown[]> = [
      {
        type: 'text',
        text: 'so',
        citations: [
          { type: 'web_search_result_location', encrypted_index: 'e', url: 'https://h', title: 'T', cited_text: 'c' },
          {
            type: 'page_location',
            document_index: 0,
            start_page_number: 1,
            end_page_number: 2,
            document_title: 'D',
            cited_text: 'c',
          },
          {
            type: 'search_result_location',
            search_result_index: 0,
            start_block_index: 0,
            end_block_index: 1,
            source: 'https://h',
            title: null,
            cited_text: 'c',
          },
        ],
      },
    ];

    expect(body.messages[1].content).toEqual(expected);
    expect(droppedFields).toEqual(['messages.parts.citations']);
  });
});

describe('thinking', () => {
  it.each([
    [manual, { budgetTokens: 2_000 }, { thinking: { type: 'enabled', budget_tokens: 2_000 } }],
    [manual, { effort: 'high' }, { thinking: { type: 'enabled', budget_tokens: 16_384 } }],
    [manual, { effort: 'none' }, {}],
    [manual, { includeText: true }, {}],
    [
      either,
      { budgetTokens: 2_000, effort: 'low' },
      { thinking: { type: 'enabled', budget_tokens: 2_000 }, output_config: { effort: 'low' } },
    ],
    [either, { effort: 'minimal' }, { thinking: { type: 'adaptive' }, output_config: { effort: 'low' } }],
    [either, { effort: 'none' }, { thinking: { type: 'disabled' } }],
    [
      latest,
      { effort: 'xhigh', includeText: true },
      { thinking: { type: 'adaptive', display: 'summarized' }, output_config: { effort: 'xhigh' } },
    ],
    [
      'claude-fable-5',
      { effort: 'medium', includeText: false },
      { thinking: { type: 'adaptive', display: 'omitted' }, output_config: { effort: 'medium' } },
    ],
    ['claude-3-haiku-20240307', { effort: 'none' }, {}],
  ] satisfies [string, object, Partial<Body>][])('of %s with %j', (model, reasoning, expected) => {
    const { body, droppedFields } = write({ reasoning }, { model });

    expect({ thinking: body.thinking, output_config: body.output_config }).toEqual(expected);
    expect(droppedFields).toEqual([]);
  });

  it.each([
    [latest, { budgetTokens: 2_000 }, ['reasoning.budget_tokens']],
    [
      'claude-3-haiku-20240307',
      { budgetTokens: 2_000, effort: 'low' },
      ['reasoning.budget_tokens', 'reasoning.effort'],
    ],
    ['claude-fable-5', { effort: 'none' }, ['reasoning.effort']],
    [manual, { effort: 'constructor' }, ['reasoning.effort']],
  ])('cannot be had of %s with %j', (model, reasoning, names) => {
    expect(violationsOf(() => write({ reasoning }, { model }))).toEqual(names);
    expect(write({ reasoning }, { model, drop: true }).droppedFields).toEqual(names);
  });

  it('leaves room for the answer', () => {
    const reasoning = { effort: 'high' };

    expect(write({ reasoning, maxOutputTokens: 5_000 }).body.thinking.budget_tokens).toBe(4_000);
    expect(write({ reasoning, maxOutputTokens: 1_200 })).toMatchObject({ droppedFields: ['reasoning.effort'] });
    expect(write({ reasoning: { budgetTokens: 9_000 } }, { model: 'somebodys-own' }).body.max_tokens).toBe(13_096);
  });

  it('waits while a tool is forced', () => {
    const fields = {
      reasoning: { effort: 'low' },
      tools: [tool('clock')],
      toolChoice: { mode: ToolChoiceMode.REQUIRED },
      temperature: 0.5,
    };

    expect(write(fields)).toMatchObject({ body: { temperature: 0.5 }, droppedFields: ['reasoning'] });
    expect(write(fields).body.thinking).toBeUndefined();
  });

  const reasoning = { effort: 'low' };
  const asked = (...parts: NonNullable<MessageFields['parts']>) => [user, { role: Role.ASSISTANT, parts }, result('a')];

  it.each([manual, latest])('of %s goes on where a client sent its thoughts back', (model) => {
    const messages = asked(thought('hm', { signature: 's' }), toolCall('a'));

    expect(write({ reasoning, messages }, { model }).body.thinking).toBeDefined();
  });

  it.each([
    ['nothing', asked(toolCall('a'))],
    ['unsigned thoughts', asked(thought('hm'), toolCall('a'))],
    ['the beginning of an answer', [user, { role: Role.ASSISTANT, parts: [text('It is')] }]],
  ])('is left out of a turn of which a client sent %s back', (_, messages) => {
    const { body, droppedFields } = write({ reasoning, messages });

    expect(body.thinking).toBeUndefined();
    expect(droppedFields).toContain('reasoning');
    expect(JSON.stringify(body)).not.toContain('"hm"');
  });

  it('begins anew with the next question', () => {
    const messages = [user, { role: Role.ASSISTANT, parts: [text('hello')] }, user];

    expect(write({ reasoning, messages }).body.thinking).toBeDefined();
  });
});

describe('tools', () => {
  it('are written with their schemas to the letter', () => {
    const schema = '{"type":"object","properties":{"b":{"type":"number","minimum":1.0},"a":{}}}';
    const { text: written, body } = write({
      tools: [
        { ...tool('f', schema, { description: 'does' }), extraJson: { anthropic: '{"defer_loading":true}' } },
        { ...tool('g'), cacheBreakpoint: {} },
        {
          kind: { case: 'provider', value: { family: 'anthropic', json: '{"type":"web_search_20250305","name":"w"}' } },
        },
        { kind: { case: 'provider', value: { family: 'openai', json: '{"type":"web_search"}' } } },
      ],
      toolChoice: { mode: ToolChoiceMode.AUTO },
    });
    const expected: Body['tools'] = [
      {
        name: 'f',
        description: 'does',
        input_schema: { type: 'object', properties: { b: { type: 'number', minimum: 1 }, a: {} } },
        defer_loading: true,
      },
      { name: 'g', input_schema: { type: 'object', properties: {} }, cache_control: { type: 'ephemeral' } },
      { type: 'web_search_20250305', name: 'web_search' },
    ];

    expect(body.tools).toEqual([...expected.slice(0, 2), { type: 'web_search_20250305', name: 'w' }]);
    expect(written).toContain(schema);
    expect(body.tool_choice).toEqual({ type: 'auto' });
  });

  it('have a schema that the wire takes, where it is strict about it', () => {
    const schema = '{"properties":{"a":{"type":"integer","minimum":1}}}';
    const of = (more: object) => write({ tools: [tool('f', schema, more)] }).body.tools[0];

    expect(of({})).toMatchObject({ input_schema: { type: 'object', properties: { a: { minimum: 1 } } } });
    expect(of({ strict: true })).toEqual({
      name: 'f',
      strict: true,
      input_schema: {
        type: 'object',
        properties: { a: { type: 'integer', description: '{minimum: 1}' } },
        additionalProperties: false,
      },
    });
  });

  const tools = [tool('f'), tool('g')];
  it.each([
    [{ mode: ToolChoiceMode.REQUIRED }, undefined, { type: 'any' }],
    [{ mode: ToolChoiceMode.REQUIRED, allowedTools: ['g'] }, undefined, { type: 'tool', name: 'g' }],
    [{ mode: ToolChoiceMode.NONE }, false, { type: 'none' }],
    [undefined, false, { type: 'auto', disable_parallel_tool_use: true }],
    [{ mode: ToolChoiceMode.REQUIRED }, false, { type: 'any', disable_parallel_tool_use: true }],
    [{ mode: ToolChoiceMode.UNSPECIFIED }, true, undefined],
  ] satisfies [object | undefined, boolean | undefined, Body['tool_choice']][])(
    'are chosen by %j, in parallel %s',
    (toolChoice, parallelToolCalls, expected) => {
      const fields = {
        tools,
        ...(toolChoice && { toolChoice }),
        ...(parallelToolCalls !== undefined && { parallelToolCalls }),
      };

      expect(write(fields).body.tool_choice).toEqual(expected);
    },
  );

  it('are only those that may be called', () => {
    const { body } = write({ tools, toolChoice: { mode: ToolChoiceMode.AUTO, allowedTools: ['g', 'h'] } });

    expect(body.tools.map(({ name }: { name: string }) => name)).toEqual(['g']);
  });

  it('are named where a conversation has called them and offers none', () => {
    const messages = [
      user,
      { role: Role.ASSISTANT, parts: [toolCall('a', 'f'), toolCall('b', 'f')] },
      result('a'),
      result('b'),
    ];

    expect(write({ messages }).body).toMatchObject({
      tools: [{ name: 'f', input_schema: { type: 'object', properties: {} } }],
      tool_choice: { type: 'none' },
    });
    expect(write({ parallelToolCalls: false }).body.tool_choice).toBeUndefined();
  });
});

describe('structured output', () => {
  it('closes its objects, and tells in words what the wire cannot take', () => {
    const schema = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      properties: {
        b: { type: 'string', minLength: 1, description: 'a name' },
        a: {
          oneOf: [{ type: 'array', items: { type: 'object', properties: {} }, minItems: 2 }, { $ref: '#/$defs/x' }],
        },
        when: { type: 'string', format: 'date-time' },
        what: { type: 'string', format: 'iban' },
      },
      required: ['b'],
      additionalProperties: true,
      $defs: { x: { enum: ['p', 'q'] } },
    };
    const value = { name: 'answer', description: 'the answer', schemaJson: JSON.stringify(schema), strict: true };
    const expected: Body['output_config'] = {
      format: {
        type: 'json_schema',
        schema: {
          type: 'object',
          properties: {
            b: { type: 'string', description: 'a name\n\n{minLength: 1}' },
            a: {
              anyOf: [
                {
                  type: 'array',
                  items: { type: 'object', properties: {}, additionalProperties: false },
                  description: '{minItems: 2}',
                },
                { $ref: '#/$defs/x' },
              ],
            },
            when: { type: 'string', format: 'date-time' },
            what: { type: 'string', description: '{format: "iban"}' },
          },
          required: ['b'],
          additionalProperties: false,
          $defs: { x: { enum: ['p', 'q'] } },
          description: 'the answer',
        },
      },
    };
    const { body, text: written } = write({ responseFormat: { kind: { case: 'jsonSchema', value } } });

    expect(body.output_config).toEqual(expected);
    expect(written.indexOf('"b"')).toBeLessThan(written.indexOf('"a"'));
  });
});
