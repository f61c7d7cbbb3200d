import { create } from '@bufbuild/protobuf';
import { pino } from 'pino';
import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionRequestSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Provider, ProviderCall } from '../../src/providers/provider.ts';
import type { Target } from '../../src/providers/target.ts';
import type { StopSignal } from '../../src/stop.ts';

/** A step of a scripted answer: an event, a failure, or waiting until the attempt is aborted. */
export type Step = CompletionEvent | GatewayError | 'hang';

/** A provider that answers as scripted, and tells how often it was asked and closed. */
export function scripted(name: string, steps: readonly Step[]): Provider & { asked: number; closed: number } {
  const provider = {
    name,
    kind: 'scripted',
    defaultModel: `${name}-model`,
    unavailable: undefined,
    asked: 0,
    closed: 0,
    async *complete(_request: CompletionRequest, call: ProviderCall) {
      provider.asked++;
      try {
        for (const step of steps) {
          if (step instanceof GatewayError) throw step;
          if (step === 'hang') await aborted(call.signal);
          else yield structuredClone(step);
        }
      } finally {
        provider.closed++;
      }
    },
    async *embed() {},
    listModels: async () => [],
    close: async () => {},
  };
  return provider;
}

/** Never resolves; rejects with the signal's reason, as adapters do. */
export function aborted(signal: StopSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}

export function targetOf(provider: Provider, more: Partial<Target> = {}): Target {
  return {
    provider,
    model: provider.defaultModel,
    priceOf: () => undefined,
    contextWindow: undefined,
    listed: true,
    limits: { unaryMs: 60_000, firstTokenMs: 30_000, idleMs: 30_000 },
    ...more,
  };
}

export function contextOf(more: Partial<CallContext> = {}): CallContext {
  return {
    requestId: 'call-1',
    principal: { name: 'tester', tier: 'default', models: [], admin: false },
    streaming: true,
    door: 'grpc',
    signal: new AbortController().signal,
    deadline: Number.POSITIVE_INFINITY,
    ends: [],
    log: pino({ level: 'silent' }),
    ...more,
  };
}

export function requestOf(text = 'hello'): CompletionRequest {
  return create(CompletionRequestSchema, {
    messages: [{ role: Role.USER, parts: [{ kind: { case: 'text', value: text } }] }],
  });
}
