import { type Attempt, AttemptOutcome, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext } from '../completion.ts';
import { errorTable, type GatewayError, type Reason } from '../errors.ts';
import type { CallNotes } from './call-notes.ts';
import type { Outcome } from './tally.ts';

/** Which of the two things that callers ask for, in the word of OpenTelemetry's conventions. */
export type OperationName = 'chat' | 'embeddings';

/** A call that is over, as the log, the metrics and the list of calls are told of it. */
export interface EndedCall {
  readonly operation: OperationName;
  readonly context: CallContext;
  /** The caller's word for the model. */
  readonly asked: string;
  /** For whom the caller says that it is. */
  readonly user: string;
  /** Who answered; undefined: nobody. */
  readonly provider: string | undefined;
  readonly model: string | undefined;
  readonly outcome: Outcome;
  readonly reason: Reason | undefined;
  readonly failure: GatewayError | undefined;
  readonly usage: Usage | undefined;
  /** What it cost the caller, in USD; undefined: unknown. */
  readonly costUsd: number | undefined;
  /** Whether it cost nothing, since the answer was there already or somebody else pays for it. */
  readonly free: boolean;
  /** Whether its answer was brought for another call. */
  readonly shared: boolean;
  /** From its arrival to its first event, in milliseconds. */
  readonly firstMs: number | undefined;
  readonly durationMs: number;
  /** What the time of an answered call went into; undefined: nobody answered. */
  readonly phases: Phases | undefined;
  readonly attempts: readonly Attempt[];
  readonly notes: CallNotes;
  /** What was said, where that is configured to be kept. */
  readonly content?: { readonly prompt: string; readonly answer: string } | undefined;
}

/** Takes calls as they end. */
export type CallSink = (call: EndedCall) => void;

/** Who is to blame for a failure: see Outcome. */
export function outcomeOf(reason: Reason | undefined): Outcome {
  if (reason === undefined) return 'ok';
  if (reason === 'cancelled') return 'cancelled';
  const { httpStatus, elsewhere } = errorTable[reason];
  return httpStatus < 500 && elsewhere !== 'yes' ? 'refused' : 'error';
}

/** How an attempt ended, in the same words. */
export function outcomeOfAttempt({ outcome, reason }: Attempt): Outcome {
  if (outcome === AttemptOutcome.SUCCEEDED) return 'ok';
  if (outcome === AttemptOutcome.FAILED && reason in errorTable) return outcomeOf(reason as Reason);
  return 'cancelled';
}

/**
 * What the time of a call can go into, by its name in the log and in metrics.
 *
 * - `auth`: to learn who calls. `read`: to read and understand the request. `queue`: to get a place. `route`: to find the targets.
 *   `cache`: to ask the response cache.
 * - `retry`: attempts that failed before the one that answered, and waits between them.
 * - `connect`: to a connection that carries the request. `first_token`: from there to the first content; of a whole answer, to
 *   all of it. `stream`: the rest of the content.
 * - `overhead`: what is left.
 */
export const phaseNames = [
  'auth',
  'read',
  'queue',
  'route',
  'cache',
  'retry',
  'connect',
  'first_token',
  'stream',
  'overhead',
] as const;

/** What the time of an answered call went into, in milliseconds. */
export interface Phases {
  /** In the order of `phaseNames`. */
  readonly each: readonly number[];
  /** What the gateway itself took of it. */
  readonly own: number;
}

/** Split the time of a call that was answered. Where somebody else's answer was shared, its provider was waited for all the same. */
export function phasesOf(call: Pick<EndedCall, 'notes' | 'durationMs' | 'firstMs' | 'shared'>): Phases {
  const { notes, durationMs, firstMs = durationMs } = call;
  const { authMs: auth, readMs: read, queueMs: queue, routeMs: route, cacheMs: cache, attempts } = notes;
  const answering = attempts.findLast((attempt) => attempt.succeeded);
  const began = attempts[0]?.beganAt ?? 0;
  let [retry, connect, firstToken, stream] = [0, 0, 0, 0];
  if (call.shared) {
    firstToken = Math.max(0, firstMs - (auth + read + queue + route + cache));
    stream = durationMs - firstMs;
  } else if (answering) {
    const { beganAt, sentAt = beganAt, firstContentAt = sentAt, endedAt = firstContentAt } = answering;
    retry = beganAt - began;
    connect = sentAt - beganAt;
    firstToken = firstContentAt - sentAt;
    stream = endedAt - firstContentAt;
  }
  const known = auth + read + queue + route + cache + retry + connect + firstToken + stream;
  const overhead = Math.max(0, durationMs - known);
  const each = [auth, read, queue, route, cache, retry, connect, firstToken, stream, overhead];
  return { each, own: auth + read + route + cache + overhead };
}
