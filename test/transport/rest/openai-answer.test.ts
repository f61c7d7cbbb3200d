import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import {
  AttemptOutcome,
  type Citation,
  type CompletionEvent,
  FinishReason,
  type TokenLogprob,
} from '../../../gen/llmgateway/v1/completion_pb.ts';
import {
  choiceFinished,
  extra,
  finished,
  mediaDelta,
  reasoningDelta,
  refusalDelta,
  started,
  textDelta,
  toolCallDelta,
} from '../../../src/completion.ts';
import { OpenaiChunks } from '../../../src/transport/rest/openai-chunks.ts';
import { beginning, frames, hello, type Script, sampleUsage, scripted, send, serve } from './serve.ts';

const messages = [{ role: 'user' as const, content: 'hi' }];

function token(text: string, logprob: number): TokenLogprob {
  const top = { $typeName: 'llmgateway.v1.TopLogprob' as const, token: text, logprob };
  const bytes = new TextEncoder().encode(text);
  return { $typeName: 'llmgateway.v1.TokenLogprob', token: text, logprob, bytes, topLogprobs: [top] };
}

function logprobs(content: TokenLogprob[]): CompletionEvent {
  const value = { $typeName: 'llmgateway.v1.LogprobsDelta' as const, choiceIndex: 0, content, refusal: [] };
  return { $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'logprobs', value } };
}

function citation(known: Partial<Citation>): CompletionEvent {
  const value = {
    $typeName: 'llmgateway.v1.CitationAdded' as const,
    choiceIndex: 0,
    partIndex: 1,
    citation: {
      $typeName: 'llmgateway.v1.Citation' as const,
      url: '',
      title: '',
      citedText: '',
      extraJson: {},
      ...known,
    },
  };
  return { $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'citation', value } };
}

function media(known: object) {
  return {
    $typeName: 'llmgateway.v1.Media' as const,
    source: { case: undefined },
    mimeType: '',
    name: '',
    detail: '',
    transcript: '',
    ...known,
  };
}

/** Everything that an answer may hold, in two choices. */
const rich: Script = scripted(
  started('gpt-oss', { ...beginning, droppedFields: ['seed', 'max_output_tokens'] }),
  extra('openai', '{"system_fingerprint":"fp_1","x_groq":{"id":"req_1"},"usage":{"queue_time":0.25}}'),
  extra('gemini', '{"secret":"of another family"}'),
  reasoningDelta(0, 0, 'let me '),
  reasoningDelta(0, 0, 'think'),
  extra('openai', '{"reasoning_details":[{"type":"x"}]}', 0, 0),
  extra('ollama', '{"signature":"of another family"}', 0, 0),
  textDelta(0, 1, 'Größe 😀 "q"\n'),
  textDelta(1, 0, 'second'),
  textDelta(0, 1, 'end'),
  logprobs([token('end', -0.12345678901234566)]),
  citation({ url: 'https://example.org', title: 'T', startIndex: 0, endIndex: 5 }),
  toolCallDelta(0, 2, '', { id: 'call_1', name: 'add' }),
  toolCallDelta(0, 3, '{"a"', { id: 'call_2', name: 'mul' }),
  toolCallDelta(0, 2, '{}'),
  toolCallDelta(0, 3, ':1}'),
  extra('openai', '{"extra_content":{"google":{"thought_signature":"s"}}}', 0, 3),
  toolCallDelta(0, 4, 'select', { id: 'call_3', name: 'sql', custom: true }),
  toolCallDelta(0, 4, ' 1'),
  mediaDelta(0, 5, { case: 'audio', value: media({ source: { case: 'data', value: Buffer.from([1, 2, 3]) } }) }),
  mediaDelta(0, 5, { case: 'audio', value: media({ transcript: 'said' }) }),
  extra('openai', '{"audio":{"id":"audio_1","expires_at":9}}', 0, 5),
  mediaDelta(0, 6, {
    case: 'image',
    value: media({ mimeType: 'image/png', source: { case: 'data', value: Buffer.from([1, 2]) } }),
  }),
  mediaDelta(0, 6, { case: 'image', value: media({ source: { case: 'data', value: Buffer.from([3]) } }) }),
  choiceFinished(0, FinishReason.TOOL_CALLS, 'tool_calls', {
    extraJson: { openai: '{"content_filter_results":{"hate":1}}' },
  }),
  refusalDelta(1, 1, 'no more'),
  choiceFinished(1, FinishReason.OTHER, 'weird'),
  finished(
    { ...sampleUsage, reasoningTokens: 1, cachedPromptTokens: 0 },
    {
      attempts: [
        {
          $typeName: 'llmgateway.v1.Attempt',
          provider: 'groq',
          model: 'gpt-oss',
          outcome: AttemptOutcome.SUCCEEDED,
          reason: '',
          providerRequestId: '',
        },
      ],
    },
  ),
);

const richChoices = [
  {
    index: 0,
    content_filter_results: { hate: 1 },
    message: {
      role: 'assistant',
      content: 'Größe 😀 "q"\nend',
      refusal: null,
      reasoning_content: 'let me think',
      reasoning_details: [{ type: 'x' }],
      annotations: [
        {
          type: 'url_citation',
          url_citation: { start_index: 0, end_index: 5, title: 'T', url: 'https://example.org' },
        },
      ],
      tool_calls: [
        { id: 'call_1', type: 'function', function: { name: 'add', arguments: '{}' } },
        {
          id: 'call_2',
          type: 'function',
          function: { name: 'mul', arguments: '{"a":1}' },
          extra_content: { google: { thought_signature: 's' } },
        },
        { id: 'call_3', type: 'custom', custom: { name: 'sql', input: 'select 1' } },
      ],
      audio: { id: 'audio_1', data: 'AQID', transcript: 'said', expires_at: 9 },
      images: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AQID' } }],
    },
    logprobs: {
      content: [
        {
          token: 'end',
          logprob: -0.12345678901234566,
          bytes: [101, 110, 100],
          top_logprobs: [{ token: 'end', logprob: -0.12345678901234566, bytes: null }],
        },
      ],
      refusal: null,
    },
    finish_reason: 'tool_calls',
  },
  {
    index: 1,
    message: { role: 'assistant', content: 'second', refusal: 'no more' },
    logprobs: null,
    finish_reason: 'stop',
  },
];

const richUsage = {
  prompt_tokens: 3,
  completion_tokens: 2,
  total_tokens: 5,
  prompt_tokens_details: { cached_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 1 },
  queue_time: 0.25,
};

describe('a whole answer', () => {
  it("has all that the completion has, in OpenAI's places, and nothing of other families", async () => {
    const served = await serve({ complete: rich });
    const { json, text, headers } = await send(served, '/v1/chat/completions', {
      body: { messages, max_completion_tokens: 5 },
    });
    expect(json).toEqual({
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1_800_000_000,
      model: 'gpt-oss',
      system_fingerprint: 'fp_1',
      x_groq: { id: 'req_1' },
      choices: richChoices,
      usage: richUsage,
    });
    expect(text).not.toContain('another family');
    expect(headers).toMatchObject({
      'x-selected-provider': 'groq',
      'x-gateway-attempts': '1',
      'x-gateway-dropped-params': 'seed, max_completion_tokens',
    });
  });

  it('leaves out a usage that is unknown', async () => {
    const complete = scripted(
      started('m', beginning),
      choiceFinished(0, FinishReason.CONTENT_FILTER),
      finished(undefined),
    );
    const { json } = await send(await serve({ complete }), '/v1/chat/completions', { body: { messages } });
    expect(json).not.toHaveProperty('usage');
    expect(json.choices[0]).toMatchObject({ finish_reason: 'content_filter', message: { content: '' } });
  });

  it('has no content beside tool calls alone', async () => {
    const complete = scripted(
      started('m', beginning),
      toolCallDelta(0, 0, '{}', { id: 'c', name: 'f' }),
      choiceFinished(0, FinishReason.TOOL_CALLS),
      finished(undefined),
    );
    const served = await serve({ complete });
    const { json } = await send(served, '/v1/chat/completions', { body: { messages } });
    expect(json.choices[0].message.content).toBeNull();
    const legacy = await send(served, '/v1/chat/completions', { body: { messages, functions: [{ name: 'f' }] } });
    expect(legacy.json.choices[0]).toMatchObject({
      finish_reason: 'function_call',
      message: { content: null, function_call: { name: 'f', arguments: '{}' } },
    });
    expect(legacy.json.choices[0].message).not.toHaveProperty('tool_calls');
    const stream = await send(served, '/v1/chat/completions', {
      body: { messages, functions: [{ name: 'f' }], stream: true },
    });
    expect(frames(stream.text).map((frame) => frame.choices?.[0])).toEqual([
      {
        index: 0,
        delta: { role: 'assistant', function_call: { name: 'f', arguments: '{}' } },
        finish_reason: null,
      },
      { index: 0, delta: {}, finish_reason: 'function_call' },
      undefined,
    ]);
  });
});

describe('a stream', () => {
  const stream = { messages, stream: true };

  it('begins with the role, ends each choice once, and ends with [DONE]', async () => {
    const { text, headers } = await send(await serve(), '/v1/chat/completions', { body: stream });
    const common = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1_800_000_000, model: 'gpt-oss' };
    expect(frames(text)).toEqual([
      { ...common, choices: [{ index: 0, delta: { role: 'assistant', content: 'Hel' }, finish_reason: null }] },
      { ...common, choices: [{ index: 0, delta: { content: 'lo' }, finish_reason: null }] },
      { ...common, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
      '[DONE]',
    ]);
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
      'x-selected-provider': 'groq',
    });
  });

  it('tells usage last and in a chunk of its own, only when asked', async () => {
    const body = { ...stream, stream_options: { include_usage: true, include_obfuscation: true } };
    const chunks = frames((await send(await serve(), '/v1/chat/completions', { body })).text);
    expect(chunks.slice(0, -2).every((chunk) => chunk.usage === null && chunk.choices.length === 1)).toBe(true);
    expect(chunks.at(-2)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
    });
    expect(chunks.at(-1)).toBe('[DONE]');
  });

  it('has each tool call under its ordinal, id and name in the first delta only', async () => {
    const { text } = await send(await serve({ complete: rich }), '/v1/chat/completions', { body: stream });
    const calls = frames(text).flatMap((chunk) => chunk.choices?.[0]?.delta.tool_calls ?? []);
    expect(calls).toEqual([
      { index: 0, id: 'call_1', type: 'function', function: { name: 'add', arguments: '' } },
      { index: 1, id: 'call_2', type: 'function', function: { name: 'mul', arguments: '{"a"' } },
      { index: 0, function: { arguments: '{}' } },
      { index: 1, function: { arguments: ':1}' } },
      { index: 1, function: { arguments: '' }, extra_content: { google: { thought_signature: 's' } } },
      { index: 2, id: 'call_3', type: 'custom', custom: { name: 'sql', input: 'select' } },
      { index: 2, custom: { input: ' 1' } },
    ]);
  });

  it('adds up to the whole answer', async () => {
    const body = { ...stream, stream_options: { include_usage: true } };
    const { text } = await send(await serve({ complete: rich }), '/v1/chat/completions', { body });
    const { choices, usage, ...top } = addUp(frames(text));
    expect(choices).toEqual(
      richChoices.map((choice) => ({
        ...choice,
        message: Object.fromEntries(Object.entries(choice.message).filter(([, value]) => value !== null)),
      })),
    );
    expect(usage).toEqual(richUsage);
    expect(top).toMatchObject({ system_fingerprint: 'fp_1', x_groq: { id: 'req_1' } });
    expect(text).not.toContain('another family');
  });

  it('writes text by hand as JSON.stringify would', () => {
    const texts = ['plain', '"quoted" \\ back', 'line\u2028\n\t\u0000', 'Größe 😀', '</script>', ''];
    const chunks = new OpenaiChunks({ requestId: 'r', includeUsage: true, legacyFunctions: false });
    chunks.frames(started('a "model"', beginning));
    chunks.frames(extra('openai', '{"system_fingerprint":"fp"}'));
    chunks.frames(textDelta(0, 0, 'first'));
    for (const content of texts) {
      const chunk = {
        id: 'chatcmpl-1',
        object: 'chat.completion.chunk',
        created: 1_800_000_000,
        model: 'a "model"',
        system_fingerprint: 'fp',
        choices: [{ index: 0, delta: { content }, finish_reason: null }],
        usage: null,
      };
      expect(chunks.frames(textDelta(0, 0, content))).toBe(`data: ${JSON.stringify(chunk)}\n\n`);
    }
  });
});

describe('an opaque block', () => {
  const complete = scripted(
    started('m', beginning),
    textDelta(0, 0, 'see '),
    extra('openai', '{"type":"reference","reference_ids":[1]}', 0, 1),
    textDelta(0, 2, 'this'),
    extra('openai', '{"annotations":[{"type":"file"}]}', 0),
    choiceFinished(0, FinishReason.STOP),
    finished(undefined),
  );

  it('stands beside the content, whole and streamed', async () => {
    const served = await serve({ complete });
    const block = { type: 'reference', reference_ids: [1] };
    const whole = await send(served, '/v1/chat/completions', { body: { messages } });
    expect(whole.json.choices[0].message).toEqual({
      role: 'assistant',
      content: 'see this',
      refusal: null,
      content_blocks: [block],
      annotations: [{ type: 'file' }],
    });
    const { text } = await send(served, '/v1/chat/completions', { body: { messages, stream: true } });
    expect(frames(text).map((frame) => frame.choices?.[0]?.delta)).toEqual([
      { role: 'assistant', content: 'see ' },
      { content_blocks: [block] },
      { content: 'this' },
      { annotations: [{ type: 'file' }] },
      {},
      undefined,
    ]);
  });
});

describe("OpenAI's own SDK", () => {
  async function sdk(complete: Script) {
    const { url } = await serve({ complete });
    return new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
  }

  it('reads a whole answer and a stream alike', async () => {
    const client = await sdk(hello);
    const whole = await client.chat.completions.create({ model: 'm', messages });
    const runner = client.chat.completions.stream({ model: 'm', messages, stream_options: { include_usage: true } });
    const streamed = await runner.finalChatCompletion();
    expect(streamed.choices[0]?.message.content).toBe(whole.choices[0]?.message.content);
    expect(streamed.choices[0]?.finish_reason).toBe('stop');
    expect(await runner.totalUsage()).toMatchObject({ total_tokens: 5 });
  });

  it('puts tool calls together from a stream', async () => {
    const client = await sdk(rich);
    const { choices } = await client.chat.completions.stream({ model: 'm', messages, n: 2 }).finalChatCompletion();
    expect(choices[0]?.message.tool_calls?.slice(0, 2)).toMatchObject(
      richChoices[0]?.message.tool_calls?.slice(0, 2) ?? [],
    );
    expect(choices[0]?.logprobs).toEqual(richChoices[0]?.logprobs);
    expect(choices[1]?.message.content).toBe('second');
  });
});

// biome-ignore lint/suspicious/noExplicitAny: a client that believes whatever comes
type Any = any;

/** What a client makes of chunks: text is appended, lists are merged by index or joined, everything else is set. */
function addUp(chunks: Any[]): Any {
  const whole: Any = { choices: [] };
  for (const { choices, ...top } of chunks) {
    if (!choices) continue;
    Object.assign(whole, top);
    for (const { index, delta, ...rest } of choices) {
      whole.choices[index] ??= { index, message: {}, logprobs: null };
      const choice = whole.choices[index];
      Object.assign(choice, rest);
      if (rest.logprobs === undefined) choice.logprobs ??= null;
      merge(choice.message, delta);
    }
  }
  return whole;
}

function merge(into: Any, delta: Any): void {
  for (const [key, value] of Object.entries<Any>(delta)) {
    if (key === 'tool_calls') {
      into.tool_calls ??= [];
      for (const { index, ...call } of value) {
        into.tool_calls[index] ??= {};
        merge(into.tool_calls[index], call);
      }
    } else if (typeof value === 'string' && typeof into[key] === 'string' && key !== 'role' && key !== 'id')
      into[key] += value;
    else if (typeof value === 'object' && !Array.isArray(value)) {
      into[key] ??= {};
      merge(into[key], value);
    } else into[key] = value;
  }
}
