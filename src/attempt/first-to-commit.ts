import { randomBytes } from 'node:crypto';
import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext, Completer } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { costOf, type Target } from '../providers/target.ts';
import { timestampOf } from '../time.ts';
import { type AttemptRecord, attempt } from './attempt.ts';
import type { Operation } from './operation.ts';

/** What the loop over targets needs to know of the rest. */
export interface FirstToCommitOptions<Request> {
  /** The targets to try, in order; throws if there is none. */
  readonly targetsFor: (request: Request, context: CallContext) => Promise<readonly Target[]> | readonly Target[];
  readonly recordOf: (provider: string) => AttemptRecord;
}

/**
 * Ask one target after the other until one commits; then the answer, and any failure, is that target's.
 *
 * - Until the commit nothing is passed on, so that a failed target leaves no trace in the answer and the status is still open.
 * - Which failures may be tried elsewhere is in the error table. A failure that may not is the caller's at once.
 * - When all fail, the first cause is the error, with every attempt and the soonest hope.
 */
export function firstToCommit<Request, Event>(
  operation: Operation<Request, Event>,
  { targetsFor, recordOf }: FirstToCommitOptions<Request>,
): Completer<Request, Event> {
  return async function* tryInOrder(request, context) {
    const began = performance.now();
    const attempts: Attempt[] = [];
    const found = targetsFor(request, context);
    const targets = found instanceof Promise ? await found : found;
    let firstFailure: GatewayError | undefined;
    let soonestMs = Number.POSITIVE_INFINITY;
    let refusedWindow: number | undefined;
    for (const target of targets) {
      if (refusedWindow !== undefined && !isLarger(target.contextWindow, refusedWindow)) continue;
      const log = openLog(target);
      attempts.push(log);
      const held: Event[] = [];
      let committed = false;
      let answered = target.model;
      try {
        for await (const event of attempt(operation, target, request, context, recordOf(target.provider.name), log)) {
          if (operation.isFirst(event)) answered = begin(operation, event, target, context);
          if (operation.isLast(event)) {
            const cost = costOf(operation.usageOf(event), target.priceOf(answered));
            operation.end(event, { cost, attempts, durationMs: performance.now() - began });
          }
          if (committed) {
            yield event;
            continue;
          }
          committed = operation.commits(event);
          if (committed || !operation.isEmpty(event, held)) held.push(event);
          if (committed) yield* held.splice(0);
        }
        return;
      } catch (cause) {
        const error = judge(GatewayError.from(cause), target);
        firstFailure ??= error;
        soonestMs = Math.min(soonestMs, error.retryAfterMs ?? Number.POSITIVE_INFINITY);
        if (committed || error.row.elsewhere === 'no') throw withAttempts(error, attempts);
        refusedWindow = error.reason === 'context_length' ? (target.contextWindow ?? 0) : undefined;
      }
    }
    const failure = firstFailure ?? new GatewayError('no_provider_available', 'no target is left');
    if (Number.isFinite(soonestMs)) failure.retryAfterMs = soonestMs;
    throw withAttempts(failure, attempts);
  };
}

/** A 404 for a model that only the caller names is the caller's mistake; for one that is configured it is ours. */
function judge(error: GatewayError, { provider, model, listed }: Target): GatewayError {
  if (listed || error.reason !== 'provider_misconfigured' || error.providerStatus !== 404) return error;
  const message = `${provider.name} has no model "${model}"`;
  return new GatewayError('model_not_found', message, {
    provider: provider.name,
    violations: [{ field: 'model', description: message }],
    cause: error,
  });
}

/** An unknown window may be large enough. */
function isLarger(window: number | undefined, refused: number): boolean {
  return window === undefined || window > refused;
}

function withAttempts(error: GatewayError, attempts: readonly Attempt[]): GatewayError {
  error.attempts = attempts;
  return error;
}

/** Complete the first event; tells which model answers. */
function begin<Request, Event>(
  operation: Operation<Request, Event>,
  event: Event,
  target: Target,
  context: CallContext,
): string {
  return operation.begin(event, {
    id: operation.idPrefix + newId(),
    requestId: context.requestId,
    provider: target.provider.name,
    model: target.model,
    createdAt: timestampOf(Date.now()),
  });
}

function openLog({ provider, model }: Target): Attempt {
  return {
    $typeName: 'llmgateway.v1.Attempt',
    provider: provider.name,
    model,
    outcome: AttemptOutcome.UNSPECIFIED,
    reason: '',
    providerRequestId: '',
  };
}

const ID_BYTES = 16;
let pool = Buffer.alloc(0);
let used = 0;

/** 128 random bits in hexadecimal. They are drawn for many ids at once: alone each would cost as much as a layer. */
function newId(): string {
  if (used === pool.length) {
    pool = randomBytes(ID_BYTES * 256);
    used = 0;
  }
  used += ID_BYTES;
  return pool.toString('hex', used - ID_BYTES, used);
}
