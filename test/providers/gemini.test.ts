import { create } from '@bufbuild/protobuf';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MessageSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { EmbeddingRequestSchema, type EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import type { Provider } from '../../src/providers/provider.ts';
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
  vectorsOf,
} from './support.ts';

const signal = new AbortController().signal;
const hello = { candidates: [{ content: { parts: [{ text: 'hello' }] }, finishReason: 'STOP' }], modelVersion: 'm-1' };
const whole = JSON.stringify(hello);
const stream = `data: ${whole}\r\n\r\n`;

async function upstream(handler: Parameters<typeof startUpstream>[0]): Promise<Upstream> {
  const started = await startUpstream(handler);
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

const answering = (body: string, status = 200) => upstream((_, response) => response.writeHead(status).end(body));

function geminiAt(baseUrl: string, settings: Partial<ProviderSettings> = {}): Provider {
  const provider = providerAt(baseUrl, { kind: 'gemini', ...settings });
  onTestFinished(() => provider.close());
  return provider;
}

describe('gemini', () => {
  it('asks for an answer below its base URL, with its key in a header', async () => {
    const started = await answering(whole);

    const { model, choices } = await answerOf(geminiAt(`${started.url}/v1beta/`), question(), {
      model: 'gemini-3.5-flash',
    });

    expect([model, choices[0]?.message?.parts[0]?.kind.value]).toEqual(['m-1', 'hello']);
    expect(started.requests[0]?.path).toBe('/v1beta/models/gemini-3.5-flash:generateContent');
    expect(started.requests[0]?.headers).toMatchObject({ 'x-goog-api-key': secretKey, 'x-request-id': 'r-1' });
    expect(started.requests[0]?.headers).not.toHaveProperty('authorization');
  });

  it('asks for a stream of server-sent events', async () => {
    const started = await answering(stream);

    const { choices } = await answerOf(geminiAt(started.url), question(), { streaming: true });

    expect(choices[0]?.message?.parts[0]?.kind.value).toBe('hello');
    expect(started.requests[0]?.path).toBe('/models/m:streamGenerateContent?alt=sse');
  });

  it.each([
    ['models/gemini-x', '/models/gemini-x:generateContent?team=a'],
    ['tunedModels/mine', '/tunedModels/mine:generateContent?team=a'],
    ['../../x?key=1#y', '/models/..%2F..%2Fx%3Fkey%3D1%23y:generateContent?team=a'],
  ])('asks the model %s at %s', async (model, path) => {
    const started = await answering(whole);

    await answerOf(geminiAt(`${started.url}?team=a`), question(), { model });

    expect(started.requests[0]?.path).toBe(path);
  });

  it('keeps the query of its base URL beside its own', async () => {
    const started = await answering(stream);

    await answerOf(geminiAt(`${started.url}/v1beta?team=a`), question(), { streaming: true });

    expect(started.requests[0]?.path).toBe('/v1beta/models/m:streamGenerateContent?team=a&alt=sse');
  });

  it('reads a stream that comes as one JSON array', async () => {
    const started = await answering(
      JSON.stringify([{ candidates: [{ content: { parts: [{ text: 'oh ' }] } }] }, hello]),
    );

    const { choices } = await answerOf(geminiAt(started.url), question(), { streaming: true });

    expect(choices[0]?.message?.parts.map(({ kind }) => kind.value)).toEqual(['oh hello']);
  });

  it('tells what came before an error without its frame, and then fails', async () => {
    const chunk = 'data: {"candidates":[{"content":{"parts":[{"text":"Hel"}]}}]}\r\n\r\n';
    const error =
      '{\n  "error": {\n    "code": 503,\n    "message": "overloaded",\n    "status": "UNAVAILABLE"\n  }\n}\n';
    const started = await answering(chunk + error);

    const { events, error: failure } = await eventsOf(
      geminiAt(started.url).complete(question(), callOf({ streaming: true })),
    );

    expect(events.map(({ event }) => event.case)).toEqual(['started', 'textDelta']);
    expect(failure).toMatchObject({ reason: 'provider_unavailable', provider: 'upstream' });
  });

  it('tells the usage of an answer that its model got wrong', async () => {
    const broken = {
      candidates: [{ finishReason: 'MALFORMED_FUNCTION_CALL' }],
      usageMetadata: { promptTokenCount: 9 },
    };
    const started = await answering(`data: ${JSON.stringify(broken)}\r\n\r\n`);

    const { events, error } = await eventsOf(geminiAt(started.url).complete(question(), callOf({ streaming: true })));

    expect(events.map(({ event }) => event.case)).toEqual(['started', 'usage']);
    expect(error).toMatchObject({ reason: 'provider_protocol', providerCode: 'MALFORMED_FUNCTION_CALL' });
  });

  it.each([
    [400, { details: [{ reason: 'API_KEY_INVALID' }] }, 'provider_misconfigured', undefined],
    [
      400,
      { status: 'FAILED_PRECONDITION', message: 'User location is not supported' },
      'provider_misconfigured',
      undefined,
    ],
    [
      400,
      { message: 'The input token count (12) exceeds the maximum number of tokens allowed (8).' },
      'context_length',
      undefined,
    ],
    [
      400,
      { message: 'Function call is missing a thought_signature', status: 'INVALID_ARGUMENT' },
      'provider_rejected',
      undefined,
    ],
    [403, { status: 'PERMISSION_DENIED' }, 'provider_misconfigured', undefined],
    [404, { message: 'models/m is not found for API version v1beta' }, 'provider_misconfigured', undefined],
    [429, { details: [{ retryDelay: '34.4s' }] }, 'provider_rate_limited', 34_400],
    [429, { message: 'Please retry in 48.9399s.' }, 'provider_rate_limited', 48_940],
    [
      429,
      { details: [{ violations: [{ quotaId: 'RequestsPerDay' }] }, { retryDelay: '27s' }] },
      'provider_quota',
      27_000,
    ],
    [429, {}, 'provider_rate_limited', undefined],
    [499, { status: 'CANCELLED' }, 'provider_unavailable', undefined],
    [500, { status: 'INTERNAL' }, 'provider_unavailable', undefined],
    [503, { status: 'UNAVAILABLE' }, 'provider_unavailable', undefined],
  ] as const)('judges %i with %j as %s', async (status, fields, reason, retryAfterMs) => {
    const body = { error: { code: status, message: 'no', ...fields } };
    for (const said of [body, [body]]) {
      const started = await answering(JSON.stringify(said), status);
      for (const streaming of [true, false]) {
        const { error } = await eventsOf(geminiAt(started.url).complete(question(), callOf({ streaming })));
        expect(error).toMatchObject({ reason, retryAfterMs, provider: 'upstream', providerStatus: status });
      }
    }
  });

  it('asks nothing that it cannot take', async () => {
    const started = await answering(whole);
    const asked = question('hi', { parallelToolCalls: false });

    const { error } = await eventsOf(geminiAt(started.url).complete(asked, callOf()));
    const { droppedFields } = await answerOf(geminiAt(started.url, { dropUnsupported: 'drop' }), asked);

    expect(error).toMatchObject({ reason: 'invalid_request', provider: 'upstream' });
    expect(droppedFields).toEqual(['parallel_tool_calls']);
    expect(started.requests).toHaveLength(1);
  });

  it('takes the message that it answered with back as it gave it', async () => {
    const parts = [
      { text: 'hm', thought: true },
      { text: 'I look. ' },
      { functionCall: { id: '1', name: 'f', args: { city: 'Zürich' } }, thoughtSignature: 'c2ln' },
      { functionCall: { id: '2', name: 'f', args: {} } },
      { executableCode: { language: 'PYTHON', code: '1' }, thoughtSignature: 'c2ln' },
      { text: '', thoughtSignature: 'ZW5k' },
    ];
    const started = await answering(JSON.stringify({ candidates: [{ content: { parts }, finishReason: 'STOP' }] }));
    const asked = question();

    const { choices } = await answerOf(geminiAt(started.url), asked, { model: 'gemini-3.5-flash' });
    const result = { kind: { case: 'text' as const, value: 'sunny' } };
    asked.messages.push(
      ...choices.flatMap(({ message }) => message ?? []),
      create(MessageSchema, { role: Role.TOOL, toolCallId: '1', parts: [result] }),
    );
    await answerOf(geminiAt(started.url), asked, { model: 'gemini-3.5-flash' });

    const [, second] = started.requests.map(({ body }) => JSON.parse(body));
    expect(second.contents[1]).toEqual({ role: 'model', parts });
    expect(second.contents[2].parts[0].functionResponse).toEqual({ id: '1', name: 'f', response: { result: 'sunny' } });
  });
});

describe('embeddings of gemini', () => {
  const text = (value: string) => ({ kind: { case: 'text' as const, value } });
  const vector = (...values: number[]) => ({ values });

  it('are asked one by itself', async () => {
    const started = await answering(
      JSON.stringify({ embedding: vector(0.5, 1), usageMetadata: { promptTokenCount: 3 } }),
    );

    const result = await vectorsOf(geminiAt(`${started.url}/v1beta`), {
      inputs: [text('a')],
      task: 'RETRIEVAL_QUERY',
      dimensions: 2,
      extraJson: { gemini: '{"title":"T"}', openai: '{"user":"u"}' },
    });

    expect(started.requests[0]?.path).toBe('/v1beta/models/m:embedContent');
    expect(JSON.parse(started.requests[0]?.body ?? '')).toEqual({
      title: 'T',
      model: 'models/m',
      content: { parts: [{ text: 'a' }] },
      taskType: 'RETRIEVAL_QUERY',
      outputDimensionality: 2,
    });
    expect(result).toMatchObject({ model: 'm', droppedFields: ['extra_json.openai'], usage: { promptTokens: 3 } });
    expect(result.embeddings.map(({ values }) => values)).toEqual([[0.5, 1]]);
  });

  it('are asked in batches of a hundred', async () => {
    const started = await upstream((_, response, body) => {
      const { requests } = JSON.parse(body) as { requests: { content: { parts: { text: string }[] } }[] };
      const embeddings = requests.map(({ content }) => vector(Number(content.parts[0]?.text)));
      response.end(JSON.stringify({ embeddings, usageMetadata: { promptTokenCount: requests.length } }));
    });
    let told = 0;
    const provider = geminiAt(started.url);
    const inputs = Array.from({ length: 250 }, (_, index) => text(String(index)));

    let result: EmbeddingResult | undefined;
    const request = create(EmbeddingRequestSchema, { inputs });
    for await (const one of provider.embed(request, callOf({ onResponse: () => void told++ }))) result = one;

    expect(started.requests.map(({ path }) => path)).toEqual(Array(3).fill('/models/m:batchEmbedContents'));
    expect(result?.embeddings.map(({ index, values }) => [index, values[0]])).toEqual(
      inputs.map((_, index) => [index, index]),
    );
    expect(result?.usage).toMatchObject({ promptTokens: 250, totalTokens: 250 });
    expect(told).toBe(1);
  });

  it.each([
    ['too few', { embeddings: [vector(1)] }],
    ['empty ones', { embeddings: [vector(1), vector()] }],
    ['other things than numbers', { embeddings: [vector(1), { values: ['1'] }] }],
    ['none', {}],
  ])('with %s are no answer', async (_, body) => {
    const started = await answering(JSON.stringify(body));

    await expect(vectorsOf(geminiAt(started.url), { inputs: [text('a'), text('b')] })).rejects.toMatchObject({
      reason: 'provider_protocol',
    });
  });

  it('cannot be had of token ids', async () => {
    const inputs = [{ kind: { case: 'tokens' as const, value: { ids: [1] } } }];

    await expect(vectorsOf(geminiAt('http://127.0.0.1:1'), { inputs })).rejects.toMatchObject({
      reason: 'invalid_request',
      violations: [{ field: 'inputs[0].tokens' }],
    });
  });

  it('of a refused key fail as completions do', async () => {
    const started = await answering('{"error":{"code":400,"message":"API key not valid."}}', 400);

    await expect(vectorsOf(geminiAt(started.url), { inputs: [text('a')] })).rejects.toMatchObject({
      reason: 'provider_misconfigured',
    });
  });
});

describe('models of gemini', () => {
  const model = (name: string, ...supportedGenerationMethods: string[]) => ({ name, supportedGenerationMethods });

  it('are listed page by page, those of use', async () => {
    const pages = [
      {
        models: [
          { ...model('models/a', 'generateContent', 'countTokens'), inputTokenLimit: 1000, outputTokenLimit: 10 },
          model('models/live', 'bidiGenerateContent'),
        ],
        nextPageToken: 'b&c',
      },
      { models: [model('models/e', 'embedContent')] },
    ];
    const started = await upstream((_, response) => response.end(JSON.stringify(pages.shift())));

    const models = await geminiAt(`${started.url}/v1beta`).listModels(signal);

    expect(models).toEqual([
      { id: 'a', ownedBy: 'google', contextWindow: 1000, maxOutputTokens: 10 },
      { id: 'e', ownedBy: 'google', contextWindow: undefined, maxOutputTokens: undefined },
    ]);
    expect(started.requests.map(({ path }) => path)).toEqual([
      '/v1beta/models?pageSize=1000',
      '/v1beta/models?pageSize=1000&pageToken=b%26c',
    ]);
    expect(started.requests[0]?.headers).toMatchObject({ 'x-goog-api-key': secretKey });
  });

  it('come to an end where the pages do not', async () => {
    const started = await answering('{"models":[],"nextPageToken":"again"}');

    await expect(geminiAt(started.url).listModels(signal)).resolves.toEqual([]);
    expect(started.requests).toHaveLength(20);
  });

  it('are not in anything else', async () => {
    const started = await answering('{"data":[]}');

    await expect(geminiAt(started.url).listModels(signal)).rejects.toMatchObject({ reason: 'provider_protocol' });
  });
});
