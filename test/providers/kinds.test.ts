import { describe, expect, it, onTestFinished } from 'vitest';
import { Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { createProvider } from '../../src/providers/registry.ts';
import { answerOf, providerAt, question, startUpstream, type Upstream, vectorsOf } from './support.ts';

const whole = '{"model":"m","choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}]}';

async function upstream(handler: Parameters<typeof startUpstream>[0]): Promise<Upstream> {
  const started = await startUpstream(handler);
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

const answering = () => upstream((_, response) => response.end(whole));

describe('groq', () => {
  it('names its limit, sends reasoning back in its own word, and leaves names out', async () => {
    const started = await answering();
    const provider = providerAt(`${started.url}/openai/v1`, { kind: 'groq' });
    const turns = [
      { role: Role.USER, name: 'ann', parts: [{ kind: { case: 'text', value: 'hi' } }] },
      {
        role: Role.ASSISTANT,
        parts: [{ kind: { case: 'reasoning', value: 'hm' }, extraJson: { openai: '{"channel":"analysis"}' } }],
      },
    ];

    await answerOf(provider, question('', { messages: turns, maxOutputTokens: 9 } as never));

    expect(JSON.parse(started.requests[0]?.body ?? '')).toEqual({
      model: 'm',
      messages: [
        { role: 'user', content: 'hi' },
        { role: 'assistant', content: '', reasoning: 'hm' },
      ],
      max_completion_tokens: 9,
    });
  });

  it.each([{ logprobs: true }, { logitBias: { '1': 1 } }, { n: 2 }, { topK: 3 }])(
    'refuses %j before anything is sent',
    async (fields) => {
      const started = await answering();
      const provider = providerAt(started.url, { kind: 'groq' });

      await expect(answerOf(provider, question('hi', fields))).rejects.toMatchObject({
        reason: 'invalid_request',
        provider: 'upstream',
      });
      expect(started.requests).toEqual([]);
    },
  );

  it('leaves them out, and says so, where it is configured to drop', async () => {
    const started = await answering();
    const provider = providerAt(started.url, { kind: 'groq', dropUnsupported: 'drop' });

    expect((await answerOf(provider, question('hi', { logprobs: true, n: 2 }))).droppedFields).toEqual([
      'n',
      'logprobs',
    ]);
  });

  it('has no embeddings', async () => {
    const provider = providerAt('http://127.0.0.1:1', { kind: 'groq' });
    const inputs = [{ kind: { case: 'text' as const, value: 'a' } }];

    await expect(vectorsOf(provider, { inputs })).rejects.toMatchObject({ reason: 'provider_rejected' });
  });
});

describe('github_models', () => {
  it('asks in its own format', async () => {
    const started = await upstream((request, response) =>
      response.end(
        request.url?.endsWith('/catalog/models')
          ? '[{"id":"openai/gpt-4.1-mini","limits":{"max_input_tokens":8000}}]'
          : whole,
      ),
    );
    const provider = providerAt(`${started.url}/orgs/acme/inference/`, { kind: 'github_models' });

    await answerOf(provider, question('hi', { maxOutputTokens: 9, serviceTier: 'flex' }));
    const models = await provider.listModels(new AbortController().signal);

    expect(started.requests.map(({ path }) => path)).toEqual([
      '/orgs/acme/inference/chat/completions',
      '/catalog/models',
    ]);
    expect(started.requests[0]?.headers).toMatchObject({
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
    });
    expect(JSON.parse(started.requests[0]?.body ?? '')).toEqual({
      model: 'm',
      messages: [{ role: 'user', content: 'hi' }],
      max_tokens: 9,
    });
    expect(models).toMatchObject([{ id: 'openai/gpt-4.1-mini', contextWindow: 8000 }]);
  });

  it('takes itself out once the retired service has answered', async () => {
    const body =
      '{"error":{"message":"GitHub Models is temporarily unavailable as part of a scheduled retirement brownout."}}';
    const started = await upstream((_, response) => response.writeHead(410).end(body));
    const provider = providerAt(`${started.url}/inference`, { kind: 'github_models' });
    expect(provider.unavailable).toBeUndefined();

    await expect(answerOf(provider)).rejects.toMatchObject({ reason: 'provider_misconfigured', providerStatus: 410 });

    expect(provider.unavailable).toMatch(/shut down on 2026-07-30/);
  });
});

describe('createProvider', () => {
  it.each([
    ['groq', 'openai/gpt-oss-120b'],
    ['github_models', 'openai/gpt-4.1-mini'],
    ['ollama', 'llama3.2'],
    ['demo', 'demo-1'],
    ['gemini', 'gemini-3.5-flash-lite'],
    ['anthropic', ''],
  ] as const)('knows %s and its default model', (kind, model) => {
    const provider = createProvider({ name: 'p', kind });

    expect([provider.name, provider.kind, provider.defaultModel]).toEqual(['p', kind, model]);
    expect(createProvider({ name: 'p', kind, defaultModel: 'mine' }).defaultModel).toBe('mine');
  });
});
