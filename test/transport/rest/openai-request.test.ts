import { describe, expect, it } from 'vitest';
import {
  CacheMode,
  type CompletionRequest,
  Guarantee,
  Role,
  RoutingStrategy,
  ToolChoiceMode,
} from '../../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../../src/errors.ts';
import { fieldNames } from '../../../src/transport/rest/field-names.ts';
import { readNativeRequest, readOpenaiRequest } from '../../../src/transport/rest/openai-request.ts';
import { send, serve } from './serve.ts';

const options = () => ({
  $typeName: 'llmgateway.v1.CallOptions' as const,
  provider: '',
  routingStrategy: RoutingStrategy.UNSPECIFIED,
  cacheMode: CacheMode.UNSPECIFIED,
  idempotencyKey: '',
  requestId: '',
  userId: '',
  metadata: {},
  guarantee: Guarantee.UNSPECIFIED,
});

function translate(body: Record<string, unknown>): CompletionRequest {
  return readOpenaiRequest(body, options()).request;
}

/** The parts of one message, without what every part has. */
function partsOf(message: Record<string, unknown>) {
  const [first] = translate({ messages: [message] }).messages;
  return first?.parts.map(({ kind, extraJson, cacheBreakpoint }) => ({
    kind: kind.case,
    value: typeof kind.value === 'object' ? { ...kind.value, $typeName: undefined } : kind.value,
    ...(Object.keys(extraJson).length > 0 && { extraJson }),
    ...(cacheBreakpoint && { ttl: cacheBreakpoint.ttl }),
  }));
}

describe('sampling and limits', () => {
  it('takes every field of its own', () => {
    const request = translate({
      model: 'm',
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      frequency_penalty: 1,
      presence_penalty: -1,
      n: 2,
      seed: 7,
      logprobs: true,
      top_logprobs: 3,
      logit_bias: { '50256': -100 },
      parallel_tool_calls: false,
      service_tier: 'flex',
      reasoning_effort: 'xhigh',
      modalities: ['text', 'audio'],
      audio: { voice: 'alloy', format: 'wav' },
    });
    expect(request).toMatchObject({
      model: 'm',
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      frequencyPenalty: 1,
      presencePenalty: -1,
      n: 2,
      seed: 7,
      logprobs: true,
      topLogprobs: 3,
      logitBias: { '50256': -100 },
      parallelToolCalls: false,
      serviceTier: 'flex',
      reasoning: { effort: 'xhigh' },
      outputModalities: ['text', 'audio'],
      audioOutput: { voice: 'alloy', format: 'wav' },
    });
    expect(request.extraJson).toEqual({});
  });

  it('takes stop as a text and as a list', () => {
    expect(translate({ stop: 'END' }).stop).toEqual(['END']);
    expect(translate({ stop: ['a', 'b'] }).stop).toEqual(['a', 'b']);
  });

  it('takes null for unset', () => {
    expect(translate({ temperature: null, stop: null, tools: null, max_tokens: null, user: null })).toEqual(
      translate({}),
    );
  });

  it('takes either name of the output limit, and both when they agree', () => {
    expect(translate({ max_tokens: 5 }).maxOutputTokens).toBe(5);
    expect(translate({ max_completion_tokens: 6 }).maxOutputTokens).toBe(6);
    expect(translate({ max_tokens: 7, max_completion_tokens: 7 }).maxOutputTokens).toBe(7);
    expect(() => translate({ max_tokens: 7, max_completion_tokens: 8 })).toThrow(
      'max_completion_tokens: must not differ',
    );
  });

  it('passes unknown fields on, in order and verbatim', () => {
    const { extraJson } = translate({ verbosity: 'low', messages: [], made_up: { a: [1, null] }, store: true });
    expect(extraJson).toEqual({ openai: '{"verbosity":"low","made_up":{"a":[1,null]},"store":true}' });
  });

  it('keeps user and safety_identifier in the body and takes the newer one for the label', () => {
    const request = translate({ safety_identifier: 'new', user: 'old' });
    expect(JSON.parse(request.extraJson.openai ?? '')).toEqual({ safety_identifier: 'new', user: 'old' });
    expect(request.options?.userId).toBe('new');
    expect(translate({ user: 'old' }).options?.userId).toBe('old');
  });
});

describe("the gateway's own fields", () => {
  it('leave the body and become options', () => {
    const request = translate({
      provider: 'groq',
      routing_strategy: 'quality',
      fallback: false,
      timeout: 2.5,
      metadata: { team: 'a' },
    });
    expect(request.extraJson).toEqual({});
    expect(request.options).toMatchObject({
      provider: 'groq',
      routingStrategy: RoutingStrategy.HIGHEST_QUALITY,
      fallback: false,
      timeout: { seconds: 2n, nanos: 500_000_000 },
      metadata: { team: 'a' },
    });
  });

  it('come from headers too', async () => {
    const served = await serve();
    const body = { messages: [{ role: 'user', content: 'hi' }] };
    const headers = { 'idempotency-key': 'k1', 'cache-control': 'no-store' };
    await send(served, '/v1/chat/completions', { body, headers });
    await send(served, '/completion', { body, headers: { 'cache-control': 'max-age=0, no-cache' } });
    expect(served.asked.map(({ request }) => request.options)).toMatchObject([
      { idempotencyKey: 'k1', cacheMode: CacheMode.BYPASS },
      { idempotencyKey: '', cacheMode: CacheMode.REFRESH },
    ]);
  });

  it('choose a stream by the body alone', async () => {
    const served = await serve();
    const body = { messages: [{ role: 'user', content: 'hi' }] };
    const unary = await send(served, '/v1/chat/completions', { body, headers: { accept: 'text/event-stream' } });
    expect(unary.headers['content-type']).toBe('application/json');
    const headers = { accept: 'application/json' };
    const stream = await send(served, '/v1/chat/completions', { body: { ...body, stream: true }, headers });
    expect(stream.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    expect(served.asked.map(({ context }) => context.streaming)).toEqual([false, true]);
  });
});

describe('messages', () => {
  it('have the roles of the contract', () => {
    const roles = ['system', 'developer', 'user', 'assistant', 'tool'];
    const { messages } = translate({ messages: roles.map((role) => ({ role, content: 'x', tool_call_id: 'c' })) });
    expect(messages.map(({ role }) => role)).toEqual([
      Role.SYSTEM,
      Role.DEVELOPER,
      Role.USER,
      Role.ASSISTANT,
      Role.TOOL,
    ]);
    expect(messages[4]?.toolCallId).toBe('c');
  });

  it('hold text, images, sound and files', () => {
    const parts = partsOf({
      role: 'user',
      content: [
        { type: 'text', text: 'look', prompt_cache_breakpoint: { mode: 'explicit', ttl: '30m' } },
        { type: 'image_url', image_url: { url: 'https://example.org/a.png', detail: 'low' } },
        { type: 'image_url', image_url: { url: 'data:image/png;base64,AQID' } },
        { type: 'input_audio', input_audio: { data: 'AQID', format: 'wav' } },
        { type: 'file', file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,AQID' } },
        { type: 'file', file: { file_id: 'file-1' } },
        { type: 'text', text: 'x', cache_control: { type: 'ephemeral' } },
        { type: 'video_url', video_url: { url: 'https://example.org/v.mp4' } },
      ],
    });
    const bytes = Buffer.from([1, 2, 3]);
    const none = { $typeName: undefined, mimeType: '', name: '', detail: '', transcript: '' };
    expect(parts).toEqual([
      { kind: 'text', value: 'look', ttl: '30m' },
      { kind: 'image', value: { ...none, source: { case: 'url', value: 'https://example.org/a.png' }, detail: 'low' } },
      { kind: 'image', value: { ...none, source: { case: 'data', value: bytes }, mimeType: 'image/png' } },
      { kind: 'audio', value: { ...none, source: { case: 'data', value: bytes }, mimeType: 'audio/wav' } },
      {
        kind: 'file',
        value: { ...none, source: { case: 'data', value: bytes }, mimeType: 'application/pdf', name: 'a.pdf' },
      },
      { kind: 'file', value: { ...none, source: { case: 'fileId', value: 'file-1' } } },
      { kind: 'text', value: 'x', extraJson: { openai: '{"cache_control":{"type":"ephemeral"}}' } },
      {
        kind: undefined,
        value: undefined,
        extraJson: { openai: '{"type":"video_url","video_url":{"url":"https://example.org/v.mp4"}}' },
      },
    ]);
  });

  it('of the assistant come back as an answer gave them', () => {
    const message = {
      role: 'assistant',
      content: '',
      refusal: null,
      reasoning_content: 'hmm',
      reasoning_details: [{ type: 'reasoning.text', text: 'hmm' }],
      tool_calls: [
        {
          id: 'c1',
          type: 'function',
          function: { name: 'add', arguments: '{"a":1}' },
          extra_content: { google: { thought_signature: 's' } },
        },
        { id: 'c2', type: 'custom', custom: { name: 'sql', input: 'select 1' } },
      ],
    };
    const call = { $typeName: undefined, custom: false };
    expect(partsOf(message)).toEqual([
      { kind: 'reasoning', value: 'hmm' },
      {
        kind: 'toolCall',
        value: { ...call, id: 'c1', name: 'add', arguments: '{"a":1}' },
        extraJson: { openai: '{"extra_content":{"google":{"thought_signature":"s"}}}' },
      },
      { kind: 'toolCall', value: { ...call, id: 'c2', name: 'sql', arguments: 'select 1', custom: true } },
    ]);
    expect(translate({ messages: [message] }).messages[0]?.extraJson).toEqual({
      openai: '{"reasoning_details":[{"type":"reasoning.text","text":"hmm"}]}',
    });
  });

  it('of the assistant may hold a refusal, and the id of what was spoken', () => {
    const media = expect.objectContaining({ source: { case: 'fileId', value: 'audio_1' } });
    expect(partsOf({ role: 'assistant', content: null, refusal: 'no', audio: { id: 'audio_1' } })).toEqual([
      { kind: 'refusal', value: 'no' },
      { kind: 'audio', value: media },
    ]);
    expect(partsOf({ role: 'assistant', content: [{ type: 'refusal', refusal: 'no' }] })).toEqual([
      { kind: 'refusal', value: 'no' },
    ]);
  });

  it('of the legacy function calls get ids that belong together', () => {
    const { messages, tools, toolChoice } = translate({
      functions: [{ name: 'add', parameters: { type: 'object' } }],
      function_call: { name: 'add' },
      messages: [
        { role: 'user', content: '1+1' },
        { role: 'assistant', content: null, function_call: { name: 'add', arguments: '{}' } },
        { role: 'function', name: 'add', content: '2' },
      ],
    });
    expect(messages[1]?.parts[0]?.kind.value).toMatchObject({ id: 'call_1', name: 'add' });
    expect(messages[2]).toMatchObject({ role: Role.TOOL, toolCallId: 'call_1', name: 'add' });
    expect(tools[0]?.kind.value).toMatchObject({ name: 'add', parametersJson: '{"type":"object"}' });
    expect(toolChoice).toMatchObject({ mode: ToolChoiceMode.REQUIRED, allowedTools: ['add'] });
  });
});

describe('tools', () => {
  it('are functions, custom ones, and those of the provider', () => {
    const { tools } = translate({
      tools: [
        { type: 'function', function: { name: 'f', description: 'd', parameters: { z: 1, a: 2 }, strict: true } },
        { type: 'custom', custom: { name: 'c', format: { type: 'text' } } },
        { type: 'web_search', filters: { allowed_domains: ['example.org'] } },
        { type: 'function', function: { name: 'g' }, cache_control: { type: 'ephemeral' } },
      ],
    });
    expect(tools.map(({ kind }) => kind)).toMatchObject([
      { case: 'function', value: { name: 'f', description: 'd', parametersJson: '{"z":1,"a":2}', strict: true } },
      { case: 'custom', value: { name: 'c', description: '', formatJson: '{"type":"text"}' } },
      {
        case: 'provider',
        value: { family: 'openai', json: '{"type":"web_search","filters":{"allowed_domains":["example.org"]}}' },
      },
      { case: 'function', value: { name: 'g', parametersJson: '' } },
    ]);
    expect(tools[3]?.extraJson).toEqual({ openai: '{"cache_control":{"type":"ephemeral"}}' });
  });

  it.each([
    ['none', ToolChoiceMode.NONE, []],
    ['auto', ToolChoiceMode.AUTO, []],
    ['required', ToolChoiceMode.REQUIRED, []],
    [{ type: 'function', function: { name: 'f' } }, ToolChoiceMode.REQUIRED, ['f']],
    [{ type: 'custom', custom: { name: 'c' } }, ToolChoiceMode.REQUIRED, ['c']],
    [
      {
        type: 'allowed_tools',
        allowed_tools: {
          mode: 'auto',
          tools: [
            { type: 'function', function: { name: 'f' } },
            { type: 'function', function: { name: 'g' } },
          ],
        },
      },
      ToolChoiceMode.AUTO,
      ['f', 'g'],
    ],
  ])('are chosen by %j', (choice, mode, allowedTools) => {
    expect(translate({ tool_choice: choice }).toolChoice).toMatchObject({ mode, allowedTools });
  });

  it('and formats keep their schemas as text', () => {
    const json_schema = { name: 's', schema: { type: 'object', b: 1, a: 2 }, strict: false };
    expect(translate({ response_format: { type: 'json_schema', json_schema } }).responseFormat?.kind).toMatchObject({
      case: 'jsonSchema',
      value: { name: 's', schemaJson: '{"type":"object","b":1,"a":2}', strict: false },
    });
    expect(translate({ response_format: { type: 'json_object' } }).responseFormat?.kind.case).toBe('jsonObject');
    expect(translate({ response_format: { type: 'text' } }).responseFormat).toBeUndefined();
  });
});

const user = { role: 'user', content: 'hi' };

const wrongBodies: readonly (readonly [param: string, says: string, body: Record<string, unknown>])[] = [
  ['model', 'must be a string, not 5', { model: 5 }],
  ['messages', 'must be a list, not "hi"', { messages: 'hi' }],
  ['messages[0]', 'must be an object, not "hi"', { messages: ['hi'] }],
  ['messages[1].role', 'must be one of', { messages: [user, { role: 'robot', content: 'x' }] }],
  ['messages[0].role', 'not "toString"', { messages: [{ role: 'toString', content: 'x' }] }],
  ['messages[0].content', 'must be a string or a list', { messages: [{ role: 'user' }] }],
  ['messages[0].content', 'must be a string or a list', { messages: [{ role: 'user', content: 7 }] }],
  ['messages[0].content[0].type', 'must be a string', { messages: [{ role: 'user', content: [{}] }] }],
  ['messages[0].content[0].text', 'not nothing', { messages: [{ role: 'user', content: [{ type: 'text' }] }] }],
  [
    'messages[0].content[0].image_url.url',
    'must be an https: or data: URL',
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'file:///etc/passwd' } }] }] },
  ],
  [
    'messages[0].content[0].image_url.url',
    'must be base64',
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,?!' } }] }] },
  ],
  [
    'messages[0].content[0].input_audio.format',
    'must be a string',
    { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: 'AQID' } }] }] },
  ],
  [
    'messages[0].tool_calls[0].function.arguments',
    'must be a string, not an object',
    { messages: [{ role: 'assistant', tool_calls: [{ id: 'a', function: { name: 'f', arguments: {} } }] }] },
  ],
  [
    'messages[0].tool_calls[0].id',
    'not nothing',
    { messages: [{ role: 'assistant', tool_calls: [{ function: {} }] }] },
  ],
  ['messages[0].name', 'no message before', { messages: [{ role: 'function', name: 'f', content: '1' }] }],
  ['temperature', 'must be a number, not "hot"', { temperature: 'hot' }],
  ['temperature', 'must be a number, not true', { temperature: true }],
  ['max_tokens', 'must be a whole number from 1 to 4294967295, not 0', { max_tokens: 0 }],
  ['max_completion_tokens', 'not 1.5', { max_completion_tokens: 1.5 }],
  ['max_tokens', 'not -1', { max_tokens: -1 }],
  ['max_tokens', 'not 1e+30', { max_tokens: 1e30 }],
  ['n', 'must be a whole number', { n: 'two' }],
  ['stop', 'must be a string or a list', { stop: 5 }],
  ['stop[1]', 'must be a string', { stop: ['a', 1] }],
  ['stream', 'must be true or false, not "yes"', { stream: 'yes' }],
  ['stream_options', 'must be an object', { stream_options: true }],
  ['logit_bias.5', 'must be a number', { logit_bias: { 5: 'x' } }],
  ['tools', 'must be a list, not an object', { tools: {} }],
  ['tools[0].type', 'must be a string', { tools: [{ function: {} }] }],
  ['tools[0].function', 'must be an object', { tools: [{ type: 'function' }] }],
  [
    'tools[0].function.parameters',
    'must be an object',
    { tools: [{ type: 'function', function: { name: 'f', parameters: [] } }] },
  ],
  ['tool_choice', 'must be one of none, auto, required, not "any"', { tool_choice: 'any' }],
  ['tool_choice.type', 'must be one of', { tool_choice: { type: 'any' } }],
  ['response_format.type', 'must be one of', { response_format: { type: 'xml' } }],
  ['response_format.json_schema', 'must be an object', { response_format: { type: 'json_schema' } }],
  ['reasoning_effort', 'must be a string', { reasoning_effort: 3 }],
  ['metadata.a', 'must be a string, not 1', { metadata: { a: 1 } }],
  ['provider', 'must be a string, not an object', { provider: { order: ['a'] } }],
  ['routing_strategy', 'must be one of', { routing_strategy: 'fastest' }],
  ['fallback', 'must be true or false', { fallback: 'no' }],
  ['timeout', 'must be from 1 to 300 seconds, not 0.5', { timeout: 0.5 }],
  ['timeout', 'must be from 1 to 300 seconds, not 301', { timeout: 301 }],
  ['timeout', 'must be a number', { timeout: '5s' }],
];

describe('wrong types', () => {
  it.each(wrongBodies)('of %s are refused: %s', (param, says, body) => {
    const thrown = errorOf(() => translate(body));
    expect(thrown).toBeInstanceOf(GatewayError);
    expect(thrown.reason).toBe('invalid_request');
    expect(thrown.violations[0]?.field).toBe(param);
    expect(thrown.message).toContain(says);
  });
});

describe('the native door', () => {
  it('refuses a field that nobody knows, by its name', () => {
    expect(() => readNativeRequest({ temprature: 1 }, options())).toThrow('temprature: is not a field of this request');
  });

  it('takes what OpenAI has beside its own', () => {
    const body = { user_id: 'u', verbosity: 'low', routing_strategy: 'least_latency', fallback: true, seed: 1 };
    const { request } = readNativeRequest(body, options());
    expect(request.options.userId).toBe('u');
    expect(request.extraJson).toEqual({ openai: '{"verbosity":"low"}' });
  });

  it('holds one choice', () => {
    expect(readNativeRequest({ n: 1 }, options()).request.n).toBe(1);
    expect(() => readNativeRequest({ n: 2 }, options())).toThrow('n: must be 1 here, not 2');
  });
});

describe('names of fields', () => {
  const body = {
    max_tokens: 1,
    stop: 'x',
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'x' },
          { type: 'image_url', image_url: { url: 'https://a/b' } },
        ],
      },
      { role: 'assistant', reasoning_content: 'r', content: 'x', refusal: 'no', tool_calls: [{}, {}] },
      { role: 'assistant', content: '', tool_calls: [{}] },
    ],
  };
  it.each([
    ['temperature', 'temperature'],
    ['max_output_tokens', 'max_tokens'],
    ['stop[0]', 'stop'],
    ['options.timeout', 'timeout'],
    ['options.user_id', 'user'],
    ['options.metadata["a"]', 'metadata["a"]'],
    ['options.idempotency_key', 'Idempotency-Key'],
    ['reasoning.effort', 'reasoning_effort'],
    ['output_modalities[0]', 'modalities[0]'],
    ['tools[3].function.parameters_json', 'tools[3].function.parameters'],
    ['tools[3].function.name', 'tools[3].function.name'],
    ['tool_choice.allowed_tools[0]', 'tool_choice'],
    ['messages[0].role', 'messages[0].role'],
    ['messages[0].parts[0].text', 'messages[0].content[0].text'],
    ['messages[0].parts[1].image', 'messages[0].content[1].image_url'],
    ['messages[1].parts[0].reasoning', 'messages[1].reasoning_content'],
    ['messages[1].parts[1].text', 'messages[1].content'],
    ['messages[1].parts[2].refusal', 'messages[1].refusal'],
    ['messages[1].parts[4].tool_call', 'messages[1].tool_calls[1]'],
    ['messages[2].parts[0].tool_call', 'messages[2].tool_calls[0]'],
    ['messages[9].parts[0].text', 'messages[9].parts[0].text'],
    ['extra_json.openai.model', 'model'],
  ])('%s is called %s', (field, name) => {
    expect(fieldNames(body)(field)).toBe(name);
  });
});

function errorOf(act: () => unknown): GatewayError {
  try {
    act();
  } catch (error) {
    return error as GatewayError;
  }
  throw new Error('nothing was thrown');
}
