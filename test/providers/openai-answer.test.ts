import { describe, expect, it } from 'vitest';
import { type Completion, type CompletionEvent, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { OpenAIAnswer } from '../../src/providers/openai-answer-events.ts';
import { brokenLaws } from '../support/event-laws.ts';

function newAnswer(): OpenAIAnswer {
  return new OpenAIAnswer({
    provider: 'upstream',
    model: 'asked',
    droppedFields: ['top_k'],
    audioType: 'audio/wav',
    refusal: (body) => new GatewayError('provider_rejected', JSON.stringify(body)),
  });
}

interface Reading {
  readonly events: readonly CompletionEvent[];
  readonly completion: Completion;
}

function fold(events: readonly CompletionEvent[]): Reading {
  expect(brokenLaws(events)).toEqual([]);
  const folded = new CompletionFold();
  for (const event of events) folded.add(event);
  return { events, completion: folded.result() };
}

function readChunks(...chunks: object[]): Reading {
  const answer = newAnswer();
  for (const chunk of chunks) answer.readChunk(chunk);
  answer.end();
  return fold(answer.events);
}

function readWhole(body: unknown): Reading {
  const answer = newAnswer();
  answer.readWhole(body);
  answer.end();
  return fold(answer.events);
}

/** Deltas of choice 0, then its end. */
function readDeltas(...deltas: object[]): Reading {
  return readChunks(...deltas.map((delta) => ({ model: 'm', choices: [{ index: 0, delta }] })), finish());
}

function finish(word = 'stop', more: object = {}): object {
  return { model: 'm', choices: [{ index: 0, delta: {}, finish_reason: word }], ...more };
}

/** Parts of choice 0, short enough to compare. */
function partsOf({ completion }: Reading): unknown[] {
  return (completion.choices[0]?.message?.parts ?? []).map(({ kind }) =>
    kind.case === 'toolCall'
      ? [kind.value.id, kind.value.name, kind.value.arguments]
      : { [kind.case ?? 'block']: kind.value },
  );
}

function extrasOf(extraJson: Record<string, string> | undefined): unknown {
  return JSON.parse(extraJson?.openai ?? '{}');
}

function refusalOf(run: () => unknown): GatewayError {
  try {
    run();
  } catch (error) {
    return error as GatewayError;
  }
  throw new Error('nothing was refused');
}

describe('the model of an answer', () => {
  it('is the one that answered', () => {
    const { completion } = readDeltas({ content: 'a' });

    expect([completion.model, completion.droppedFields]).toEqual(['m', ['top_k']]);
  });

  it('is waited for where the first chunk is about the prompt', () => {
    const first = { id: '', model: '', choices: [], prompt_filter_results: [{ prompt_index: 0 }] };
    const { completion } = readChunks(
      first,
      { model: 'gpt', choices: [{ index: 0, delta: { content: 'a' } }] },
      finish(),
    );

    expect(completion.model).toBe('gpt');
    expect(extrasOf(completion.extraJson)).toEqual({ prompt_filter_results: [{ prompt_index: 0 }] });
  });

  it('is the one that was asked where nobody says', () => {
    expect(readChunks({ choices: [{ delta: { content: 'a' }, finish_reason: 'stop' }] }).completion.model).toBe(
      'asked',
    );
  });
});

describe('texts', () => {
  it.each(['reasoning', 'reasoning_content'])('under %s are reasoning, before the text', (key) => {
    expect(
      partsOf(
        readDeltas({ role: 'assistant', content: '', [key]: 'h' }, { [key]: 'm' }, { content: 'a' }, { content: 'b' }),
      ),
    ).toEqual([{ reasoning: 'hm' }, { text: 'ab' }]);
  });

  it('in both reasoning keys are told once', () => {
    expect(partsOf(readDeltas({ reasoning: 'hm', reasoning_content: 'hm' }))).toEqual([{ reasoning: 'hm' }]);
  });

  it('in think tags stay where they are', () => {
    expect(partsOf(readDeltas({ content: '<think>a</think>b' }))).toEqual([{ text: '<think>a</think>b' }]);
  });

  it('in lists of blocks are told in their order', () => {
    const content = [
      { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] },
      { type: 'text', text: 'a' },
      'b',
      { type: 'reference', reference_ids: [1] },
      { type: 'text', text: 'c' },
    ];
    const reading = readDeltas({ content });

    expect(partsOf(reading)).toEqual([{ reasoning: 'hm' }, { text: 'ab' }, { block: undefined }, { text: 'c' }]);
    expect(extrasOf(reading.completion.choices[0]?.message?.parts[2]?.extraJson)).toEqual(content[3]);
  });

  it('that refuse are a refusal', () => {
    expect(partsOf(readDeltas({ refusal: 'I ' }, { refusal: 'cannot' }))).toEqual([{ refusal: 'I cannot' }]);
  });

  it('cut within a character are told when it is whole', () => {
    const reading = readDeltas(
      { content: 'a\ud83d' },
      { content: '\ude00b' },
      { reasoning: '\ud83d' },
      { reasoning: '\ude00' },
    );

    expect(partsOf(reading)).toEqual([{ text: 'a😀b' }, { reasoning: '😀' }]);
  });

  it('with half a character are made whole', () => {
    const reading = readDeltas({ content: '\ud83d' }, { reasoning: 'x\ude00' }, { content: 'b\ud83d' });

    expect(partsOf(reading)).toEqual([{ text: '\ufffd' }, { reasoning: 'x\ufffd' }, { text: 'b\ufffd' }]);
  });
});

describe('tool calls', () => {
  const call = (fields: object, args?: unknown, name?: string) => ({
    tool_calls: [{ type: 'function', ...fields, function: { name, arguments: args } }],
  });

  it('in fragments are put together by their index', () => {
    const reading = readDeltas(
      call({ index: 0, id: 'a' }, '', 'add'),
      call({ index: 1, id: 'b' }, '{"y"', 'sub'),
      call({ index: 0 }, '{"x":'),
      call({ index: 1 }, ':2}'),
      call({ index: 0 }, '1}'),
    );

    expect(partsOf(reading)).toEqual([
      ['a', 'add', '{"x":1}'],
      ['b', 'sub', '{"y":2}'],
    ]);
    expect(reading.completion.choices[0]?.finishReason).toBe(FinishReason.TOOL_CALLS);
    expect(reading.completion.choices[0]?.providerReason).toBe('stop');
  });

  it('with a new id under an old index are new calls', () => {
    const reading = readDeltas(
      call({ index: 0, id: 'a' }, '{}', 'add'),
      call({ index: 0, id: 'b' }, '{"z":', 'sub'),
      call({ index: 0 }, '1}'),
    );

    expect(partsOf(reading)).toEqual([
      ['a', 'add', '{}'],
      ['b', 'sub', '{"z":1}'],
    ]);
  });

  it('with the id in every fragment are one call', () => {
    expect(
      partsOf(readDeltas(call({ index: 0, id: 'a' }, '{"x"', 'add'), call({ index: 0, id: 'a' }, ':1}', 'add'))),
    ).toEqual([['a', 'add', '{"x":1}']]);
  });

  it('without an index are told apart by id and name', () => {
    const reading = readDeltas(
      call({ id: 'a' }, '{"x"', 'add'),
      call({}, ':1}'),
      call({ id: 'b' }, '{}', 'sub'),
      call({}, undefined, 'now'),
    );

    expect(partsOf(reading)).toMatchObject([
      ['a', 'add', '{"x":1}'],
      ['b', 'sub', '{}'],
      [expect.any(String), 'now', '{}'],
    ]);
  });

  it('without an id are given one each', () => {
    const ids = partsOf(readDeltas(call({ index: 0 }, '{}', 'add'), call({ index: 1 }, '{}', 'add'))).map(
      (part) => (part as string[])[0],
    );

    expect(ids[0]).toMatch(/^call_[0-9a-f]{24}$/);
    expect(ids[1]).not.toBe(ids[0]);
  });

  it('without arguments have {}', () => {
    expect(partsOf(readDeltas(call({ index: 0, id: 'a' }, undefined, 'now'), call({ index: 0 }, '')))).toEqual([
      ['a', 'now', '{}'],
    ]);
  });

  it('with arguments that are an object have its text', () => {
    expect(partsOf(readDeltas(call({ index: 0, id: 'a' }, { x: 1 }, 'add')))).toEqual([['a', 'add', '{"x":1}']]);
  });

  it('whose name comes late wait for it', () => {
    expect(partsOf(readDeltas(call({ index: 0, id: 'a' }, '{"x"'), call({ index: 0 }, ':1}', 'add')))).toEqual([
      ['a', 'add', '{"x":1}'],
    ]);
  });

  it('that never name a tool are no answer', () => {
    expect(refusalOf(() => readDeltas(call({ index: 0, id: 'a' }, '{}'))).reason).toBe('provider_protocol');
  });

  it('of custom tools have free text', () => {
    const reading = readDeltas({
      tool_calls: [{ index: 0, id: 'a', type: 'custom', custom: { name: 'run', input: 'ls' } }],
    });

    expect(partsOf(reading)).toEqual([['a', 'run', 'ls']]);
    expect(reading.events.find(({ event }) => event.case === 'toolCallDelta')?.event.value).toMatchObject({
      custom: true,
    });
  });

  it('of the old kind are tool calls', () => {
    const reading = readChunks(
      { model: 'm', choices: [{ index: 0, delta: { function_call: { name: 'add', arguments: '{"x"' } } }] },
      { model: 'm', choices: [{ index: 0, delta: { function_call: { arguments: ':1}' } } }] },
      finish('function_call'),
    );

    expect(partsOf(reading)).toMatchObject([[expect.stringMatching(/^call_/), 'add', '{"x":1}']]);
    expect(reading.completion.choices[0]?.finishReason).toBe(FinishReason.TOOL_CALLS);
  });

  it('keep their signatures', () => {
    const extra_content = { google: { thought_signature: 's' } };
    const reading = readDeltas(call({ index: 0, id: 'a', extra_content }, '{}', 'add'));

    expect(extrasOf(reading.completion.choices[0]?.message?.parts[0]?.extraJson)).toEqual({ extra_content });
  });

  it('keep a character whole that is cut between fragments', () => {
    const reading = readDeltas(
      call({ index: 0, id: 'a' }, '"\ud83d', 'add'),
      { content: 'x' },
      call({ index: 0 }, '\ude00"'),
    );

    expect(partsOf(reading)[0]).toEqual(['a', 'add', '"😀"']);
  });
});

describe('the end', () => {
  it.each([
    ['stop', FinishReason.STOP],
    ['STOP', FinishReason.STOP],
    ['eos', FinishReason.STOP],
    ['end_turn', FinishReason.STOP],
    ['length', FinishReason.LENGTH],
    ['MAX_TOKENS', FinishReason.LENGTH],
    ['content_filter', FinishReason.CONTENT_FILTER],
    ['tool_calls', FinishReason.TOOL_CALLS],
    ['something new', FinishReason.OTHER],
  ])('%s keeps its word', (word, reason) => {
    const choice = readChunks(finish(word)).completion.choices[0];

    expect([choice?.finishReason, choice?.providerReason]).toEqual([reason, word]);
  });

  it('is missing where a choice has none', () => {
    const answer = newAnswer();
    answer.readChunk({
      model: 'm',
      choices: [
        { index: 0, delta: { content: 'a' } },
        { index: 1, delta: {}, finish_reason: 'stop' },
      ],
    });

    expect(refusalOf(() => answer.end()).reason).toBe('provider_protocol');
  });

  it('is missing where nothing came', () => {
    expect(refusalOf(() => newAnswer().end()).reason).toBe('provider_protocol');
  });

  it('of a whole answer needs no word', () => {
    expect(readWhole({ choices: [{ message: { content: 'a' } }] }).completion.choices[0]?.finishReason).toBe(
      FinishReason.STOP,
    );
  });

  it('brings the extras of the choice, whenever they came', () => {
    const reading = readChunks(
      { model: 'm', choices: [{ index: 0, delta: { content: 'a' }, native_finish_reason: null }] },
      finish('stop'),
      {
        model: 'm',
        choices: [{ index: 0, delta: {}, finish_reason: null, content_filter_results: { hate: { filtered: false } } }],
      },
    );

    expect(extrasOf(reading.completion.choices[0]?.extraJson)).toEqual({
      content_filter_results: { hate: { filtered: false } },
    });
  });

  it('of several choices comes for each', () => {
    const reading = readChunks(
      { model: 'm', choices: [{ index: 1, delta: { content: 'b' } }] },
      { model: 'm', choices: [{ index: 0, delta: { content: 'a' } }] },
      {
        model: 'm',
        choices: [
          { index: 0, delta: {}, finish_reason: 'stop' },
          { index: 1, delta: {}, finish_reason: 'length' },
        ],
      },
    );

    expect(reading.completion.choices.map(({ index, finishReason }) => [index, finishReason])).toEqual([
      [0, FinishReason.STOP],
      [1, FinishReason.LENGTH],
    ]);
  });
});

describe('usage', () => {
  const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
  const final = ({ completion }: Reading) => completion.usage;

  it.each([
    ['after the end', [finish(), { model: 'm', choices: [], usage }]],
    ['with the end', [finish('stop', { usage })]],
    ['under x_groq', [finish('stop', { x_groq: { id: 'r', usage } })]],
    ['in both places of Groq', [finish('stop', { x_groq: { id: 'r', usage } }), { model: 'm', choices: [], usage }]],
    [
      'on every chunk',
      [{ model: 'm', choices: [], usage: { ...usage, completion_tokens: 1 } }, finish('stop', { usage })],
    ],
  ])('%s is read once', (_, chunks) => {
    expect(final(readChunks(...chunks))).toMatchObject({ promptTokens: 3, completionTokens: 2, totalTokens: 5 });
  });

  it('that is null or empty is unknown', () => {
    expect(final(readChunks(finish('stop', { usage: null }), { model: 'm', choices: [], usage: {} }))).toBeUndefined();
  });

  it('that stays the same is told once', () => {
    const { events } = readChunks({ model: 'm', choices: [], usage }, finish('stop', { usage }));

    expect(events.filter(({ event }) => event.case === 'usage').length).toBe(1);
  });

  it.each([
    [{ prompt_tokens_details: { cached_tokens: 1 } }, { cachedPromptTokens: 1 }],
    [{ prompt_cache_hit_tokens: 1 }, { cachedPromptTokens: 1 }],
    [{ cached_tokens: 1 }, { cachedPromptTokens: 1 }],
    [{ prompt_tokens_details: null, completion_tokens_details: null }, {}],
    [
      { completion_tokens_details: { reasoning_tokens: 1, audio_tokens: 0 } },
      { reasoningTokens: 1, completionAudioTokens: 0 },
    ],
  ])('has details wherever they stand (%j)', (details, read) => {
    const expected = {
      $typeName: 'llmgateway.v1.Usage',
      promptTokens: 3,
      completionTokens: 2,
      totalTokens: 5,
      estimated: false,
      ...read,
    };

    expect(final(readChunks(finish('stop', { usage: { ...usage, ...details } })))).toEqual(expected);
  });

  it('adds reasoning that was counted beside the completion', () => {
    const said = {
      prompt_tokens: 3,
      completion_tokens: 2,
      total_tokens: 12,
      completion_tokens_details: { reasoning_tokens: 7 },
    };

    expect(final(readChunks(finish('stop', { usage: said })))).toMatchObject({
      completionTokens: 9,
      totalTokens: 12,
      reasoningTokens: 7,
    });
  });

  it('whose total does not add up has the sum', () => {
    expect(final(readChunks(finish('stop', { usage: { ...usage, total_tokens: 99 } })))?.totalTokens).toBe(5);
  });

  it('keeps keys of its own, in their place', () => {
    const said = { ...usage, queue_time: 0.1, prompt_tokens_details: { cached_tokens: 0, image_tokens: 2 } };
    const { completion } = readChunks(finish('stop', { usage: said }));

    expect(extrasOf(completion.extraJson)).toEqual({
      usage: { queue_time: 0.1, prompt_tokens_details: { image_tokens: 2 } },
    });
  });
});

describe('keys without a field', () => {
  it('of the answer are told once while they stay the same', () => {
    const chunk = (content: string) => ({
      model: 'm',
      system_fingerprint: 'fp',
      citations: ['u'],
      obfuscation: content,
      choices: [{ index: 0, delta: { content } }],
    });
    const { events, completion } = readChunks(chunk('a'), chunk('b'), finish('stop', { system_fingerprint: 'fp2' }));

    expect(events.filter(({ event }) => event.case === 'extra').length).toBe(2);
    expect(extrasOf(completion.extraJson)).toEqual({ system_fingerprint: 'fp2', citations: ['u'] });
  });

  it('of a delta belong to the part they came with', () => {
    const reading = readDeltas(
      { reasoning: 'a', channel: 'analysis' },
      { reasoning: 'b', channel: 'analysis' },
      { content: 'c', channel: 'final' },
    );
    const parts = reading.completion.choices[0]?.message?.parts ?? [];

    expect(parts.map(({ extraJson }) => extrasOf(extraJson))).toEqual([{ channel: 'analysis' }, { channel: 'final' }]);
    expect(reading.events.filter(({ event }) => event.case === 'extra').length).toBe(2);
  });

  it('of a whole message belong to the message', () => {
    const message = { role: 'assistant', content: 'a', executed_tools: [{ index: 0 }] };

    expect(
      extrasOf(
        readWhole({ model: 'm', choices: [{ index: 0, message, finish_reason: 'stop' }] }).completion.choices[0]
          ?.message?.extraJson,
      ),
    ).toEqual({
      executed_tools: [{ index: 0 }],
    });
  });

  it('of reasoning are put together and told whole', () => {
    const detail = (fields: object) => ({ reasoning_details: [{ type: 'reasoning.text', index: 0, ...fields }] });
    const reading = readDeltas(
      detail({ text: 'We ' }),
      detail({ text: 'need', signature: null }),
      detail({ signature: 's' }),
      { content: 'a' },
    );

    expect(partsOf(reading)).toEqual([{ reasoning: 'We need' }, { text: 'a' }]);
    expect(extrasOf(reading.completion.choices[0]?.message?.parts[0]?.extraJson)).toEqual({
      reasoning_details: [{ type: 'reasoning.text', index: 0, text: 'We need', signature: 's' }],
    });
  });

  it('of reasoning that is encrypted have a part in its place', () => {
    const reasoning_details = [{ type: 'reasoning.encrypted', data: 'xyz', id: 'rs_1', index: 0 }];
    const reading = readWhole({
      model: 'm',
      choices: [{ index: 0, message: { content: 'a', reasoning_details }, finish_reason: 'stop' }],
    });

    expect(partsOf(reading)).toEqual([{ reasoning: '' }, { text: 'a' }]);
    expect(extrasOf(reading.completion.choices[0]?.message?.parts[0]?.extraJson)).toEqual({ reasoning_details });
  });
});

describe('what else an answer may hold', () => {
  it('is log probabilities', () => {
    const token = {
      token: 'Hi',
      logprob: -0.5,
      bytes: [72, 105],
      top_logprobs: [{ token: 'Hi', logprob: -0.5, bytes: null }],
    };
    const logprobs = { content: [token], refusal: null };
    const { completion } = readChunks(
      { model: 'm', choices: [{ index: 0, delta: { content: 'Hi' }, logprobs }] },
      finish(),
    );

    expect(completion.choices[0]?.logprobs?.content).toMatchObject([
      { token: 'Hi', logprob: -0.5, bytes: Uint8Array.of(72, 105), topLogprobs: [{ token: 'Hi', logprob: -0.5 }] },
    ]);
  });

  it('is sources of its text, and annotations of other kinds', () => {
    const url_citation = { url: 'https://a', title: 't', start_index: 0, end_index: 2, rank: 1 };
    const annotations = [
      { type: 'url_citation', url_citation },
      { type: 'file', file: { hash: 'h' } },
    ];
    const message = readWhole({ choices: [{ message: { content: 'ab', annotations } }] }).completion.choices[0]
      ?.message;

    expect(message?.parts[0]?.citations).toMatchObject([{ url: 'https://a', title: 't', startIndex: 0, endIndex: 2 }]);
    expect(extrasOf(message?.parts[0]?.citations[0]?.extraJson)).toEqual({ url_citation: { rank: 1 } });
    expect(extrasOf(message?.extraJson)).toEqual({ annotations: [{ type: 'file', file: { hash: 'h' } }] });
  });

  it('is sources of one of several texts, then without a place in it', () => {
    const annotations = [{ type: 'url_citation', url_citation: { url: 'https://a', start_index: 0, end_index: 2 } }];
    const reading = readDeltas({ content: 'a' }, { reasoning: 'hm' }, { content: 'b' }, { annotations });
    const [citation] = reading.completion.choices[0]?.message?.parts[2]?.citations ?? [];

    expect([citation?.url, citation?.startIndex, citation?.endIndex]).toEqual(['https://a', undefined, undefined]);
  });

  it('is sound, in pieces', () => {
    const reading = readDeltas(
      { audio: { id: 'audio_1', data: 'AQI=' } },
      { audio: { transcript: 'he' } },
      { audio: { data: 'Aw==', transcript: 'y', expires_at: 7 } },
    );
    const part = reading.completion.choices[0]?.message?.parts[0];

    expect(part?.kind).toMatchObject({
      case: 'audio',
      value: { mimeType: 'audio/wav', transcript: 'hey', source: { case: 'data', value: Uint8Array.of(1, 2, 3) } },
    });
    expect(extrasOf(part?.extraJson)).toEqual({ audio: { id: 'audio_1', expires_at: 7 } });
  });

  it('is images', () => {
    const images = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AQI=' } }];

    expect(partsOf(readWhole({ choices: [{ message: { content: 'see', images } }] }))).toMatchObject([
      { text: 'see' },
      { image: { mimeType: 'image/png', source: { case: 'data', value: Uint8Array.of(1, 2) } } },
    ]);
  });
});

describe('an error inside an answer', () => {
  it.each([
    ['an error object', { error: { message: 'no' } }],
    ['an error beside a finish reason', { ...finish(), error: { message: 'no' } }],
    ['an error of Groq', finish('stop', { x_groq: { error: 'no' } })],
    ['an error of vLLM', { object: 'error', message: 'no', code: 400 }],
    ['an error in a choice', { choices: [{ index: 0, delta: {}, error: { code: 502 } }] }],
    ['a finish reason `error`', finish('error')],
  ])('ends it: %s', (_, chunk) => {
    expect(refusalOf(() => newAnswer().readChunk(chunk)).reason).toBe('provider_rejected');
  });

  it('after its end ends it as well', () => {
    const answer = newAnswer();
    answer.readChunk(finish());

    expect(refusalOf(() => answer.readChunk({ error: { message: 'no' } })).reason).toBe('provider_rejected');
    expect(answer.events.some(({ event }) => event.case === 'choiceFinished')).toBe(false);
  });

  it('of null is none', () => {
    expect(partsOf(readChunks({ ...finish(), error: null }))).toEqual([]);
  });

  it.each([
    ['an error', { error: 'no' }],
    ['an error in a list', [{ error: { message: 'no' } }]],
  ])('is found in a whole one: %s', (_, body) => {
    expect(refusalOf(() => readWhole(body)).reason).toBe('provider_rejected');
  });

  it.each([null, 5, 'x', {}, { choices: [] }, { choices: null }, []])('or %j is no answer', (body) => {
    expect(refusalOf(() => readWhole(body)).reason).toBe('provider_protocol');
  });

  it.each([null, 5, 'x', []])('or %j is no chunk', (chunk) => {
    expect(refusalOf(() => newAnswer().readChunk(chunk)).reason).toBe('provider_protocol');
  });

  it('or values of the wrong type break nothing', () => {
    const wild = {
      id: 1,
      model: 7,
      choices: [
        null,
        3,
        { index: 'x', delta: { content: 5, tool_calls: [null, 'x', { function: 3 }], reasoning: {} } },
      ],
    };

    expect(readChunks(wild, finish()).completion.choices.length).toBe(1);
  });
});
