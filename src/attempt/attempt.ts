import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { Target } from '../providers/target.ts';
import { Stop } from '../stop.ts';
import { durationOf } from '../time.ts';
import type { Operation } from './operation.ts';
import type { Seat } from './target-guard.ts';
import { Watchdog } from './timeout.ts';

/**
 * One attempt at one target, with all its guards: time limits, the caller's leaving, and an account of how it ended.
 *
 * The account is `log`, filled in as the attempt goes, and `seat`, which is ended with it. Throws GatewayErrors only; the caller's
 * leaving and the call's deadline come out as the context's own reason and speak against nobody. `capMs` bounds the wait for the
 * first content, so that time is left for somebody else.
 */
export async function* attempt<Request, Event>(
  operation: Operation<Request, Event>,
  target: Target,
  request: Request,
  context: CallContext,
  seat: Seat,
  log: Attempt,
  capMs = Number.POSITIVE_INFINITY,
): AsyncGenerator<Event> {
  const { provider, model, limits } = target;
  const began = performance.now();
  const stop = new Stop();
  const abort = () => stop.abort(context.signal.reason);
  const [ownMs, slowMs, awaited] = context.streaming
    ? ([limits.firstTokenMs, limits.slowFirstTokenMs, 'first token'] as const)
    : ([limits.unaryMs, limits.slowUnaryMs, 'answer'] as const);
  const watchdog = new Watchdog(provider.name, Math.min(ownMs, capMs), awaited, (error) => {
    // In less time than would be slow nobody has to answer.
    error.excused = !committed && capMs < Math.min(ownMs, slowMs);
    stop.abort(error);
  });
  context.signal.addEventListener('abort', abort);
  log.outcome = AttemptOutcome.CANCELLED;
  const notes = context.notes?.attempt(log, context.streaming);
  let failure: GatewayError | undefined;
  let committed = false;
  try {
    context.signal.throwIfAborted();
    watchdog.wait();
    const events = operation.ask(provider, request, {
      model,
      streaming: context.streaming,
      requestId: context.requestId,
      signal: stop,
      watch: notes,
      onResponse: ({ requestId, remaining, exhaustedMs }) => {
        log.providerRequestId = requestId ?? '';
        seat.responded(remaining, exhaustedMs);
      },
    });
    for await (const event of events) {
      const usage = operation.usageOf(event);
      if (usage) log.usage = usage;
      if (!committed && operation.commits(event)) {
        committed = true;
        seat.firstContent();
        notes?.content(performance.now());
        if (context.streaming) watchdog.limit(limits.idleMs, 'further event');
      } else if (notes && context.streaming && operation.commits(event) && !operation.isLast(event)) {
        notes.content(performance.now());
      }
      if (operation.isLast(event)) {
        log.outcome = AttemptOutcome.SUCCEEDED;
        log.duration = durationOf(performance.now() - began);
      }
      if (committed) watchdog.heard();
      yield event;
      watchdog.wait();
    }
    if (log.outcome !== AttemptOutcome.SUCCEEDED) {
      throw new GatewayError('provider_protocol', `${provider.name} ended its answer before it was finished`, {
        provider: provider.name,
      });
    }
  } catch (cause) {
    if (context.signal.aborted) throw GatewayError.from(context.signal.reason);
    failure = judge(GatewayError.from(stop.aborted ? stop.reason : cause), target);
    log.outcome = AttemptOutcome.FAILED;
    log.reason = failure.reason;
    throw failure;
  } finally {
    watchdog.stop();
    context.signal.removeEventListener('abort', abort);
    log.duration ??= durationOf(performance.now() - began);
    if (log.outcome === AttemptOutcome.SUCCEEDED) seat.succeeded();
    else if (failure) seat.failed(failure);
    else seat.abandoned();
    notes?.end(failure ?? context.signal.reason);
  }
}

/**
 * A 404 for a model that only the caller names is the caller's mistake, and speaks against nobody; for one that is configured it
 * is ours.
 */
function judge(error: GatewayError, { provider, model, listed }: Target): GatewayError {
  if (listed || error.reason !== 'provider_misconfigured' || error.providerStatus !== 404) return error;
  const message = `${provider.name} has no model "${model}"`;
  return new GatewayError('model_not_found', message, {
    provider: provider.name,
    violations: [{ field: 'model', description: message }],
    cause: error,
  });
}
