import { describe, expect, it, onTestFinished } from 'vitest';
import { type CompletionEvent, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { AnthropicAnswer } from '../../src/providers/anthropic-answer-events.ts';
import { brokenLaws } from '../support/event-laws.ts';
import {
  answerOf,
  callOf,
  eventsOf,
  providerAt,
  question,
  secretKey,
  startUpstream,
  type Upstream,
} from './support.ts';

const message = { id: 'msg_1', type: 'message', role: 'assistant', model: 'claude-x', content: [], usage: {} };

function reader(droppedFields: string[] = []): AnthropicAnswer {
  const refusal = (body: unknown) => new GatewayError('provider_unavailable', JSON.stringify(body));
  return new AnthropicAnswer({ provider: 'upstream', model: 'asked', droppedFields, refusal });
}

/** What chunks of a stream are told as. */
function told(...chunks: object[]): CompletionEvent[] {
  const answer = reader();
  for (const chunk of chunks) answer.readChunk(chunk);
  answer.end();
  expect(brokenLaws(answer.events)).toEqual([]);
  return answer.events;
}

function folded(events: readonly CompletionEvent[]) {
  const fold = new CompletionFold();
  for (const event of events) fold.add(event);
  return fold.result();
}

const start = (fields: object = {}) => ({ type: 'message_start', message: { ...message, ...fields } });
const open = (block: object, index = 0) => ({ type: 'content_block_start', index, content_block: block });
const delta = (fields: object, index = 0) => ({ type: 'content_block_delta', index, delta: fields });
const close = (index = 0) => ({ type: 'content_block_stop', index });
const stop = (stop_reason = 'end_turn', fields: object = {}, usage: object = { output_tokens: 2 }) => ({
  type: 'message_delta',
  delta: { stop_reason, ...fields },
  usage,
});
const input = (partial_json: string) => delta({ type: 'input_json_delta', partial_json });

const partsOf = (events: readonly CompletionEvent[]) =>
  folded(events).choices[0]?.message?.parts.map(({ kind, extraJson }) => [kind.case, kind.value, extraJson]);

describe('a stream', () => {
  it('tells nothing of a block until there is something in it', () => {
    const events = told(
      start(),
      open({ type: 'text', text: '' }),
      close(),
      { type: 'ping' },
      open({ type: 'thinking', thinking: '', signature: '' }, 1),
      close(1),
      { type: 'something_new', index: 7 },
      stop(),
    );

    expect(partsOf(events)).toEqual([]);
  });

  it('keeps characters whole that are cut between two chunks', () => {
    const events = told(
      start(),
      open({ type: 'text', text: '' }),
      delta({ type: 'text_delta', text: 'a\ud83d' }),
      delta({ type: 'text_delta', text: '\ude00b' }),
      delta({ type: 'text_delta', text: '\ud83d' }),
      close(),
      open({ type: 'tool_use', id: 't', name: 'f', input: {} }),
      input('{"a":"\ud83d'),
      input('\ude00"}'),
      close(),
      open({ type: 'thinking', thinking: '\ud83d' }),
      delta({ type: 'thinking_delta', thinking: '\ude00' }),
      close(),
      stop('tool_use'),
    );

    expect(partsOf(events)).toMatchObject([
      ['text', 'a😀b\ufffd', {}],
      ['toolCall', { arguments: '{"a":"😀"}' }, {}],
      ['reasoning', '😀', {}],
    ]);
  });

  it.each([
    ['nothing', {}, [], '{}'],
    ['an empty delta', {}, [input('')], '{}'],
    ['white space', {}, [input(' ')], ' {}'],
    ['the input in the block', { a: [1] }, [], '{"a":[1]}'],
    ['deltas', {}, [input('{"a"'), input(':1}')], '{"a":1}'],
  ])('has the arguments of a call from %s', (_, given, deltas, args) => {
    const events = told(
      start(),
      open({ type: 'tool_use', id: 't', name: 'f', input: given }),
      ...deltas,
      close(),
      stop(),
    );

    expect(partsOf(events)).toEqual([
      ['toolCall', { $typeName: 'llmgateway.v1.ToolCall', id: 't', name: 'f', arguments: args, custom: false }, {}],
    ]);
    expect(folded(events).choices[0]?.finishReason).toBe(FinishReason.TOOL_CALLS);
  });

  it('makes an id for a call that has none', () => {
    const events = told(start(), open({ type: 'tool_use', name: 'f' }), stop('tool_use'));

    expect(partsOf(events)).toMatchObject([['toolCall', { id: expect.stringMatching(/^call_[0-9a-f]{24}$/) }, {}]]);
  });

  it('signs thoughts whole, also those that are not shown', () => {
    const events = told(
      start(),
      open({ type: 'thinking', thinking: '', signature: '' }),
      delta({ type: 'thinking_delta', thinking: 'hm' }),
      delta({ type: 'signature_delta', signature: 'ab' }),
      delta({ type: 'signature_delta', signature: 'cd' }),
      close(),
      open({ type: 'thinking', thinking: '' }),
      delta({ type: 'signature_delta', signature: 'ef' }),
      close(),
      open({ type: 'redacted_thinking', data: 'gh' }),
      close(),
      stop(),
    );

    expect(partsOf(events)).toEqual([
      ['reasoning', 'hm', { anthropic: '{"signature":"abcd"}' }],
      ['reasoning', '', { anthropic: '{"signature":"ef"}' }],
      ['reasoning', '', { anthropic: '{"data":"gh"}' }],
    ]);
  });

  it('keeps whatever is new whole, and in its place', () => {
    const events = told(
      start(),
      open({ type: 'server_tool_use', id: 's', name: 'web_search', input: {} }),
      input('{"query":'),
      input('"q"}'),
      close(),
      open({ type: 'compaction', content: '' }, 1),
      delta({ type: 'compaction_delta', content: 'in ' }, 1),
      delta({ type: 'compaction_delta', content: 'short', more: 1 }, 1),
      close(1),
      open({ type: 'server_tool_use', id: 'u', input: {} }, 2),
      delta({ type: 'input_json_delta', partial_json: '{"cut' }, 2),
      stop('max_tokens'),
    );

    expect(partsOf(events)?.map(([, , extras]) => JSON.parse((extras as { anthropic: string }).anthropic))).toEqual([
      { type: 'server_tool_use', id: 's', name: 'web_search', input: { query: 'q' } },
      { type: 'compaction', content: 'in short', more: 1 },
      { type: 'server_tool_use', id: 'u', input: {} },
    ]);
  });

  it('cites at the end of the text that it is about', () => {
    const citation = { type: 'char_location', cited_text: 'c', document_index: 0, document_title: 'D', file_id: null };
    const events = told(
      start(),
      open({ type: 'text', text: '', citations: [] }),
      delta({ type: 'citations_delta', citation }),
      delta({ type: 'text_delta', text: 'so' }),
      close(),
      open({ type: 'text', text: '' }),
      delta({ type: 'citations_delta', citation }),
      close(),
      stop(),
    );

    expect(events.map(({ event }) => event.case)).toEqual([
      'started',
      'textDelta',
      'citation',
      'textDelta',
      'citation',
      'usage',
      'choiceFinished',
      'finished',
    ]);
    expect(folded(events).choices[0]?.message?.parts[0]?.citations).toMatchObject([
      {
        url: '',
        title: 'D',
        citedText: 'c',
        extraJson: { anthropic: '{"type":"char_location","document_index":0,"file_id":null}' },
      },
    ]);
  });

  it.each([
    ['end_turn', FinishReason.STOP],
    ['stop_sequence', FinishReason.STOP],
    ['max_tokens', FinishReason.LENGTH],
    ['model_context_window_exceeded', FinishReason.LENGTH],
    ['tool_use', FinishReason.TOOL_CALLS],
    ['refusal', FinishReason.CONTENT_FILTER],
    ['pause_turn', FinishReason.OTHER],
    ['constructor', FinishReason.OTHER],
  ])('that ends with %s ends with reason %i', (word, reason) => {
    const [choice] = folded(told(start(), stop(word, { stop_sequence: 'END', stop_details: { type: 'x' } }))).choices;

    expect(choice).toMatchObject({
      finishReason: reason,
      providerReason: word,
      stopSequence: 'END',
      extraJson: { anthropic: '{"stop_details":{"type":"x"}}' },
    });
  });

  it('adds nothing up that is cumulative, and counts what the cache had to do with', () => {
    const usage = { input_tokens: 5, cache_creation_input_tokens: 10, cache_read_input_tokens: 100, output_tokens: 1 };
    const events = told(
      start({ usage: { ...usage, service_tier: 'standard' } }),
      stop(
        'end_turn',
        {},
        { output_tokens: 9, cache_read_input_tokens: null, output_tokens_details: { thinking_tokens: 4 } },
      ),
    );
    const told2 = events.flatMap(({ event }) => (event.case === 'usage' ? [event.value] : []));

    expect(told2.map(({ promptTokens, completionTokens }) => [promptTokens, completionTokens])).toEqual([
      [115, 1],
      [115, 9],
    ]);
    expect(folded(events)).toMatchObject({
      usage: { totalTokens: 124, cachedPromptTokens: 100, cacheWritePromptTokens: 10, reasoningTokens: 4 },
      extraJson: { anthropic: '{"usage":{"service_tier":"standard"}}' },
    });
  });

  it('may start twice, or with content', () => {
    const block = { type: 'text', text: 'so' };
    const again = { ...start({ content: [block], usage: { input_tokens: 7 } }) };
    const events = told(start({ content: [block] }), again, stop('end_turn', { container: { id: 'c' } }));

    expect(folded(events)).toMatchObject({
      model: 'claude-x',
      usage: { promptTokens: 7, completionTokens: 2 },
      extraJson: { anthropic: '{"container":{"id":"c"}}' },
    });
    expect(partsOf(events)).toEqual([['text', 'so', {}]]);
  });

  it.each([
    ['before its start', [open({ type: 'text', text: 'x' }), stop()], /before its message/],
    ['without a start', [stop()], /before it was finished/],
    ['without a reason to stop', [start(), open({ type: 'text', text: 'x' }), close()], /before it was finished/],
    ['with a call of nothing', [start(), open({ type: 'tool_use', id: 't' }), stop()], /names no tool/],
    ['of no objects', [[] as object], /not a JSON object/],
  ])('is not believed %s', (_, chunks, words) => {
    expect(() => told(...chunks)).toThrow(words);
  });

  it('fails with an error that stands in it, under whichever name', () => {
    const error = { type: 'error', error: { type: 'overloaded_error' } };

    expect(() => told(start(), error)).toThrow('overloaded_error');
    expect(() => reader().readWhole(error)).toThrow('overloaded_error');
    expect(() => reader().readWhole({ ...message, content: 'x' })).toThrow('no content');
  });
});

describe('the provider', () => {
  async function upstream(handler: Parameters<typeof startUpstream>[0]): Promise<Upstream> {
    const started = await startUpstream(handler);
    onTestFinished(() => started[Symbol.asyncDispose]());
    return started;
  }
  const at = ({ url }: Upstream, settings = {}) => providerAt(`${url}/v1`, { kind: 'anthropic', ...settings });
  const whole = JSON.stringify({ ...message, content: [{ type: 'text', text: 'hello' }], stop_reason: 'end_turn' });

  it('shows its keys in turn, its version, and what is configured over both', async () => {
    const started = await upstream((_, response) => response.end(whole));
    const provider = at(started, {
      apiKeys: ['a', 'b'],
      headers: { 'Anthropic-Beta': 'x', 'anthropic-version': 'later' },
    });

    for (const _ of [1, 2, 3]) expect((await answerOf(provider)).model).toBe('claude-x');

    expect(started.requests.map(({ headers }) => headers['x-api-key'])).toEqual(['a', 'b', 'a']);
    expect(started.requests[0]).toMatchObject({
      method: 'POST',
      path: '/v1/messages',
      headers: { 'anthropic-version': 'later', 'anthropic-beta': 'x', 'x-request-id': 'r-1' },
    });
    expect(started.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('says which version it speaks, and tells the id that the upstream gave', async () => {
    const started = await upstream((_, response) => response.setHeader('request-id', 'req_7').end(whole));
    let requestId: string | undefined;

    await answerOf(at(started), question(), {
      onResponse: (response) => {
        requestId = response.requestId;
      },
    });

    expect(started.requests[0]?.headers['anthropic-version']).toBe('2023-06-01');
    expect(requestId).toBe('req_7');
  });

  it('tells what was dropped as it starts', async () => {
    const started = await upstream((_, response) => response.end(whole));

    expect(await answerOf(at(started, { dropUnsupported: 'drop' }), question('hi', { seed: 1 }))).toMatchObject({
      droppedFields: ['seed'],
    });
    await expect(answerOf(at(started), question('hi', { seed: 1 }))).rejects.toMatchObject({
      reason: 'invalid_request',
    });
    expect(started.requests.length).toBe(1);
  });

  it('reads no further than the last event', async () => {
    const chunks = [start(), open({ type: 'text', text: 'so' }), close(), stop(), { type: 'message_stop' }];
    const started = await upstream((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'retry-after': '9' });
      for (const chunk of chunks)
        response.write(`event: ${'type' in chunk && chunk.type}\ndata: ${JSON.stringify(chunk)}\n\n`);
    });
    const { events, error } = await eventsOf(at(started).complete(question(), callOf({ streaming: true })));

    expect(error).toBeUndefined();
    expect(events.at(-1)?.event.case).toBe('finished');
  });

  it('heeds a wait only where one is meant', async () => {
    const statuses = [429, 503, 529, 500, 400];
    const waits: unknown[] = [];
    for (const status of statuses) {
      const started = await upstream((_, response) => {
        response.writeHead(status, { 'retry-after': '9' }).end('{"type":"error","error":{"type":"x","message":"no"}}');
      });
      const { error } = await eventsOf(at(started).complete(question(), callOf()));
      waits.push((error as GatewayError).retryAfterMs);
    }

    expect(waits).toEqual([9_000, 9_000, 9_000, undefined, undefined]);
  });

  it('says nothing of its key, even where the upstream does', async () => {
    const started = await upstream((_, response) => {
      response.writeHead(400).end(JSON.stringify({ error: { message: `bad ${secretKey}` } }));
    });
    const { error } = await eventsOf(at(started).complete(question(), callOf()));

    expect((error as GatewayError).message).toBe('upstream rejected the request: bad ***');
  });

  it('lists what can be called, with what is told of it', async () => {
    const models = [
      { id: 'a', created_at: '2026-01-01T00:00:00Z', max_input_tokens: 200_000, max_tokens: 64_000 },
      { id: 'b', created_at: 'once' },
      { id: 'c', lifecycle: 'retired' },
      { name: 'd' },
      null,
    ];
    const started = await upstream((_, response) => response.end(JSON.stringify({ data: models, has_more: false })));

    expect(await at(started).listModels(new AbortController().signal)).toEqual([
      { id: 'a', ownedBy: 'anthropic', created: 1_767_225_600, contextWindow: 200_000, maxOutputTokens: 64_000 },
      { id: 'b', ownedBy: 'anthropic', created: undefined, contextWindow: undefined, maxOutputTokens: undefined },
    ]);
    expect(started.requests[0]).toMatchObject({ method: 'GET', path: '/v1/models?limit=1000' });
  });

  it('has neither embeddings nor a list that is none', async () => {
    const started = await upstream((_, response) => response.end('{"data":7}'));
    const asked = at(started).embed({} as never, callOf());

    await expect(asked[Symbol.asyncIterator]().next()).rejects.toMatchObject({ reason: 'provider_rejected' });
    await expect(at(started).listModels(new AbortController().signal)).rejects.toMatchObject({
      reason: 'provider_protocol',
    });
  });
});
