import { describe, expect, it } from 'vitest';
import { type Completion, type CompletionEvent, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { GeminiAnswer } from '../../src/providers/gemini-answer-events.ts';
import { brokenLaws } from '../support/event-laws.ts';

function newAnswer(): GeminiAnswer {
  return new GeminiAnswer({
    provider: 'upstream',
    model: 'asked',
    droppedFields: ['logit_bias'],
    refusal: (body) => new GatewayError('provider_rejected', JSON.stringify(body)),
  });
}

interface Reading {
  readonly events: readonly CompletionEvent[];
  readonly completion: Completion;
}

/** What chunks come to; the same chunks as one JSON array must come to the same. */
function read(...chunks: object[]): Reading {
  const streamed = newAnswer();
  for (const chunk of chunks) streamed.readChunk(chunk);
  streamed.end();
  const whole = newAnswer();
  whole.readWhole(chunks.length === 1 ? chunks[0] : chunks);
  whole.end();
  expect(withoutIds(whole.events)).toEqual(withoutIds(streamed.events));
  expect(brokenLaws(streamed.events)).toEqual([]);
  const folded = new CompletionFold();
  for (const event of structuredClone(streamed.events)) folded.add(event);
  return { events: streamed.events, completion: folded.result() };
}

function withoutIds(events: readonly CompletionEvent[]): string {
  return JSON.stringify(events).replaceAll(/"call_[0-9a-f]{24}"/g, '"made up"');
}

/** Parts of the only candidate, one chunk each, then its end. */
function readParts(...parts: object[]): Reading {
  return read(...parts.map((part) => chunk([part])), chunk([], 'STOP'));
}

function chunk(parts: object[], finishReason?: string, more: object = {}): object {
  return { candidates: [{ content: { role: 'model', parts }, finishReason, index: 0, ...more }] };
}

/** Parts of choice 0, short enough to compare; with their extras where they have some. */
function partsOf({ completion }: Reading): unknown[] {
  return (completion.choices[0]?.message?.parts ?? []).map(({ kind, extraJson }) => {
    const extras = extraJson.gemini === undefined ? [] : [JSON.parse(extraJson.gemini)];
    if (kind.case === 'toolCall') return [kind.value.name, kind.value.arguments, ...extras];
    if (typeof kind.value === 'object') {
      const { source, mimeType } = kind.value;
      return [kind.case, source.value, mimeType, ...extras];
    }
    return [kind.case ?? 'block', kind.value, ...extras];
  });
}

const choiceOf = ({ completion }: Reading) => completion.choices[0];
const kindsOf = ({ events }: Reading) => events.map(({ event }) => event.case);

function failureOf(...chunks: unknown[]): GatewayError {
  const answer = newAnswer();
  try {
    for (const each of chunks) answer.readChunk(each);
    answer.end();
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError);
    return error as GatewayError;
  }
  throw new Error('it did not fail');
}

describe('an answer of Gemini', () => {
  it('is by the model that gave it, and tells what was left out', () => {
    const { completion } = read({ ...chunk([{ text: 'hi' }], 'STOP'), modelVersion: 'gemini-3.8-flash' });

    expect(completion).toMatchObject({ model: 'gemini-3.8-flash', droppedFields: ['logit_bias'] });
    expect(read(chunk([{ text: 'hi' }], 'STOP')).completion.model).toBe('asked');
  });

  it('keeps what has no field, told once', () => {
    const common = { responseId: 'r', createTime: 't', modelVersion: 'm' };
    const reading = read(
      { ...common, ...chunk([{ text: 'a' }]), usageMetadata: { trafficType: 'ON_DEMAND' } },
      {
        ...common,
        ...chunk([{ text: 'b' }], 'STOP'),
        usageMetadata: { trafficType: 'ON_DEMAND', promptTokenCount: 1 },
      },
    );

    expect(kindsOf(reading)).toEqual([
      'started',
      'extra',
      'textDelta',
      'textDelta',
      'usage',
      'extra',
      'choiceFinished',
      'finished',
    ]);
    expect(JSON.parse(reading.completion.extraJson.gemini ?? '')).toEqual({
      responseId: 'r',
      createTime: 't',
      usageMetadata: { trafficType: 'ON_DEMAND' },
    });
  });

  it('may have several candidates, in any order', () => {
    const { completion } = read({
      candidates: [
        { index: 1, content: { parts: [{ text: 'b' }] }, finishReason: 'MAX_TOKENS' },
        { content: { parts: [{ text: 'a' }] }, finishReason: 'STOP' },
      ],
    });

    expect(
      completion.choices.map(({ index, finishReason, message }) => [
        index,
        finishReason,
        message?.parts[0]?.kind.value,
      ]),
    ).toEqual([
      [0, FinishReason.STOP, 'a'],
      [1, FinishReason.LENGTH, 'b'],
    ]);
  });

  it('has log probabilities', () => {
    const logprobsResult = {
      chosenCandidates: [{ token: 'a', tokenId: 5, logProbability: -0.5 }, { token: 'b' }],
      topCandidates: [
        {
          candidates: [
            { token: 'a', logProbability: -0.5 },
            { token: 'x', logProbability: -1 },
          ],
        },
      ],
    };
    const { logprobs } = choiceOf(read(chunk([{ text: 'ab' }], 'STOP', { logprobsResult, avgLogprobs: -0.25 }))) ?? {};

    expect(logprobs?.content.map(({ token, logprob, topLogprobs }) => [token, logprob, topLogprobs.length])).toEqual([
      ['a', -0.5, 2],
      ['b', 0, 0],
    ]);
  });
});

describe('parts of Gemini', () => {
  it('join texts and thoughts as they come', () => {
    const reading = readParts(
      { text: 'I ', thought: true },
      { text: 'think', thought: true },
      { text: 'so' },
      { text: '' },
      { text: ' be it' },
      { text: 'hm', thought: true },
    );

    expect(partsOf(reading)).toEqual([
      ['reasoning', 'I think'],
      ['text', 'so be it'],
      ['reasoning', 'hm'],
    ]);
  });

  it('are closed by their signature', () => {
    const reading = readParts(
      { text: 'a' },
      { text: 'b', thoughtSignature: 's1' },
      { text: 'c' },
      { text: '', thoughtSignature: 's2' },
    );

    expect(partsOf(reading)).toEqual([
      ['text', 'ab', { thoughtSignature: 's1' }],
      ['text', 'c'],
      ['text', '', { thoughtSignature: 's2' }],
    ]);
  });

  it('hold no half of a character', () => {
    expect(partsOf(readParts({ text: 'a\ud83d' }, { text: '\ude00b' }, { text: 'c\ud83d' }))).toEqual([
      ['text', 'a😀bc\ufffd'],
    ]);
  });

  it('are images, each of its own, and sounds in pieces', () => {
    const image = { inlineData: { mimeType: 'image/png', data: 'AQ==' } };
    const sound = (data: string) => ({ inlineData: { mimeType: 'audio/L16;rate=24000', data } });
    const reading = readParts({ ...image, thoughtSignature: 's' }, image, sound('AQI='), sound('Aw=='), {
      fileData: { mimeType: 'video/mp4', fileUri: 'https://host/f' },
    });

    expect(partsOf(reading)).toEqual([
      ['image', new Uint8Array([1]), 'image/png', { thoughtSignature: 's' }],
      ['image', new Uint8Array([1]), 'image/png'],
      ['audio', new Uint8Array([1, 2, 3]), 'audio/L16;rate=24000'],
      ['file', 'https://host/f', 'video/mp4'],
    ]);
  });

  it('of other kinds are kept as they are: code, its results, drafts of images', () => {
    const code = { executableCode: { language: 'PYTHON', code: '1' }, thoughtSignature: 's' };
    const output = { codeExecutionResult: { outcome: 'OUTCOME_OK', output: '1' } };
    const draft = { inlineData: { mimeType: 'image/png', data: 'AQ==' }, thought: true };

    expect(partsOf(readParts(code, output, { text: 'one' }, draft, {}, { thought: true }))).toEqual([
      ['block', undefined, code],
      ['block', undefined, output],
      ['text', 'one'],
      ['block', undefined, draft],
    ]);
  });
});

describe('function calls of Gemini', () => {
  it('are whole, have an id, and make the reason to end', () => {
    const reading = readParts(
      { functionCall: { name: 'f', args: { b: 1, a: [] } }, thoughtSignature: 's' },
      { functionCall: { name: 'g', id: 'x' } },
    );
    const ids = choiceOf(reading)?.message?.parts.map(({ kind }) => (kind.case === 'toolCall' ? kind.value.id : ''));

    expect(partsOf(reading)).toEqual([
      ['f', '{"b":1,"a":[]}', { thoughtSignature: 's' }],
      ['g', '{}'],
    ]);
    expect(ids).toEqual([expect.stringMatching(/^call_[0-9a-f]{24}$/), 'x']);
    expect(choiceOf(reading)).toMatchObject({ finishReason: FinishReason.TOOL_CALLS, providerReason: 'STOP' });
  });

  it('that come in pieces are joined by JSON path', () => {
    const piece = (jsonPath: string, value: object) => ({ jsonPath, ...value });
    const reading = readParts(
      { functionCall: { name: 'f', willContinue: true }, thoughtSignature: 's' },
      {
        functionCall: { partialArgs: [piece('$.city', { stringValue: 'Ro', willContinue: true })], willContinue: true },
      },
      {
        functionCall: {
          partialArgs: [piece('$.city', { stringValue: 'me' }), piece('$.days', { numberValue: 3 })],
          willContinue: true,
        },
      },
      {
        functionCall: {
          partialArgs: [
            piece('$.stops[0].name', { stringValue: 'a' }),
            piece("$.stops[1]['na.me']", { boolValue: false }),
            piece('$.none', { nullValue: 'NULL_VALUE' }),
          ],
          willContinue: true,
        },
      },
      { functionCall: {} },
      { functionCall: { name: 'g', partialArgs: [piece('$.x', { numberValue: 1 })] } },
      { functionCall: { name: 'h', args: { y: 1 }, willContinue: true } },
    );

    expect(partsOf(reading)).toEqual([
      ['f', '{"city":"Rome","days":3,"stops":[{"name":"a"},{"na.me":false}],"none":null}', { thoughtSignature: 's' }],
      ['g', '{"x":1}'],
      ['h', '{"y":1}'],
    ]);
  });

  it.each(['', 'city', '$', '$..city', '$[*]', '$.a[5]', '$.a[0][1]', '$.__proto__.x', '$[0]', `$${'.a'.repeat(99)}`])(
    'with a piece for "%s" cannot be understood',
    (jsonPath) => {
      const call = { name: 'f', partialArgs: [{ jsonPath, stringValue: 'x' }] };

      expect(failureOf(chunk([{ functionCall: call }]))).toMatchObject({ reason: 'provider_protocol' });
      expect({}).not.toHaveProperty('x');
    },
  );

  it('without a name cannot be understood', () => {
    expect(failureOf(chunk([{ functionCall: { args: {} } }], 'STOP')).message).toBe(
      'upstream: a tool call names no tool',
    );
  });
});

describe('the end of an answer of Gemini', () => {
  it.each([
    ['STOP', FinishReason.STOP],
    ['MAX_TOKENS', FinishReason.LENGTH],
    ['CONTINUATION', FinishReason.LENGTH],
    ['SAFETY', FinishReason.CONTENT_FILTER],
    ['RECITATION', FinishReason.CONTENT_FILTER],
    ['BLOCKLIST', FinishReason.CONTENT_FILTER],
    ['PROHIBITED_CONTENT', FinishReason.CONTENT_FILTER],
    ['SPII', FinishReason.CONTENT_FILTER],
    ['IMAGE_SAFETY', FinishReason.CONTENT_FILTER],
    ['OTHER', FinishReason.OTHER],
    ['A_NEW_ONE', FinishReason.OTHER],
  ])('by %s is told as %i', (word, finishReason) => {
    const ratings = { safetyRatings: [{ category: 'C', probability: 'LOW' }], finishMessage: 'because' };
    const choice = choiceOf(read(chunk([{ text: 'a' }], word, ratings)));

    expect(choice).toMatchObject({ finishReason, providerReason: word });
    expect(JSON.parse(choice?.extraJson.gemini ?? '')).toEqual(ratings);
  });

  it('may stand alone, without content', () => {
    const reading = read(chunk([{ functionCall: { name: 'f' } }]), { candidates: [{ finishReason: 'STOP' }] });

    expect(choiceOf(reading)?.finishReason).toBe(FinishReason.TOOL_CALLS);
  });

  it('of a blocked prompt is a filtered choice without parts', () => {
    const promptFeedback = { blockReason: 'PROHIBITED_CONTENT', safetyRatings: [] };
    const reading = read({
      promptFeedback,
      usageMetadata: { promptTokenCount: 5, totalTokenCount: 5 },
      modelVersion: 'm',
    });

    expect(reading.completion.choices).toHaveLength(1);
    expect(choiceOf(reading)).toMatchObject({
      index: 0,
      finishReason: FinishReason.CONTENT_FILTER,
      providerReason: 'PROHIBITED_CONTENT',
    });
    expect(reading.completion.usage?.promptTokens).toBe(5);
    expect(JSON.parse(reading.completion.extraJson.gemini ?? '')).toEqual({ promptFeedback });
  });

  it.each([
    ['MALFORMED_FUNCTION_CALL', { code: 'MALFORMED_FUNCTION_CALL' }],
    ['UNEXPECTED_TOOL_CALL', { code: 'UNEXPECTED_TOOL_CALL' }],
    ['LANGUAGE', { code: 400, status: 'LANGUAGE' }],
    ['NO_IMAGE', { code: 400, status: 'NO_IMAGE' }],
    ['TOO_MANY_TOOL_CALLS', { code: 400, status: 'TOO_MANY_TOOL_CALLS' }],
    ['MISSING_THOUGHT_SIGNATURE', { code: 400, status: 'MISSING_THOUGHT_SIGNATURE' }],
  ])('by %s is a failure', (word, error) => {
    const failure = failureOf(chunk([{ text: 'a' }], word, { finishMessage: 'said so' }));

    expect(JSON.parse(failure.message)).toEqual({ error: { ...error, message: `${word}: said so` } });
  });

  it.each([
    ['without a reason', [chunk([{ text: 'a' }])]],
    ['without candidates', [{ usageMetadata: {} }]],
    ['without anything', []],
    ['of one candidate of two', [chunk([{ text: 'a' }], 'STOP'), { candidates: [{ index: 1 }] }]],
    ['without an object', [5]],
    ['with a candidate of no place', [{ candidates: [{ index: -1, finishReason: 'STOP' }] }]],
  ])('%s is none', (_, chunks) => {
    expect(failureOf(...chunks)).toMatchObject({ reason: 'provider_protocol', provider: 'upstream' });
  });

  it('is judged like any other refusal where an error stands in its place', () => {
    expect(failureOf(chunk([{ text: 'a' }]), { error: { code: 503 } }).message).toBe('{"error":{"code":503}}');
  });
});

describe('the usage of Gemini', () => {
  const counts = {
    promptTokenCount: 10,
    toolUsePromptTokenCount: 5,
    candidatesTokenCount: 3,
    thoughtsTokenCount: 4,
    cachedContentTokenCount: 6,
    totalTokenCount: 22,
  };

  it('counts thoughts as completion, built-in tools as prompt, and cached tokens as part of it', () => {
    const promptTokensDetails = [
      { modality: 'TEXT', tokenCount: 8 },
      { modality: 'AUDIO', tokenCount: 2 },
    ];
    const reading = read({ ...chunk([{ text: 'a' }], 'STOP'), usageMetadata: { ...counts, promptTokensDetails } });

    expect(reading.completion.usage).toMatchObject({
      promptTokens: 15,
      completionTokens: 7,
      totalTokens: 22,
      cachedPromptTokens: 6,
      reasoningTokens: 4,
      promptAudioTokens: 2,
    });
    expect(reading.completion.usage).not.toHaveProperty('completionAudioTokens');
  });

  it('is told when it changes, and the last one counts', () => {
    const with_ = (usageMetadata: object, finish?: string) => ({ ...chunk([{ text: 'a' }], finish), usageMetadata });
    const reading = read(
      with_({ trafficType: 'X' }),
      with_({ promptTokenCount: 10 }),
      with_({ promptTokenCount: 10 }),
      with_({ promptTokenCount: 10, candidatesTokenCount: 2 }, 'STOP'),
    );

    expect(kindsOf(reading).filter((kind) => kind === 'usage')).toHaveLength(2);
    expect(reading.completion.usage).toMatchObject({ promptTokens: 10, completionTokens: 2, totalTokens: 12 });
  });

  it('is unknown where nothing is counted', () => {
    expect(read(chunk([{ text: 'a' }], 'STOP')).completion.usage).toBeUndefined();
  });
});

describe('citations of Gemini', () => {
  const chunks = [
    { web: { uri: 'https://a', title: 'A' } },
    { retrievedContext: { text: 'Zürich is…', title: 'B', fileSearchStore: 'stores/x' } },
  ];
  const grounding = (...supports: object[]) => ({
    groundingMetadata: { groundingChunks: chunks, groundingSupports: supports },
  });
  const support = (segment: object, ...groundingChunkIndices: number[]) => ({ segment, groundingChunkIndices });

  function citationsOf(reading: Reading): unknown[] {
    return (choiceOf(reading)?.message?.parts ?? []).flatMap(({ citations }, index) =>
      citations.map(({ url, startIndex, endIndex, citedText }) => [index, url, startIndex, endIndex, citedText]),
    );
  }

  it('count code points of their part, not bytes of all', () => {
    const thought = { text: 'hm', thought: true };
    const text = 'Zürich 😀 ist schön.';
    const at = (words: string) => {
      const startIndex = Buffer.byteLength(text.slice(0, text.indexOf(words)));
      return { startIndex, endIndex: startIndex + Buffer.byteLength(words), text: words };
    };
    const reading = read(
      chunk([thought, { text: text.slice(0, 9) }]),
      chunk([{ text: text.slice(9) }]),
      chunk([{ text: '' }], 'STOP', grounding(support({ endIndex: 7, text: 'Zürich' }, 0, 1), support(at('schön'), 1))),
    );

    expect(citationsOf(reading)).toEqual([
      [1, 'https://a', 0, 6, ''],
      [1, '', 0, 6, 'Zürich is…'],
      [1, '', 13, 18, 'Zürich is…'],
    ]);
    expect(JSON.parse(choiceOf(reading)?.extraJson.gemini ?? '')).toHaveProperty('groundingMetadata.groundingChunks');
  });

  it('stand at the part that they are about', () => {
    const block = { executableCode: { code: '1' } };
    const reading = read(
      chunk(
        [{ text: 'one.' }, block, { text: 'two.' }],
        'STOP',
        grounding(support({ startIndex: 4, endIndex: 7, text: 'two' }, 0)),
      ),
    );

    expect(citationsOf(reading)).toEqual([[2, 'https://a', 0, 3, '']]);
  });

  it.each([
    ['words and numbers disagree', { startIndex: 1, endIndex: 3, text: 'xyz' }],
    ['they begin within a character', { startIndex: 2, endIndex: 3 }],
    ['they end beyond the text', { startIndex: 0, endIndex: 99 }],
    ['nothing is told', {}],
  ])('are of the whole part where %s', (_, segment) => {
    const reading = read(chunk([{ text: 'Zürich' }], 'STOP', grounding(support(segment, 0))));

    expect(citationsOf(reading)).toEqual([[0, 'https://a', undefined, undefined, '']]);
  });

  it('are left out where there is no source, or no text', () => {
    const nothing = support({ startIndex: 0, endIndex: 1 }, 7);

    expect(citationsOf(read(chunk([{ text: 'a' }], 'STOP', grounding(nothing))))).toEqual([]);
    expect(citationsOf(read(chunk([], 'STOP', grounding(support({}, 0)))))).toEqual([]);
  });

  it('name works that were recited', () => {
    const citationMetadata = { citationSources: [{ startIndex: 0, endIndex: 2, uri: 'https://w', license: 'MIT' }] };
    const reading = read(chunk([{ text: 'abc' }], 'STOP', { citationMetadata }));

    expect(citationsOf(reading)).toEqual([[0, 'https://w', 0, 2, '']]);
    expect(choiceOf(reading)?.message?.parts[0]?.citations[0]?.extraJson).toEqual({ gemini: '{"license":"MIT"}' });
  });
});
