import { create } from '@bufbuild/protobuf';
import { pino } from 'pino';
import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionRequestSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { BreakerSettings } from '../../src/attempt/circuit-breaker.ts';
import { Guards } from '../../src/attempt/guards.ts';
import { noLimits, type ProviderLimits } from '../../src/attempt/provider-guard.ts';
import type { CallContext } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Provider, ProviderCall } from '../../src/providers/provider.ts';
import type { Target } from '../../src/providers/target.ts';
import { Observations } from '../../src/routing/observations.ts';
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
    maxOutputTokens: undefined,
    capabilities: undefined,
    quality: undefined,
    weight: 1,
    limits: { unaryMs: 60_000, firstTokenMs: 30_000, idleMs: 30_000, slowFirstTokenMs: 15_000, slowUnaryMs: 30_000 },
    ...more,
  };
}

/** Guards that let everything pass until ten calls have failed, as the defaults have it. */
export function guardsFor(
  observations = new Observations(),
  breaker: Partial<BreakerSettings> = {},
  limits: ProviderLimits = noLimits,
): Guards {
  const settings = {
    windowMs: 30_000,
    minCalls: 10,
    failureRatio: 0.5,
    slowCallRatio: 0.8,
    openForMs: 5_000,
    maxOpenForMs: 120_000,
    halfOpenCalls: 3,
    trialMs: 60_000,
    ...breaker,
  };
  return new Guards({
    settings: { breaker: settings, budgetRatio: 0.2 },
    limitsOf: () => limits,
    recordOf: (provider, model) => observations.attemptsAt(provider, model),
    clock: { now: () => performance.now(), wall: Date.now, random: () => 0.5 },
  });
}

export function contextOf(more: Partial<CallContext> = {}): CallContext {
  return {
    requestId: 'call-1',
    principal: { name: 'tester', tier: 'default', models: [], admin: false },
    streaming: true,
    door: 'grpc',
    signal: new AbortController().signal,
    deadline: Number.POSITIVE_INFINITY,
    address: '127.0.0.1',
    ends: [],
    account: { tries: 0 },
    log: pino({ level: 'silent' }),
    ...more,
  };
}

export function requestOf(text = 'hello'): CompletionRequest {
  return create(CompletionRequestSchema, {
    messages: [{ role: Role.USER, parts: [{ kind: { case: 'text', value: text } }] }],
  });
}
