import { create } from '@bufbuild/protobuf';
import { Code, type ConnectError } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { afterEach, describe, expect, it } from 'vitest';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from '../../gen/google/rpc/error_details_pb.ts';
import {
  AttemptOutcome,
  AttemptSchema,
  CallFailureSchema,
  type CompletionEvent,
  FinishReason,
  Role,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';
import { EmbeddingResultSchema, EmbeddingService } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { HealthService, HealthStatus } from '../../gen/llmgateway/v1/health_service_pb.ts';
import { ProviderService } from '../../gen/llmgateway/v1/provider_service_pb.ts';
import {
  choiceFinished,
  finished,
  heartbeat,
  reasoningDelta,
  started,
  textDelta,
  toolCallDelta,
} from '../../src/completion.ts';
import { GatewayError, type GatewayErrorOptions, type Reason } from '../../src/errors.ts';
import type { Gateway } from '../../src/gateway.ts';
import type { Server } from '../../src/transport/server.ts';
import { anybody, clientOf, protocols, type Seen, scriptedGateway, serveGateway } from './scripted-gateway.ts';

const open: Server[] = [];
afterEach(() => Promise.all(open.splice(0).map((server) => server.close())));

async function serve(...options: Parameters<typeof serveGateway>) {
  const served = await serveGateway(...options);
  open.push(served.server);
  return served;
}

const attempt = create(AttemptSchema, { provider: 'first', model: 'small', outcome: AttemptOutcome.SUCCEEDED });

/** An answer with something of everything that the unary rpc repeats. */
const events: CompletionEvent[] = [
  started('small', { id: 'chatcmpl-1', requestId: 'r-1', provider: 'first', droppedFields: ['seed', 'top_k'] }),
  reasoningDelta(0, 0, 'Let me '),
  reasoningDelta(0, 0, 'think.'),
  textDelta(0, 1, 'Hel'),
  textDelta(0, 1, 'lo'),
  toolCallDelta(0, 2, '{"city":', { id: 'call-1', name: 'weather' }),
  toolCallDelta(0, 2, '"Oslo"}'),
  choiceFinished(0, FinishReason.TOOL_CALLS, 'tool_calls'),
  finished(undefined, { attempts: [attempt] }),
];

function answering(script: readonly CompletionEvent[] = events): Gateway & { seen: Seen[] } {
  const seen: Seen[] = [];
  const complete: Gateway['complete'] = async function* (request, context) {
    seen.push({ request, context });
    yield* script;
  };
  return { ...scriptedGateway({ complete }), seen };
}

function failing(reason: Reason, message: string, options: GatewayErrorOptions = {}, attempts = [attempt]): Gateway {
  return scriptedGateway({
    // biome-ignore lint/correctness/useYield: it fails before it yields
    async *complete() {
      const error = new GatewayError(reason, message, options);
      error.attempts = attempts;
      throw error;
    },
  });
}

const question = {
  request: { messages: [{ role: Role.USER, parts: [{ kind: { case: 'text' as const, value: 'Hi' } }] }] },
};

async function errorOf(call: Promise<unknown> | AsyncIterable<unknown>): Promise<ConnectError> {
  try {
    if (Symbol.asyncIterator in call) for await (const _ of call);
    else await call;
  } catch (error) {
    return error as ConnectError;
  }
  throw new Error('the call did not fail');
}

describe.each(protocols)('completions by %s', (_name, transportTo) => {
  it('come whole, with the words of the first choice beside', async () => {
    const { base } = await serve(answering());
    let headers: Headers | undefined;

    const { completion, ...rest } = await clientOf(CompletionService, transportTo(base)).createCompletion(question, {
      onHeader: (got) => {
        headers = got;
      },
    });

    expect(completion?.id).toBe('chatcmpl-1');
    expect(completion?.choices[0]?.finishReason).toBe(FinishReason.TOOL_CALLS);
    expect(completion?.attempts).toHaveLength(1);
    expect(rest).toMatchObject({
      outputText: 'Hello',
      reasoningText: 'Let me think.',
      toolCalls: [{ id: 'call-1', name: 'weather', arguments: '{"city":"Oslo"}' }],
    });
    expect(headers?.get('x-selected-provider')).toBe('first');
    expect(headers?.get('x-gateway-attempts')).toBe('1');
    expect(headers?.get('x-gateway-dropped-params')).toBe('seed, top_k');
    expect(headers?.get('x-request-id')).toMatch(/^[\w-]{36}$/);
  });

  it('come event by event', async () => {
    const { base } = await serve(answering());
    let headers: Headers | undefined;
    let trailers: Headers | undefined;
    const got: (CompletionEvent | undefined)[] = [];

    const stream = clientOf(CompletionService, transportTo(base)).streamCompletion(question, {
      onHeader: (value) => {
        headers = value;
      },
      onTrailer: (value) => {
        trailers = value;
      },
    });
    for await (const { event } of stream) got.push(event);

    expect(got.map((event) => event?.event.case)).toEqual(events.map(({ event }) => event.case));
    expect(headers?.get('x-selected-provider')).toBe('first');
    expect(headers?.get('x-request-id')).toMatch(/^[\w-]{36}$/);
    expect(trailers?.get('x-gateway-attempts')).toBe('1');
  });

  it('fail with code, details and metadata', async () => {
    const gateway = failing('rate_limited', 'no more than 3 calls a minute', {
      retryAfterMs: 1_500.123_456_7,
      provider: 'first',
    });
    const { base } = await serve(gateway);
    const client = clientOf(CompletionService, transportTo(base));
    const headers = { 'x-request-id': 'mine-1' };

    for (const call of [
      client.createCompletion(question, { headers }),
      client.streamCompletion(question, { headers }),
    ]) {
      const error = await errorOf(call);

      expect(error.code).toBe(Code.ResourceExhausted);
      expect(error.rawMessage).toBe('no more than 3 calls a minute');
      expect(error.findDetails(ErrorInfoSchema)).toMatchObject([
        { reason: 'RATE_LIMITED', domain: 'llmgateway.v1', metadata: { provider: 'first' } },
      ]);
      expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 1n, nanos: 500_123_457 } }]);
      expect(error.findDetails(RequestInfoSchema)).toMatchObject([{ requestId: 'mine-1' }]);
      expect(error.findDetails(QuotaFailureSchema)).toMatchObject([{ violations: [{ subject: 'key:anonymous' }] }]);
      expect(error.findDetails(CallFailureSchema)).toMatchObject([
        { reason: 'rate_limited', requestId: 'mine-1', attempts: [{ provider: 'first' }] },
      ]);
      expect(error.metadata.get('retry-after')).toBe('2');
      expect(error.metadata.get('x-gateway-attempts')).toBe('1');
    }
  });

  it('fail in the middle of a stream, after what came before', async () => {
    const complete: Gateway['complete'] = async function* () {
      yield* events.slice(0, 4);
      throw new GatewayError('provider_protocol', 'the answer was cut', { provider: 'first' });
    };
    const { base } = await serve(scriptedGateway({ complete }));
    const got: unknown[] = [];

    const error = await errorOf(
      (async () => {
        for await (const { event } of clientOf(CompletionService, transportTo(base)).streamCompletion(question)) {
          got.push(event);
        }
      })(),
    );

    expect(got).toHaveLength(4);
    expect(error.code).toBe(Code.Unavailable);
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: 'PROVIDER_PROTOCOL' }]);
  });

  it('carry the id, the deadline and the door of the call', async () => {
    const gateway = answering();
    const { base } = await serve(gateway);
    const client = clientOf(CompletionService, transportTo(base));

    await client.createCompletion(question, { headers: { 'x-request-id': 'from-header' }, timeoutMs: 5_000 });
    const inBody = { request: { ...question.request, options: { requestId: 'from-body' } } };
    let answered: string | null = null;
    await client.createCompletion(inBody, {
      onHeader: (got) => {
        answered = got.get('x-request-id');
      },
    });
    await client.createCompletion(inBody, { headers: { 'x-request-id': 'both' } });
    await client.createCompletion(question, { headers: { 'x-request-id': 'not well formed' } });

    const [first, second, third, fourth] = gateway.seen.map(({ context }) => context);
    expect(first?.requestId).toBe('from-header');
    expect(first && first.deadline - performance.now()).toBeLessThanOrEqual(5_000);
    expect(first?.door).toBe(_name.toLowerCase().split(' ')[0]);
    expect(first?.streaming).toBe(false);
    expect(second?.requestId).toBe('from-body');
    expect(second?.deadline).toBe(Number.POSITIVE_INFINITY);
    expect(answered).toBe('from-body');
    expect(third?.requestId).toBe('both');
    expect(fourth?.requestId).toMatch(/^[\w-]{36}$/);
  });

  it('need a key where keys are configured, and get no further without', async () => {
    const gateway = answering();
    const { base } = await serve(gateway, {
      authenticate: (header) => {
        if (header('authorization') === 'Bearer right') return { ...anybody, name: 'team' };
        throw new GatewayError('unauthenticated', 'a key is needed');
      },
    });
    const client = clientOf(CompletionService, transportTo(base));

    for (const call of [client.createCompletion(question), client.streamCompletion(question)]) {
      const error = await errorOf(call);
      expect(error.code).toBe(Code.Unauthenticated);
      expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: 'UNAUTHENTICATED' }]);
    }
    expect((await errorOf(clientOf(ProviderService, transportTo(base)).listProviders({}))).code).toBe(
      Code.Unauthenticated,
    );
    expect(gateway.seen).toHaveLength(0);
    await client.createCompletion(question, { headers: { authorization: 'Bearer right' } });
    expect(gateway.seen[0]?.context.principal.name).toBe('team');
    expect((await clientOf(HealthService, transportTo(base)).getHealth({})).status).toBe(HealthStatus.HEALTHY);
  });

  it('refuse messages above the limit', async () => {
    const { base } = await serve(answering(), { bodyLimitBytes: 10_000 });
    const long = { request: { model: 'x'.repeat(20_000) } };
    const client = clientOf(CompletionService, transportTo(base));

    for (const call of [client.createCompletion(long), client.streamCompletion(long)]) {
      const error = await errorOf(call);
      expect(error.code).toBe(Code.ResourceExhausted);
      expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: 'REQUEST_TOO_LARGE' }]);
    }
    expect((await client.createCompletion(question)).outputText).toBe('Hello');
  });

  it('name wrong fields from the message of the rpc on', async () => {
    const violations = [{ field: 'messages[2].role', description: 'must not be 0' }];
    const { base } = await serve(failing('invalid_request', 'messages[2].role: must not be 0', { violations }));

    const error = await errorOf(clientOf(CompletionService, transportTo(base)).createCompletion(question));

    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.findDetails(BadRequestSchema)).toMatchObject([
      { fieldViolations: [{ field: 'request.messages[2].role', description: 'must not be 0' }] },
    ]);
  });

  it('tell nothing of a bug', async () => {
    const complete: Gateway['complete'] = () => {
      throw new TypeError('secret internals');
    };
    const { base } = await serve(scriptedGateway({ complete }));

    const error = await errorOf(clientOf(CompletionService, transportTo(base)).createCompletion(question));

    expect(error.code).toBe(Code.Internal);
    expect(error.rawMessage).toBe('internal error');
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: 'INTERNAL' }]);
  });

  it('send heartbeats before anybody answers', async () => {
    const { base } = await serve(answering([heartbeat, ...events]));
    let headers: Headers | undefined;
    const got: unknown[] = [];

    const stream = clientOf(CompletionService, transportTo(base)).streamCompletion(question, {
      onHeader: (value) => {
        headers = value;
      },
    });
    for await (const { event } of stream) got.push(event?.event.case);

    expect(got.slice(0, 2)).toEqual(['heartbeat', 'started']);
    expect(headers?.has('x-selected-provider')).toBe(false);
  });

  it('carry embeddings', async () => {
    const embed: Gateway['embed'] = async function* () {
      yield create(EmbeddingResultSchema, {
        provider: 'first',
        attempts: [attempt],
        embeddings: [{ values: [0.5, 0.25] }],
      });
    };
    const { base } = await serve(scriptedGateway({ embed }));
    const inputs = [{ kind: { case: 'text' as const, value: 'Hi' } }];

    const { result } = await clientOf(EmbeddingService, transportTo(base)).createEmbeddings({ request: { inputs } });

    expect(result?.embeddings[0]?.values).toEqual([0.5, 0.25]);
  });

  it('list providers and models', async () => {
    const { base } = await serve(scriptedGateway());
    const client = clientOf(ProviderService, transportTo(base));

    expect((await client.listProviders({})).providers.map(({ name }) => name)).toEqual(['first', 'second']);
    expect((await client.getProvider({ name: 'second' })).provider?.name).toBe('second');
    expect((await errorOf(client.getProvider({ name: 'third' }))).code).toBe(Code.NotFound);
    expect((await errorOf(client.getProvider({}))).code).toBe(Code.InvalidArgument);
    expect((await client.listModels({})).models.map(({ id }) => id)).toEqual(['fast', 'small', 'large']);
    expect((await client.listModels({ provider: 'second' })).models.map(({ id }) => id)).toEqual(['large']);
    expect((await errorOf(client.listModels({ provider: 'third' }))).code).toBe(Code.NotFound);
  });
});

describe('Connect', () => {
  it('takes GET for rpcs without side effects, in JSON and binary', async () => {
    const { base } = await serve(scriptedGateway());

    for (const useBinaryFormat of [false, true]) {
      const methods: string[] = [];
      const transport = createConnectTransport({
        baseUrl: base,
        httpVersion: '1.1',
        useHttpGet: true,
        useBinaryFormat,
        interceptors: [
          (next) => async (request) => {
            const response = await next(request);
            methods.push(request.requestMethod);
            return response;
          },
        ],
      });
      const { provider } = await clientOf(ProviderService, transport).getProvider({ name: 'first' });
      expect(provider?.name).toBe('first');
    }
    const answer = await fetch(`${base}/llmgateway.v1.HealthService/GetHealth?encoding=json&message={}`);
    expect(await answer.json()).toEqual({ status: 'HEALTH_STATUS_HEALTHY', version: '1.2.3' });
  });
});
