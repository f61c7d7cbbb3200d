import pino from 'pino';
import { type Attempt, AttemptOutcome, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext } from '../../src/completion.ts';
import { Stop } from '../../src/stop.ts';
import type { Standing } from '../../src/store/store.ts';
import { type CacheResult, CallNotes } from '../../src/telemetry/call-notes.ts';
import { type EndedCall, outcomeOf, phasesOf } from '../../src/telemetry/ended-call.ts';
import { TargetNames } from '../../src/telemetry/target-names.ts';
import { durationOf } from '../../src/time.ts';

/** An attempt as a test tells it. */
export interface ToldAttempt {
  readonly target: string;
  readonly tookMs?: number;
  /** Why it failed; unset: it did not. */
  readonly reason?: string;
  readonly usage?: Usage;
  readonly hedged?: boolean;
  /** When contents came, in milliseconds from its begin. */
  readonly contentsMs?: readonly number[];
}

/** A call as a test tells it. */
export interface ToldCall extends Partial<Omit<EndedCall, 'attempts' | 'context'>> {
  readonly attempts?: readonly ToldAttempt[];
  readonly streaming?: boolean;
  readonly door?: string;
  readonly tier?: string;
  readonly key?: string;
  readonly requestId?: string;
  readonly cache?: CacheResult;
  readonly savedUsd?: number;
  readonly savedMs?: number;
  /** How its limits stood. */
  readonly limits?: readonly Standing[];
}

/** A call that is over. Unless it is told otherwise, the last attempt answered it. */
export function endedCall(told: ToldCall = {}): EndedCall {
  const {
    attempts = [],
    streaming = false,
    door = 'openai',
    tier = 'default',
    cache,
    savedUsd,
    savedMs,
    limits,
    ...rest
  } = told;
  const notes = new CallNotes(performance.now());
  notes.cache = cache;
  notes.savedUsd = savedUsd;
  notes.savedMs = savedMs;
  for (const attempt of attempts) noteAttempt(notes, attempt, streaming);
  const [provider, model] = (attempts.at(-1)?.target ?? '').split('/');
  const context: CallContext = {
    requestId: told.requestId ?? 'call-1',
    principal: { name: told.key ?? 'anonymous', tier, models: [], admin: false },
    address: '127.0.0.1',
    streaming,
    door,
    signal: new Stop(),
    deadline: Number.POSITIVE_INFINITY,
    ends: [],
    account: { tries: attempts.length, ...(limits && { limits }) },
    log: pino({ enabled: false }),
  };
  const call = {
    operation: 'chat' as const,
    context,
    asked: 'a-model',
    user: '',
    provider: provider || undefined,
    model: provider ? model : undefined,
    outcome: outcomeOf(told.reason),
    reason: undefined,
    failure: undefined,
    usage: undefined,
    costUsd: undefined,
    firstMs: undefined,
    free: cache === 'hit' || cache === 'shared',
    shared: cache === 'shared',
    durationMs: 100,
    attempts: notes.attempts.map(({ log }) => log),
    notes,
    ...rest,
  };
  return { phases: call.outcome === 'ok' ? phasesOf(call) : undefined, ...call };
}

function noteAttempt(notes: CallNotes, told: ToldAttempt, streaming: boolean): void {
  const [provider = '', model = ''] = told.target.split('/');
  const log: Attempt = {
    $typeName: 'llmgateway.v1.Attempt',
    provider,
    model,
    outcome: told.reason === undefined ? AttemptOutcome.SUCCEEDED : AttemptOutcome.FAILED,
    reason: told.reason ?? '',
    providerRequestId: '',
    duration: durationOf(told.tookMs ?? 50),
    ...(told.usage && { usage: told.usage }),
  };
  if (told.reason === 'cancelled') log.outcome = AttemptOutcome.CANCELLED;
  if (told.hedged) notes.hedged(log);
  const attempt = notes.attempt(log, streaming);
  for (const ms of told.contentsMs ?? []) attempt.content(attempt.beganAt + ms);
  attempt.end(undefined);
}

/** Token counts as a provider tells them. */
export function usageOf(promptTokens: number, completionTokens: number, more: Partial<Usage> = {}): Usage {
  const totalTokens = promptTokens + completionTokens;
  return { $typeName: 'llmgateway.v1.Usage', promptTokens, completionTokens, totalTokens, estimated: false, ...more };
}

/** Names of three providers, of which models that begin with `m` are known. */
export function targetNames(): TargetNames {
  const near = { address: '127.0.0.1', port: 9, origin: 'http://127.0.0.1:9', tracePropagated: true };
  const providers = new Map([
    ['groq', { system: 'groq', ...near }],
    ['gemini', { system: 'gcp.gemini', ...near }],
    ['mine', { system: 'mine', ...near }],
  ]);
  const names = new TargetNames();
  names.configure(providers, (_provider, model) => model.startsWith('m'), new Set(['team', 'anonymous']));
  return names;
}
