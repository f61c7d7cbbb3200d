import { describe, expect, it } from 'vitest';
import { type CompletionEvent, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { OllamaAnswer } from '../../src/providers/ollama-answer-events.ts';
import { brokenLaws } from '../support/event-laws.ts';

function reader(): OllamaAnswer {
  return new OllamaAnswer({
    provider: 'local',
    model: 'asked',
    droppedFields: ['n'],
    refusal: (body) => new GatewayError('provider_unavailable', JSON.stringify(body)),
  });
}

/** The events of a stream of lines. */
function eventsOf(...lines: unknown[]): CompletionEvent[] {
  const answer = reader();
  for (const line of lines) answer.readChunk(line);
  answer.end();
  expect(brokenLaws(answer.events)).toEqual([]);
  return answer.events;
}

function completionOf(...lines: unknown[]) {
  const fold = new CompletionFold();
  for (const event of eventsOf(...lines)) fold.add(event);
  return fold.result();
}

const said = (message: object, more: object = {}) => ({
  model: 'm:latest',
  created_at: 'x',
  message: { role: 'assistant', ...message },
  done: false,
  ...more,
});
const done = (more: object = {}) =>
  said({ content: '' }, { done: true, done_reason: 'stop', prompt_eval_count: 7, eval_count: 5, ...more });

function partsOf(...lines: unknown[]) {
  return completionOf(...lines).choices[0]?.message?.parts.map(({ kind }) => kind.value);
}

describe('an answer of lines', () => {
  it('is told as it comes: thinking, then text', () => {
    const events = eventsOf(
      said({ content: '', thinking: 'h' }),
      said({ content: '', thinking: 'm' }),
      said({ content: 'Hel' }),
      said({ content: 'lo' }),
      done(),
    );

    expect(events.map(({ event }) => event.case)).toEqual([
      'started',
      'reasoningDelta',
      'reasoningDelta',
      'textDelta',
      'textDelta',
      'usage',
      'choiceFinished',
      'finished',
    ]);
    expect(partsOf(said({ thinking: 'hm' }), said({ content: 'Hello' }), done())).toEqual(['hm', 'Hello']);
  });

  it('names the model that answers, and what was left out of the request', () => {
    expect(completionOf(done())).toMatchObject({ model: 'm:latest', droppedFields: ['n'] });
    expect(completionOf({ message: { content: 'x' }, done: true })).toMatchObject({ model: 'asked' });
  });

  it('counts prompt and answer', () => {
    expect(completionOf(done()).usage).toMatchObject({ promptTokens: 7, completionTokens: 5, totalTokens: 12 });
  });

  it('tells what is known where a count is missing, since what is 0 is left out', () => {
    expect(completionOf(done({ prompt_eval_count: undefined })).usage).toMatchObject({
      promptTokens: 0,
      completionTokens: 5,
      totalTokens: 5,
    });
    expect(completionOf(done({ eval_count: undefined })).usage).toMatchObject({
      promptTokens: 7,
      completionTokens: 0,
      totalTokens: 7,
    });
    expect(completionOf(done({ prompt_eval_count: undefined, eval_count: undefined })).usage).toBeUndefined();
  });

  it('keeps durations and unknown keys as extras, each once', () => {
    const completion = completionOf(
      said({ content: 'a', new_key: 1 }, { remote_host: 'h' }),
      said({ content: 'b', new_key: 1 }, { remote_host: 'h' }),
      done({ total_duration: 4, load_duration: 1, prompt_eval_duration: 2, eval_duration: 3 }),
    );

    expect(JSON.parse(completion.extraJson.ollama ?? '')).toEqual({
      remote_host: 'h',
      total_duration: 4,
      load_duration: 1,
      prompt_eval_duration: 2,
      eval_duration: 3,
    });
    expect(completion.choices[0]?.message?.extraJson).toEqual({ ollama: '{"new_key":1}' });
  });

  it.each<[word: string | undefined, reason: FinishReason]>([
    ['stop', FinishReason.STOP],
    ['length', FinishReason.LENGTH],
    [undefined, FinishReason.STOP],
    ['load', FinishReason.OTHER],
    ['unload', FinishReason.OTHER],
  ])('ends for the reason %s', (word, finishReason) => {
    expect(completionOf(done({ done_reason: word })).choices[0]).toMatchObject({
      finishReason,
      providerReason: word ?? '',
    });
  });

  it('tells log probabilities', () => {
    const logprobs = [{ token: 'a', logprob: -0.5, bytes: [97], top_logprobs: [{ token: 'b', logprob: -1 }] }];
    expect(completionOf(said({ content: 'a' }, { logprobs }), done()).choices[0]?.logprobs?.content).toMatchObject([
      { token: 'a', logprob: -0.5, bytes: Uint8Array.of(97), topLogprobs: [{ token: 'b', logprob: -1 }] },
    ]);
  });

  it('holds back the first half of a character until its second half comes', () => {
    const events = eventsOf(
      said({ content: 'a\ud83d' }),
      said({ content: '\ude00b' }),
      said({ content: 'c\ud83d' }),
      said({ thinking: 'x' }),
      done(),
    );

    expect(events.flatMap(({ event }) => (event.case === 'textDelta' ? [event.value.text] : []))).toEqual([
      'a',
      '😀b',
      'c',
      '\ufffd',
    ]);
  });
});

describe('tool calls', () => {
  const call = (city: string, more: object = {}) => ({
    function: { index: 0, name: 'weather', arguments: { city } },
    ...more,
  });

  it('that all have index 0 are calls of their own, with ids of ours where they have none, and the reason is theirs', () => {
    const completion = completionOf(
      said({ content: 'Let me see.' }),
      said({ content: '', tool_calls: [call('Paris')] }),
      said({ content: '', tool_calls: [call('東京'), call('Rome', { id: 'call_own' })] }),
      done(),
    );

    const [choice] = completion.choices;
    const calls = choice?.message?.parts
      .slice(1)
      .map(({ kind }) => (kind.case === 'toolCall' ? kind.value : undefined));
    expect(calls).toMatchObject([
      { name: 'weather', arguments: '{"city":"Paris"}', custom: false },
      { name: 'weather', arguments: '{"city":"東京"}' },
      { id: 'call_own', name: 'weather', arguments: '{"city":"Rome"}' },
    ]);
    expect(calls?.slice(0, 2).map((each) => each?.id)).toEqual([
      expect.stringMatching(/^call_\w{24}$/),
      expect.stringMatching(/^call_\w{24}$/),
    ]);
    expect(calls?.[0]?.id).not.toBe(calls?.[1]?.id);
    expect(choice).toMatchObject({ finishReason: FinishReason.TOOL_CALLS, providerReason: 'stop' });
  });

  it.each<[args: unknown, text: string]>([
    [undefined, '{}'],
    [null, '{}'],
    [{}, '{}'],
    ['', '{}'],
    ['{"a":1}', '{"a":1}'],
    [{ b: 1, a: [null] }, '{"b":1,"a":[null]}'],
  ])('with the arguments %j have %s', (args, text) => {
    expect(partsOf(said({ tool_calls: [{ function: { name: 'f', arguments: args } }] }), done())).toMatchObject([
      { arguments: text },
    ]);
  });

  it('keep the reason that the answer was cut', () => {
    expect(
      completionOf(said({ tool_calls: [call('x')] }), done({ done_reason: 'length' })).choices[0]?.finishReason,
    ).toBe(FinishReason.LENGTH);
  });

  it.each([{}, { function: {} }, 'weather', null])('that name no tool are no answer: %j', (broken) => {
    expect(() => reader().readChunk(said({ tool_calls: [broken] }))).toThrow('a tool call names no tool');
  });

  it('open a part of their own, after which text goes on in another', () => {
    expect(
      partsOf(said({ content: 'a' }), said({ tool_calls: [call('x')] }), said({ content: 'b' }), done()),
    ).toMatchObject(['a', { name: 'weather' }, 'b']);
  });
});

describe('a whole answer', () => {
  it('is the same as a stream of it', () => {
    const message = {
      thinking: 'hm',
      content: 'Hello',
      tool_calls: [{ id: 'c', function: { name: 'f', arguments: {} } }],
    };
    const whole = said(message, { done: true, done_reason: 'stop', prompt_eval_count: 7, eval_count: 5 });
    const answer = reader();

    answer.readWhole(whole);
    answer.end();

    const fold = new CompletionFold();
    for (const event of answer.events) fold.add(event);
    expect(fold.result()).toEqual(
      completionOf(
        said({ thinking: 'hm' }),
        said({ content: 'Hello' }),
        said({ content: '', tool_calls: message.tool_calls }),
        done(),
      ),
    );
  });

  it.each([null, 5, 'text', [], { done: true }])('must be an object with a message: %j', (body) => {
    expect(() => reader().readWhole(body)).toThrow(expect.objectContaining({ reason: 'provider_protocol' }));
  });
});

describe('an answer that fails', () => {
  it('without its last line was cut off', () => {
    const answer = reader();
    answer.readChunk(said({ content: 'Hel' }));
    expect(() => answer.end()).toThrow(expect.objectContaining({ reason: 'provider_protocol' }));
    expect(() => reader().end()).toThrow('ended before it was finished');
  });

  it.each(['before', 'after'])('is judged by the error line that comes %s its last line', (when) => {
    const answer = reader();
    if (when === 'after') answer.readChunk(done());
    expect(() => answer.readChunk({ error: 'an error was encountered' })).toThrow('an error was encountered');
    expect(() => reader().readWhole({ error: 'x' })).toThrow(
      expect.objectContaining({ reason: 'provider_unavailable' }),
    );
  });

  it.each([null, 1, 'x', [{}]])('is made of something else than objects: %j', (line) => {
    expect(() => reader().readChunk(line)).toThrow('is not a JSON object');
  });
});
