import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext } from '../completion.ts';
import { errorTable, GatewayError, type Reason } from '../errors.ts';
import type { Target } from '../providers/target.ts';
import { Stop } from '../stop.ts';
import { durationOf } from '../time.ts';
import type { Operation } from './operation.ts';
import { Watchdog } from './timeout.ts';

/** What somebody keeps of the attempts at a provider. */
export interface AttemptRecord {
  active: number;
  firstContent(afterMs: number): void;
  end(verdict: { ok: true } | { ok: false; reason: Reason } | 'nothing'): void;
}

/**
 * One attempt at one target, with all its guards: time limits, the caller's leaving, and an account of how it ended.
 *
 * The account is `log`, filled in as the attempt goes. Throws GatewayErrors only; the caller's leaving and the call's deadline
 * come out as the context's own reason and speak against nobody.
 */
export async function* attempt<Request, Event>(
  operation: Operation<Request, Event>,
  target: Target,
  request: Request,
  context: CallContext,
  record: AttemptRecord,
  log: Attempt,
): AsyncGenerator<Event> {
  const { provider, model, limits } = target;
  const began = performance.now();
  const stop = new Stop();
  const abort = () => stop.abort(context.signal.reason);
  if (context.signal.aborted) throw GatewayError.from(context.signal.reason);
  context.signal.addEventListener('abort', abort);
  const watchdog = context.streaming
    ? new Watchdog(provider.name, limits.firstTokenMs, 'first token', (error) => stop.abort(error))
    : new Watchdog(provider.name, limits.unaryMs, 'answer', (error) => stop.abort(error));
  record.active++;
  log.outcome = AttemptOutcome.CANCELLED;
  let committed = false;
  try {
    watchdog.wait();
    const events = operation.ask(provider, request, {
      model,
      streaming: context.streaming,
      requestId: context.requestId,
      signal: stop,
      onResponse: ({ requestId }) => {
        log.providerRequestId = requestId ?? '';
      },
    });
    for await (const event of events) {
      const usage = operation.usageOf(event);
      if (usage) log.usage = usage;
      if (!committed && operation.commits(event)) {
        committed = true;
        record.firstContent(performance.now() - began);
        if (context.streaming) watchdog.limit(limits.idleMs, 'further event');
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
    const error = GatewayError.from(stop.aborted ? stop.reason : cause);
    log.outcome = AttemptOutcome.FAILED;
    log.reason = error.reason;
    throw error;
  } finally {
    watchdog.stop();
    context.signal.removeEventListener('abort', abort);
    record.active--;
    log.duration ??= durationOf(performance.now() - began);
    record.end(verdictOn(log));
  }
}

function verdictOn({ outcome, reason }: Attempt): Parameters<AttemptRecord['end']>[0] {
  if (outcome === AttemptOutcome.SUCCEEDED) return { ok: true };
  if (outcome !== AttemptOutcome.FAILED || errorTable[reason as Reason].blames === 'no') return 'nothing';
  return { ok: false, reason: reason as Reason };
}
