import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import type { EmbeddingRequest, EmbeddingResult } from '../../../gen/llmgateway/v1/embedding_service_pb.ts';
import { HealthStatus } from '../../../gen/llmgateway/v1/health_service_pb.ts';
import { CircuitState, type Model, type Provider } from '../../../gen/llmgateway/v1/provider_pb.ts';
import { sampleUsage, send, serve } from './serve.ts';

function model(id: string, more: Partial<Model> = {}): Model {
  return { $typeName: 'llmgateway.v1.Model', id, provider: 'groq', ownedBy: '', alias: false, ...more };
}

const models = [
  model('fast', { provider: '', alias: true }),
  model('openai/gpt-oss-120b', {
    ownedBy: 'OpenAI',
    createdAt: { $typeName: 'google.protobuf.Timestamp', seconds: 1_700_000_000n, nanos: 0 },
    contextWindow: 131072,
    maxOutputTokens: 65536,
    inputPrice: 0.15,
    capabilities: { $typeName: 'llmgateway.v1.ModelCapabilities', tools: true, vision: false },
  }),
];

describe('GET /v1/models', () => {
  const gateway = { listModels: async () => models };

  it("lists with OpenAI's four keys, and what is known beside them", async () => {
    const { json } = await send(await serve({ gateway }), '/v1/models');
    const unknown = {
      context_window: null,
      max_output_tokens: null,
      input_price: null,
      output_price: null,
      cached_input_price: null,
      cache_write_price: null,
      capabilities: { tools: null, vision: null, json_schema: null, reasoning: null },
      quality: null,
    };
    expect(json).toEqual({
      object: 'list',
      data: [
        { ...unknown, id: 'fast', object: 'model', created: 0, owned_by: 'llm-gateway', provider: null, alias: true },
        {
          ...unknown,
          id: 'openai/gpt-oss-120b',
          object: 'model',
          created: 1_700_000_000,
          owned_by: 'OpenAI',
          provider: 'groq',
          alias: false,
          context_window: 131072,
          max_output_tokens: 65536,
          input_price: 0.15,
          capabilities: { tools: true, vision: false, json_schema: null, reasoning: null },
        },
      ],
    });
  });

  it.each([
    '/v1/models/openai/gpt-oss-120b',
    '/v1/models/openai%2Fgpt-oss-120b',
    '/v1/models/openai/gpt-oss-120b/',
    '/v1/models/groq/openai/gpt-oss-120b',
  ])('finds one at %s', async (path) => {
    const { status, json } = await send(await serve({ gateway }), path);
    expect([status, json.id]).toEqual([200, 'openai/gpt-oss-120b']);
  });

  it('does not find what is not there, nor read what is no encoding', async () => {
    const missing = await send(await serve({ gateway }), '/v1/models/nope');
    expect(missing.status).toBe(404);
    expect(missing.json.error).toMatchObject({ code: 'model_not_found', param: 'model' });
    expect((await send(await serve({ gateway }), '/v1/models/%ff')).status).toBe(400);
  });
});

describe('POST /v1/embeddings', () => {
  const values = [0.1, -1.5, 1e-9, 0.123456789123];
  const asked: EmbeddingRequest[] = [];

  function embed(request: EmbeddingRequest): EmbeddingResult {
    asked.push(request);
    return {
      $typeName: 'llmgateway.v1.EmbeddingResult',
      id: 'embd-1',
      requestId: '',
      provider: 'groq',
      model: 'embed-1',
      cached: false,
      droppedFields: ['task'],
      embeddings: [{ $typeName: 'llmgateway.v1.Embedding', index: 0, values }],
      usage: { ...sampleUsage, completionTokens: 0, totalTokens: 3 },
      attempts: [],
      extraJson: {},
    };
  }

  it('answers with floats of nine digits', async () => {
    const { json, headers } = await send(await serve({ embed }), '/v1/embeddings', {
      body: { model: 'm', input: 'hi', encoding_format: 'float' },
    });
    expect(json).toEqual({
      object: 'list',
      data: [{ object: 'embedding', index: 0, embedding: [0.1, -1.5, 1e-9, 0.123456789] }],
      model: 'embed-1',
      usage: { prompt_tokens: 3, total_tokens: 3 },
    });
    expect(headers).toMatchObject({ 'x-selected-provider': 'groq', 'x-gateway-dropped-params': 'task' });
  });

  it('answers with the same numbers when they come again as the 32-bit floats that were kept', async () => {
    const kept = [...Float32Array.from([0.1, -1.5, 1e-9, 0.1234567, -0.0069292835])];
    const again = (request: EmbeddingRequest) => {
      const result = embed(request);
      return { ...result, embeddings: [{ $typeName: 'llmgateway.v1.Embedding' as const, index: 0, values: kept }] };
    };
    const { json } = await send(await serve({ embed: again }), '/v1/embeddings', { body: { model: 'm', input: 'hi' } });
    expect(json).toMatchObject({ data: [{ embedding: [0.1, -1.5, 1e-9, 0.1234567, -0.0069292835] }] });
  });

  it("answers OpenAI's SDK in base64, which it asks for itself", async () => {
    const { url } = await serve({ embed });
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
    const { data } = await client.embeddings.create({ model: 'm', input: 'hi' });
    expect(data[0]?.embedding.map((value) => Number(value.toPrecision(7)))).toEqual([0.1, -1.5, 1e-9, 0.1234568]);
  });

  it.each([
    ['a', [{ case: 'text', value: 'a' }]],
    [
      ['a', 'b'],
      [
        { case: 'text', value: 'a' },
        { case: 'text', value: 'b' },
      ],
    ],
    [[1, 2], [{ case: 'tokens', value: { ids: [1, 2] } }]],
    [
      [[1], [2]],
      [
        { case: 'tokens', value: { ids: [1] } },
        { case: 'tokens', value: { ids: [2] } },
      ],
    ],
    [[], []],
  ])('reads the input %j', async (input, kinds) => {
    asked.length = 0;
    await send(await serve({ embed }), '/v1/embeddings', { body: { input } });
    expect(asked[0]?.inputs.map(({ kind }) => kind)).toMatchObject(kinds);
  });

  it('takes its own fields and the options, and passes the others on', async () => {
    asked.length = 0;
    const body = { input: 'a', dimensions: 8, provider: 'p', timeout: 5, user: 'u', input_type: 'query', task: 't' };
    await send(await serve({ embed }), '/v1/embeddings', { body });
    expect(asked[0]).toMatchObject({
      dimensions: 8,
      task: 't',
      options: { provider: 'p', userId: 'u' },
      extraJson: { openai: '{"user":"u","input_type":"query"}' },
    });
  });

  it.each([
    ['input', { input: 5 }],
    ['input[1]', { input: ['a', 5] }],
    ['input[0][1]', { input: [[1, 'a']] }],
    ['input[1]', { input: [1, -2] }],
    ['encoding_format', { input: 'a', encoding_format: 'int8' }],
    ['dimensions', { input: 'a', dimensions: 0 }],
  ])('refuses a wrong %s', async (param, body) => {
    const { status, json } = await send(await serve({ embed }), '/v1/embeddings', { body });
    expect([status, json.error.param]).toEqual([400, param]);
  });

  it('does not take nothing for an answer', async () => {
    expect((await send(await serve(), '/v1/embeddings', { body: { input: 'a' } })).status).toBe(502);
  });
});

describe('GET /health and /providers', () => {
  const provider: Provider = {
    $typeName: 'llmgateway.v1.Provider',
    name: 'groq',
    kind: 'groq',
    defaultModel: 'm',
    status: {
      $typeName: 'llmgateway.v1.ProviderStatus',
      available: false,
      healthy: false,
      latency: { $typeName: 'google.protobuf.Duration', seconds: 0n, nanos: 12_000_000 },
      errorRate: 0.5,
      lastSuccessTime: { $typeName: 'google.protobuf.Timestamp', seconds: 1_800_000_000n, nanos: 500_000_000 },
      lastError: 'provider_unavailable',
      circuitState: CircuitState.HALF_OPEN,
      activeRequests: 1,
      queueLength: 0,
      unavailableReason: 'no answer',
      limitedFor: { $typeName: 'google.protobuf.Duration', seconds: 1n, nanos: 500_000_000 },
      lastProbeTime: { $typeName: 'google.protobuf.Timestamp', seconds: 1_800_000_000n, nanos: 0 },
      lastProbeError: 'provider_timeout',
    },
  };
  const shown = {
    groq: {
      available: false,
      healthy: false,
      latency_ms: 12,
      error_rate: 0.5,
      last_success: '2027-01-15T08:00:00.500Z',
      last_error: null,
      last_error_reason: 'provider_unavailable',
      circuit_breaker_open: false,
      circuit_breaker_state: 'half_open',
      active_requests: 1,
      queue_length: 0,
      rate_limit_remaining: null,
      limited_for: 1.5,
      last_probe: '2027-01-15T08:00:00.000Z',
      last_probe_error: 'provider_timeout',
      unavailable_reason: 'no answer',
      kind: 'groq',
      default_model: 'm',
    },
  };
  const gateway = {
    listProviders: () => [provider],
    getHealth: () => ({
      $typeName: 'llmgateway.v1.GetHealthResponse' as const,
      status: HealthStatus.UNHEALTHY,
      version: '0.1.0',
      uptime: { $typeName: 'google.protobuf.Duration' as const, seconds: 3n, nanos: 500_000_000 },
      activeProviders: ['groq'],
      totalRequests: 7,
      providers: [provider],
    }),
  };

  it('show each provider by its name', async () => {
    expect((await send(await serve({ gateway }), '/providers')).json).toEqual(shown);
  });

  it('say how the gateway does, with 200 even if no provider does', async () => {
    const { status, json } = await send(await serve({ gateway }), '/health');
    expect(status).toBe(200);
    expect(json).toEqual({
      status: 'unhealthy',
      version: '0.1.0',
      uptime_seconds: 3.5,
      active_providers: ['groq'],
      total_requests: 7,
      draining: false,
      providers: shown,
    });
  });
});
