import { create } from '@bufbuild/protobuf';
import { describe, expect, it, onTestFinished } from 'vitest';
import { EmbeddingRequestSchema, type EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import type { ProviderSettings } from '../../src/providers/registry.ts';
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

const whole = '{"model":"m","choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}]}';
const chunk = (content: string) => `data: {"model":"m","choices":[{"index":0,"delta":{"content":"${content}"}}]}\n\n`;
const last = 'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n';
const done = 'data: [DONE]\n\n';

async function upstream(handler: Parameters<typeof startUpstream>[0]): Promise<Upstream> {
  const started = await startUpstream(handler);
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

/** An upstream that always says the same. */
function saying(body: string, type = 'application/json', status = 200): Promise<Upstream> {
  return upstream((_, response) => response.writeHead(status, { 'content-type': type }).end(body));
}

function providerOn({ url }: Upstream, settings: Partial<ProviderSettings> = {}) {
  const provider = providerAt(`${url}/v1`, settings);
  onTestFinished(() => provider.close());
  return provider;
}

async function failureOf(started: Upstream, streaming: boolean): Promise<GatewayError> {
  const { error } = await eventsOf(providerOn(started).complete(question(), callOf({ streaming })));
  expect(error).toBeInstanceOf(GatewayError);
  return error as GatewayError;
}

function textOf(completion: Awaited<ReturnType<typeof answerOf>>): string {
  const kind = completion.choices[0]?.message?.parts[0]?.kind;
  return kind?.case === 'text' ? kind.value : '';
}

describe('a call', () => {
  it('names its key, its id and what is configured', async () => {
    const started = await saying(whole);
    const provider = providerOn(started, { headers: { 'X-Team': 'search', 'User-Agent': 'ours' } });

    await answerOf(provider, question(), { requestId: 'r-7' });

    expect(started.requests[0]?.path).toBe('/v1/chat/completions');
    expect(started.requests[0]?.headers).toMatchObject({
      authorization: `Bearer ${secretKey}`,
      'content-type': 'application/json',
      'x-request-id': 'r-7',
      'x-team': 'search',
      'user-agent': 'ours',
    });
  });

  it('uses several keys in turn, and none where there is none', async () => {
    const started = await saying(whole);
    const provider = providerOn(started, { apiKeys: ['a', 'b'] });
    for (let call = 0; call < 3; call++) await answerOf(provider);
    await answerOf(providerOn(started, { apiKeys: [] }));

    expect(started.requests.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer a',
      'Bearer b',
      'Bearer a',
      undefined,
    ]);
  });

  it.each([false, true])("tells the provider's own id once it has answered (streaming: %s)", async (streaming) => {
    const started = await upstream((_, response) =>
      response.writeHead(200, { 'x-request-id': 'up-1' }).end(streaming ? chunk('a') + last : whole),
    );
    const seen: unknown[] = [];

    await answerOf(providerOn(started), question(), { streaming, onResponse: ({ requestId }) => seen.push(requestId) });

    expect(seen).toEqual(['up-1']);
  });

  it('below a base URL with a slash at its end goes to the same place', async () => {
    const started = await saying(whole);
    const provider = providerAt(`${started.url}/openai/v1/`);
    await answerOf(provider);
    await provider.close();

    expect(started.requests[0]?.path).toBe('/openai/v1/chat/completions');
  });

  it('leaves its connection to the next one after [DONE]', async () => {
    const started = await upstream((_, response) => response.end(chunk('a') + last + done));
    const provider = providerOn(started);
    for (let call = 0; call < 5; call++) await answerOf(provider, question(), { streaming: true });

    // undici rests a connection for one turn of the event loop: two take turns.
    expect(started.sockets.size).toBeLessThanOrEqual(2);
  });
});

describe('a stream', () => {
  it('is told as it comes', async () => {
    let send: (text: string) => void = () => undefined;
    const started = await upstream((_, response) => {
      send = (text) => response.write(text);
      send(chunk('a'));
    });
    const events = providerOn(started)
      .complete(question(), callOf({ streaming: true }))
      [Symbol.asyncIterator]();

    expect((await events.next()).value.event.case).toBe('started');
    expect((await events.next()).value.event.value.text).toBe('a');
    send(chunk('b'));
    expect((await events.next()).value.event.value.text).toBe('b');
    await events.return?.();
    while (started.sockets.size > 0) await new Promise(setImmediate);
  });

  it('closes its connection when its reader leaves, and when it is aborted', async () => {
    const started = await upstream((_, response) => response.write(chunk('a')));
    const provider = providerOn(started);
    const reason = new GatewayError('cancelled', 'the caller left');
    const controller = new AbortController();

    for await (const { event } of provider.complete(question(), callOf({ streaming: true }))) {
      if (event.case === 'textDelta') break;
    }
    while (started.sockets.size > 0) await new Promise(setImmediate);
    const { error } = await eventsOf(
      (async function* () {
        for await (const event of provider.complete(
          question(),
          callOf({ streaming: true, signal: controller.signal }),
        )) {
          yield event;
          if (event.event.case === 'textDelta') controller.abort(reason);
        }
      })(),
    );

    expect(error).toBe(reason);
    while (started.sockets.size > 0) await new Promise(setImmediate);
  });

  it.each(['text/event-stream', 'application/json', 'text/plain'])(
    'is read whatever its content type says (%s)',
    async (type) => {
      const completion = await answerOf(providerOn(await saying(chunk('a') + last + done, type)), question(), {
        streaming: true,
      });

      expect(textOf(completion)).toBe('a');
    },
  );

  it.each(['application/json', 'text/event-stream'])(
    'that comes as one JSON answer is read, too (%s)',
    async (type) => {
      const completion = await answerOf(providerOn(await saying(whole, type)), question(), { streaming: true });

      expect(textOf(completion)).toBe('hello');
    },
  );

  it('without [DONE] is complete once it has a finish reason', async () => {
    expect(textOf(await answerOf(providerOn(await saying(chunk('a') + last)), question(), { streaming: true }))).toBe(
      'a',
    );
  });

  it('with blank data is no worse for it', async () => {
    const body = `data:\n\n${chunk('a')}data: \n\n${last}${done}`;

    expect(textOf(await answerOf(providerOn(await saying(body)), question(), { streaming: true }))).toBe('a');
  });

  it.each([
    ['without a finish reason', chunk('a') + done, 'provider_protocol'],
    ['that is cut', `${chunk('a')}data: {"choi`, 'provider_protocol'],
    ['of garbage', `${chunk('a')}data: {"bro\n\n${last}`, 'provider_protocol'],
    ['of nothing', '', 'provider_protocol'],
    ['of [DONE] only', done, 'provider_protocol'],
    ['of a page', '<html><body>hello</body></html>', 'provider_protocol'],
    [
      'with an error event',
      `${chunk('a')}event: error\ndata: {"error":{"code":"x","status_code":429}}\n\n`,
      'provider_rate_limited',
    ],
    [
      'with an error event of its own shape',
      `${chunk('a')}event: error\ndata: {"message":"busy","code":503}\n\n`,
      'provider_unavailable',
    ],
    [
      'with an error in its data',
      `${chunk('a')}data: {"error":{"message":"no","code":503}}\n\n`,
      'provider_unavailable',
    ],
    [
      'with an error after its end',
      `${chunk('a')}${last}data: {"error":{"code":500}}\n\n${done}`,
      'provider_unavailable',
    ],
    ['with a bare error at its end', `${chunk('a')}${last}{\n "error": {"code": 503}\n}\n`, 'provider_unavailable'],
    ['that is an error', '{"error":{"message":"no","code":429}}', 'provider_rate_limited'],
  ])('%s fails', async (_, body, reason) => {
    expect((await failureOf(await saying(body, 'text/event-stream'), true)).reason).toBe(reason);
  });

  it('that is refused is judged by its status', async () => {
    const error = await failureOf(await saying('{"error":{"message":"slow down"}}', 'application/json', 429), true);

    expect([error.reason, error.provider, error.providerStatus]).toEqual(['provider_rate_limited', 'upstream', 429]);
  });
});

describe('a whole answer', () => {
  it.each([
    ['cut', whole.slice(0, 40), 'provider_protocol'],
    ['empty', '', 'provider_protocol'],
    ['a page', '<html></html>', 'provider_protocol'],
    ['an error under status 200', '{"error":{"message":"no","code":503}}', 'provider_unavailable'],
    ['of another family', '{"type":"message","content":[{"text":"x"}]}', 'provider_protocol'],
  ])('that is %s fails', async (_, body, reason) => {
    expect((await failureOf(await saying(body), false)).reason).toBe(reason);
  });

  it('that is refused never shows the key', async () => {
    const body = JSON.stringify({ error: { message: `Incorrect API key provided: ${secretKey}` } });
    for (const status of [400, 401, 422]) {
      const error = await failureOf(await saying(body, 'application/json', status), false);

      expect(`${error.message} ${String(error.cause)} ${JSON.stringify(error)}`).not.toContain(secretKey);
    }
  });
});

describe('embeddings', () => {
  async function embed(
    body: string,
    inputs: object[],
    more: object = {},
  ): Promise<{ result: EmbeddingResult; sent: unknown }> {
    const started = await saying(body);
    const request = create(EmbeddingRequestSchema, { inputs, ...more } as never);
    let result: EmbeddingResult | undefined;
    for await (const one of providerOn(started).embed(request, callOf())) result = one;
    return { result: result as EmbeddingResult, sent: JSON.parse(started.requests[0]?.body ?? '') };
  }
  const text = (value: string) => ({ kind: { case: 'text', value } });
  const answer = (...vectors: unknown[]) =>
    JSON.stringify({
      model: 'e',
      data: vectors.map((embedding, index) => ({ embedding, index })),
      usage: { prompt_tokens: 2, total_tokens: 2 },
    });

  it('of texts are asked and read', async () => {
    const { result, sent } = await embed(answer([0.5, -1], [0, 1]), [text('a'), text('b')], {
      dimensions: 2,
      extraJson: { openai: '{"user":"u"}', x: '{}' },
    });

    expect(sent).toEqual({ user: 'u', model: 'm', input: ['a', 'b'], dimensions: 2 });
    expect(result).toMatchObject({
      model: 'e',
      droppedFields: ['extra_json.x'],
      usage: { promptTokens: 2, totalTokens: 2 },
    });
    expect(result.embeddings.map(({ values }) => values)).toEqual([
      [0.5, -1],
      [0, 1],
    ]);
  });

  it('of token ids are asked as lists', async () => {
    const { sent } = await embed(answer([1]), [{ kind: { case: 'tokens', value: { ids: [1, 2] } } }]);

    expect(sent).toMatchObject({ input: [[1, 2]] });
  });

  it('in base64 are read', async () => {
    const floats = Buffer.from(new Float32Array([0.25, -1]).buffer).toString('base64');
    const bytes = Buffer.from(Int8Array.of(1, -2, 127)).toString('base64');

    expect((await embed(answer(floats), [text('a')])).result.embeddings[0]?.values).toEqual([0.25, -1]);
    expect((await embed(answer(bytes), [text('a')])).result.embeddings[0]?.values).toEqual([1, -2, 127]);
  });

  it('out of order are put in order', async () => {
    const body = JSON.stringify({
      data: [
        { index: 1, embedding: [2] },
        { index: 0, embedding: [1] },
      ],
    });

    expect((await embed(body, [text('a'), text('b')])).result.embeddings.map(({ values }) => values)).toEqual([
      [1],
      [2],
    ]);
  });

  it.each([
    ['too few', answer([1])],
    ['none', '{"data":[]}'],
    ['no numbers', answer([1], ['x'])],
    ['garbage', 'garbage'],
  ])('that are %s fail', async (_, body) => {
    await expect(embed(body, [text('a'), text('b')])).rejects.toMatchObject({ reason: 'provider_protocol' });
  });

  it('of texts and token ids at once are refused', async () => {
    const inputs = [text('a'), { kind: { case: 'tokens', value: { ids: [1] } } }];

    await expect(embed(answer([1], [1]), inputs)).rejects.toMatchObject({ reason: 'invalid_request' });
  });
});

describe('the list of models', () => {
  const signal = new AbortController().signal;

  it.each([
    ['{"object":"list","data":[{"id":"a","owned_by":"x","created":7,"context_window":9},{"id":"b","active":false}]}'],
    ['[{"id":"a","publisher":"x","created":7,"limits":{"max_input_tokens":9}}]'],
    ['{"models":[{"name":"a","owned_by":"x","created":7,"max_model_len":9},{"none":1},null]}'],
  ])('is read in each shape', async (body) => {
    const started = await saying(body);

    expect(await providerOn(started).listModels(signal)).toEqual([
      { id: 'a', ownedBy: 'x', created: 7, contextWindow: 9 },
    ]);
    expect(started.requests[0]).toMatchObject({ method: 'GET', path: '/v1/models' });
  });

  it('that is none is a protocol error', async () => {
    await expect(providerOn(await saying('{"data":5}')).listModels(signal)).rejects.toMatchObject({
      reason: 'provider_protocol',
    });
  });

  it('that is refused is judged', async () => {
    const started = await saying('{"error":{}}', 'application/json', 401);

    await expect(providerOn(started).listModels(signal)).rejects.toMatchObject({ reason: 'provider_misconfigured' });
  });
});
