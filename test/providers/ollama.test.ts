import { describe, expect, it, onTestFinished } from 'vitest';
import type { OllamaProvider } from '../../src/providers/ollama.ts';
import type { ProviderSettings } from '../../src/providers/registry.ts';
import { answerOf, callOf, eventsOf, providerAt, question, secretKey, startUpstream, vectorsOf } from './support.ts';

const signal = new AbortController().signal;
const whole = '{"model":"m","message":{"content":"hello"},"done":true,"done_reason":"stop"}';

async function upstream(handler: Parameters<typeof startUpstream>[0]) {
  const started = await startUpstream(handler);
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

const answering = (body: string, status = 200) => upstream((_, response) => response.writeHead(status).end(body));

function ollamaAt(baseUrl: string, settings: Partial<ProviderSettings> = {}): OllamaProvider {
  const provider = providerAt(baseUrl, { kind: 'ollama', apiKeys: [], ...settings }) as OllamaProvider;
  onTestFinished(() => provider.close());
  return provider;
}

describe('ollama', () => {
  it.each(['', '/', '/v1', '/v1/', '/api', '/api/'])(
    'is found, and asked on its native API (base URL ending in "%s")',
    async (ending) => {
      const started = await answering(whole);
      const provider = ollamaAt(started.url + ending);
      expect(provider.unavailable).toBe('no Ollama has answered yet');

      await provider.detect(signal);
      const { choices } = await answerOf(provider, question(), { streaming: true });

      expect(provider.unavailable).toBeUndefined();
      expect(choices[0]?.message?.parts[0]?.kind.value).toBe('hello');
      expect(started.requests.map(({ path }) => path)).toEqual(['/api/version', '/api/chat']);
      expect(JSON.parse(started.requests[1]?.body ?? '')).toMatchObject({ model: 'm', stream: true });
    },
  );

  it('keeps a path and a query of its base URL', async () => {
    const started = await answering(whole);

    await answerOf(ollamaAt(`${started.url}/gpu?team=a`));

    expect(started.requests[0]?.path).toBe('/gpu/api/chat?team=a');
  });

  it('is not available where nobody or somebody else answers', async () => {
    const elsewhere = ollamaAt((await answering('', 404)).url);
    const nowhere = ollamaAt('http://127.0.0.1:1');

    await Promise.all([elsewhere.detect(signal), nowhere.detect(signal), nowhere.detect(AbortSignal.abort())]);

    expect(elsewhere.unavailable).toBe('Ollama answered with status 404');
    expect(nowhere.unavailable).toBe('no Ollama answers');
  });

  it('is its cloud where it has a key: shown to it, and not looked for', async () => {
    const started = await answering(whole);
    const provider = ollamaAt(started.url, { apiKeys: [secretKey] });

    await provider.detect(signal);
    await answerOf(provider);

    expect(provider.unavailable).toBeUndefined();
    expect(started.requests.map(({ path }) => path)).toEqual(['/api/chat']);
    expect(started.requests[0]?.headers.authorization).toBe(`Bearer ${secretKey}`);
  });

  it('shows no key where it has none, and says whose call it is', async () => {
    const started = await answering(whole);

    await answerOf(ollamaAt(started.url));

    expect(started.requests[0]?.headers).not.toHaveProperty('authorization');
    expect(started.requests[0]?.headers).toMatchObject({ 'x-request-id': 'r-1', 'content-type': 'application/json' });
  });

  it('asks nothing that it cannot take', async () => {
    const started = await answering(whole);

    const { error } = await eventsOf(ollamaAt(started.url).complete(question('hi', { n: 2 }), callOf()));

    expect(error).toMatchObject({ reason: 'invalid_request', provider: 'upstream' });
    expect(started.requests).toEqual([]);
  });

  it.each([
    [404, "model 'x' not found", 'provider_misconfigured'],
    [404, 'model "x" not found, try pulling it first', 'provider_misconfigured'],
    [400, 'registry.ollama.ai/library/gemma:2b does not support tools', 'provider_rejected'],
    [400, '"gemma" does not support thinking', 'provider_rejected'],
    [400, 'prompt too long; exceeded max context length by 12 tokens', 'context_length'],
    [400, 'the input length exceeds the context length', 'context_length'],
    [
      400,
      'the prompt is longer than the context length currently available to the model; shorten it',
      'context_length',
    ],
    [401, 'unauthorized', 'provider_misconfigured'],
    [403, 'ollama cloud is disabled: remote inference is unavailable', 'provider_misconfigured'],
    [429, 'too many concurrent requests', 'provider_rate_limited'],
    [499, 'request canceled', 'provider_unavailable'],
    [500, 'llama runner process has terminated: exit status 2', 'provider_unavailable'],
    [502, 'remote model is unavailable', 'provider_unavailable'],
    [503, 'server busy, please try again.  maximum pending requests exceeded', 'provider_unavailable'],
    [200, 'an error was encountered while running the model', 'provider_unavailable'],
    [200, 'prompt too long; exceeded max context length by 12 tokens', 'context_length'],
  ] as const)('answering %i "%s" fails with %s', async (status, message, reason) => {
    const started = await answering(JSON.stringify({ error: message }), status);

    for (const streaming of [true, false]) {
      const { error } = await eventsOf(ollamaAt(started.url).complete(question(), callOf({ streaming })));
      expect(error).toMatchObject({ reason, provider: 'upstream', providerStatus: status });
    }
  });

  it('tells what came before an error line, and then fails', async () => {
    const line = '{"model":"m","message":{"content":"Hel"},"done":false}\n';
    const started = await answering(`${line}{"error":"an error was encountered while running the model"}\n`);

    const { events, error } = await eventsOf(ollamaAt(started.url).complete(question(), callOf({ streaming: true })));

    expect(events.map(({ event }) => event.case)).toEqual(['started', 'textDelta']);
    expect(error).toMatchObject({ reason: 'provider_unavailable' });
  });

  it('closes the connection when the call is aborted before the first byte', async () => {
    const started = await upstream(() => {});
    const leaving = new AbortController();
    const gone = new Error('gone');
    const reading = eventsOf(
      ollamaAt(started.url).complete(question(), callOf({ streaming: true, signal: leaving.signal })),
    );
    await expect.poll(() => started.requests.length).toBe(1);

    leaving.abort(gone);

    expect((await reading).error).toBe(gone);
    await expect.poll(() => started.sockets.size).toBe(0);
  });
});

describe('the embeddings of ollama', () => {
  const inputs = ['a', 'b'].map((value) => ({ kind: { case: 'text' as const, value } }));

  it('are the vectors in the order of the inputs', async () => {
    const started = await answering(
      '{"model":"e:latest","embeddings":[[1,0.5],[-1,0]],"total_duration":5,"load_duration":1,"prompt_eval_count":9}',
    );

    const result = await vectorsOf(ollamaAt(started.url), { inputs, dimensions: 2 });

    expect(started.requests[0]).toMatchObject({
      path: '/api/embed',
      body: '{"model":"m","input":["a","b"],"dimensions":2}',
    });
    expect(result).toMatchObject({
      model: 'e:latest',
      embeddings: [
        { index: 0, values: [1, 0.5] },
        { index: 1, values: [-1, 0] },
      ],
      usage: { promptTokens: 9, completionTokens: 0, totalTokens: 9 },
      extraJson: { ollama: '{"total_duration":5,"load_duration":1}' },
    });
  });

  it('may count nothing', async () => {
    const started = await answering('{"embeddings":[[1],[2]]}');

    const result = await vectorsOf(ollamaAt(started.url), { inputs });

    expect([result.model, result.usage, result.extraJson]).toEqual(['m', undefined, {}]);
  });

  it.each([
    '{}',
    '[]',
    'x',
    '{"embeddings":[[1]]}',
    '{"embeddings":[[1],[]]}',
    '{"embeddings":[[1],["x"]]}',
    '{"embeddings":[[1],[1e300]]}',
  ])('are none of %s', async (body) => {
    const started = await answering(body);

    await expect(vectorsOf(ollamaAt(started.url), { inputs })).rejects.toMatchObject({ reason: 'provider_protocol' });
  });

  it.each([
    [400, 'the input length exceeds the context length', 'context_length'],
    [200, 'broken', 'provider_unavailable'],
  ] as const)('fail with %i %s', async (status, message, reason) => {
    const started = await answering(JSON.stringify({ error: message }), status);

    await expect(vectorsOf(ollamaAt(started.url), { inputs })).rejects.toMatchObject({ reason });
  });
});

describe('the models of ollama', () => {
  it('are those it has, by the names it takes', async () => {
    const models = [
      { name: 'llama3.2:latest', model: 'llama3.2:latest', modified_at: '2026-01-01T00:00:00Z', size: 1 },
      { name: 'old' },
      { size: 1 },
      null,
    ];
    const started = await answering(JSON.stringify({ models }));

    const listed = await ollamaAt(started.url).listModels(signal);

    expect(started.requests[0]).toMatchObject({ method: 'GET', path: '/api/tags' });
    expect(listed).toEqual([
      { id: 'llama3.2:latest', created: 1767225600 },
      { id: 'old', created: undefined },
    ]);
  });

  it.each(['{}', '[]', '{"models":null}', '<html>'])('are no list in %s', async (body) => {
    const started = await answering(body);

    await expect(ollamaAt(started.url).listModels(signal)).rejects.toMatchObject({ reason: 'provider_protocol' });
  });
});
