import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { gather } from '../at-once.ts';
import type { CallContext } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { Target } from '../providers/target.ts';
import { Stop } from '../stop.ts';
import type { AttemptNotes } from '../telemetry/call-notes.ts';
import { durationOf } from '../time.ts';
import type { Operation } from './operation.ts';
import type { Seat } from './target-guard.ts';
import { Watchdog } from './timeout.ts';

/** What an attempt is made with. */
export interface AttemptOptions<Request, Event> {
  readonly operation: Operation<Request, Event>;
  readonly target: Target;
  readonly request: Request;
  readonly context: CallContext;
  /** Ended with the attempt. */
  readonly seat: Seat;
  /** The account of the attempt, filled in as it goes. */
  readonly log: Attempt;
  /** Bounds the wait for the first content, so that time is left for somebody else; in milliseconds. */
  readonly capMs: number;
}

/**
 * One attempt at one target, with all its guards: time limits, the caller's leaving, and an account of how it ended.
 *
 * Throws GatewayErrors only; the caller's leaving and the call's deadline come out as the context's own reason and speak against
 * nobody.
 */
export async function* attempt<Request, Event>(
  options: AttemptOptions<Request, Event>,
): AsyncGenerator<Event, undefined> {
  const own = new OpenAttempt(options);
  try {
    for await (const event of own.ask()) {
      own.see(event);
      yield event;
      own.waits();
    }
    own.checkEnd();
  } catch (cause) {
    throw own.failed(cause);
  } finally {
    own.close();
  }
}

/** The same for an answer that nobody reads as it comes. */
export async function attemptAtOnce<Request, Event>(
  options: AttemptOptions<Request, Event>,
): Promise<readonly Event[]> {
  const own = new OpenAttempt(options);
  try {
    const gathered = gather(own.ask());
    const events = gathered instanceof Promise ? await gathered : gathered;
    for (const event of events) own.see(event);
    own.checkEnd();
    return events;
  } catch (cause) {
    throw own.failed(cause);
  } finally {
    own.close();
  }
}

/** An attempt that is being made. */
class OpenAttempt<Request, Event> {
  readonly #options: AttemptOptions<Request, Event>;
  readonly #notes: AttemptNotes | undefined;
  readonly #watchdog: Watchdog;
  readonly #stop = new Stop();
  readonly #began = performance.now();
  #committed = false;
  #failure: GatewayError | undefined;

  constructor(options: AttemptOptions<Request, Event>) {
    this.#options = options;
    const { target, context, log, capMs } = options;
    const { provider, limits } = target;
    const { streaming, signal, notes } = context;
    const ownMs = streaming ? limits.firstTokenMs : limits.unaryMs;
    const slowMs = streaming ? limits.slowFirstTokenMs : limits.slowUnaryMs;
    const awaited = streaming ? 'first token' : 'answer';
    this.#watchdog = new Watchdog(provider.name, Math.min(ownMs, capMs), awaited, (error) => {
      // In less time than would be slow nobody has to answer.
      error.excused = !this.#committed && capMs < Math.min(ownMs, slowMs);
      this.#stop.abort(error);
    });
    signal.addEventListener('abort', this.#abort);
    log.outcome = AttemptOutcome.CANCELLED;
    this.#notes = notes?.attempt(log, streaming);
  }

  ask(): AsyncIterable<Event> {
    const { operation, target, request, context, seat, log } = this.#options;
    context.signal.throwIfAborted();
    this.#watchdog.wait();
    return operation.ask(target.provider, request, {
      model: target.model,
      streaming: context.streaming,
      requestId: context.requestId,
      signal: this.#stop,
      watch: this.#notes,
      onResponse: ({ requestId, remaining, exhaustedMs }) => {
        log.providerRequestId = requestId ?? '';
        seat.responded(remaining, exhaustedMs);
      },
    });
  }

  see(event: Event): void {
    const { operation, target, context, seat, log } = this.#options;
    const { streaming } = context;
    const usage = operation.usageOf(event);
    if (usage) log.usage = usage;
    if (!this.#committed && operation.commits(event)) {
      this.#committed = true;
      seat.firstContent();
      this.#notes?.content(performance.now());
      if (streaming) this.#watchdog.limit(target.limits.idleMs, 'further event');
    } else if (this.#notes && streaming && operation.commits(event) && !operation.isLast(event)) {
      this.#notes.content(performance.now());
    }
    if (operation.isLast(event)) {
      log.outcome = AttemptOutcome.SUCCEEDED;
      log.duration = durationOf(performance.now() - this.#began);
    }
    if (this.#committed) this.#watchdog.heard();
  }

  /** From now on the provider keeps us waiting. */
  waits(): void {
    this.#watchdog.wait();
  }

  /** Throws unless the last event has come. */
  checkEnd(): void {
    const { log, target } = this.#options;
    if (log.outcome === AttemptOutcome.SUCCEEDED) return;
    const provider = target.provider.name;
    throw new GatewayError('provider_protocol', `${provider} ended its answer before it was finished`, { provider });
  }

  /** It has failed; gives what shall be thrown. */
  failed(cause: unknown): GatewayError {
    const { target, context, log } = this.#options;
    if (context.signal.aborted) return GatewayError.from(context.signal.reason);
    this.#failure = judge(GatewayError.from(this.#stop.aborted ? this.#stop.reason : cause), target);
    log.outcome = AttemptOutcome.FAILED;
    log.reason = this.#failure.reason;
    return this.#failure;
  }

  /** It is over, or nobody wants it any more. */
  close(): void {
    const { context, seat, log } = this.#options;
    this.#watchdog.stop();
    context.signal.removeEventListener('abort', this.#abort);
    log.duration ??= durationOf(performance.now() - this.#began);
    if (log.outcome === AttemptOutcome.SUCCEEDED) seat.succeeded();
    else if (this.#failure) seat.failed(this.#failure);
    else seat.abandoned();
    this.#notes?.end(this.#failure ?? context.signal.reason);
  }

  readonly #abort = (): void => this.#stop.abort(this.#options.context.signal.reason);
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
