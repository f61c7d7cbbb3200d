import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { AtOnce } from '../at-once.ts';
import type { CallContext, Completer } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { newId } from '../new-id.ts';
import { costOf, type Target } from '../providers/target.ts';
import type { Room } from '../room.ts';
import { pause, unlessStopped } from '../stop.ts';
import { timestampOf } from '../time.ts';
import { Course, type RetryPolicy } from './course.ts';
import { failureOf, type Refused, reasonOf } from './failure.ts';
import type { Operation } from './operation.ts';
import { race } from './race.ts';
import type { RetryBudget } from './retry-budget.ts';
import { type Refusal, Seat, type TargetGuard } from './target-guard.ts';
import { Trial } from './trial.ts';

/** Of the time that is left, for a whole answer that somebody else may have to give instead. */
const UNARY_SHARE = 2 / 3;

/** How one call is carried out. */
export interface Plan extends RetryPolicy {
  /** In the order in which to try them. */
  readonly targets: readonly Target[];
  /** How long the first target may stay silent before another one is asked beside it; undefined: for ever. */
  readonly hedgeAfterMs: number | undefined;
  /** Whether the answer is held back until it is whole. */
  readonly buffered: boolean;
}

/** What the loop over targets needs to know of the rest. */
export interface FirstToCommitOptions<Request> {
  /** Where the call may go; throws if there is nowhere. */
  readonly planFor: (request: Request, context: CallContext) => Promise<Plan> | Plan;
  readonly guardOf: (target: Target) => TargetGuard;
  /** Where answers are held back until they are whole. */
  readonly held: Room;
  readonly random: () => number;
}

/**
 * Ask one target after the other until one commits; then the answer, and any failure, is that target's.
 *
 * - Until the commit nothing is passed on, so that a failed target leaves no trace in the answer and the status is still open.
 * - Which failures may be tried elsewhere is in the error table; who is asked next, and when, is the matter of `Course`; whether
 *   a target may be asked now is that of its guard.
 * - When all fail, the first cause is the error, with every attempt and the soonest hope.
 */
export function firstToCommit<Request, Event>(
  operation: Operation<Request, Event>,
  options: FirstToCommitOptions<Request>,
): Completer<Request, Event> {
  const callFor = async (request: Request, context: CallContext): Promise<Call<Request, Event>> => {
    const planned = options.planFor(request, context);
    const plan = planned instanceof Promise ? await unlessStopped(planned, context.signal) : planned;
    return new Call(operation, request, context, plan, options);
  };

  async function* asItComes(request: Request, context: CallContext): AsyncGenerator<Event, undefined> {
    const call = await callFor(request, context);
    const trial = await call.firstCommitted();
    try {
      for (const event of trial.held.splice(0)) yield call.stamped(event, trial.target);
      for (const { rest } = trial; rest; ) {
        const { done, value: event } = await rest.next();
        if (done) return;
        yield call.stamped(event, trial.target);
      }
    } catch (cause) {
      throw call.told(GatewayError.from(cause));
    } finally {
      await trial.end();
    }
  }

  async function atOnce(request: Request, context: CallContext): Promise<readonly Event[]> {
    const call = await callFor(request, context);
    const trial = await call.firstCommitted();
    await trial.end();
    for (const event of trial.held) call.stamped(event, trial.target);
    return trial.held;
  }

  return (request, context) => (context.streaming ? asItComes(request, context) : new AtOnce(atOnce(request, context)));
}

/** One call on its way over its targets. */
class Call<Request, Event> {
  readonly #operation: Operation<Request, Event>;
  readonly #request: Request;
  readonly #context: CallContext;
  readonly #plan: Plan;
  readonly #guards: readonly TargetGuard[];
  readonly #course: Course;
  readonly #room: Room;
  readonly #began = performance.now();
  readonly #attempts: Attempt[] = [];
  readonly #errors: GatewayError[] = [];
  readonly #lastErrors = new Map<number, GatewayError>();
  readonly #refused = new Map<number, Refused>();
  #answered = '';

  constructor(
    operation: Operation<Request, Event>,
    request: Request,
    context: CallContext,
    plan: Plan,
    { guardOf, held, random }: FirstToCommitOptions<Request>,
  ) {
    this.#operation = operation;
    this.#request = request;
    this.#context = context;
    this.#plan = plan;
    this.#room = held;
    this.#guards = plan.targets.map(guardOf);
    const stages = plan.targets.map(({ contextWindow }, at) => ({
      contextWindow,
      spend: () => this.#guards[at]?.budget.spend() ?? false,
      closedMs: () => {
        const refusal = this.#guards[at]?.refusal();
        return refusal ? refusal.retryAfterMs : 0;
      },
    }));
    this.#course = new Course(stages, plan, random);
  }

  /** The trial that has committed. Throws the call's failure when none does. */
  async firstCommitted(): Promise<Trial<Request, Event>> {
    const { signal, deadline } = this.#context;
    const { hedgeAfterMs } = this.#plan;
    try {
      for (;;) {
        const now = performance.now();
        const step = this.#course.next(deadline - now);
        if (step.kind === 'end') throw this.#failure();
        const waits = step.kind === 'try' && step.afterMs > 0;
        if (waits) await pause(step.afterMs, signal);
        const at = step.kind === 'try' ? step.at : this.#leastWaited(step.among);
        const entered = this.#enter(at, step.kind);
        const seat = entered instanceof Promise ? await entered : entered;
        if (waits || entered instanceof Promise) this.#context.notes?.waited(now);
        if (!(seat instanceof Seat)) {
          this.#passOver(at, seat, step.kind === 'queue');
          continue;
        }
        const trial = this.#begin(at, seat, step.kind === 'try' && step.retry);
        if (hedgeAfterMs !== undefined) {
          const winner = await this.#raced(trial, at, hedgeAfterMs);
          if (winner) return winner;
          continue;
        }
        try {
          await trial.commit();
          return trial;
        } catch (cause) {
          this.#failed(trial, at, GatewayError.from(cause));
        }
      }
    } catch (cause) {
      throw this.told(GatewayError.from(cause));
    }
  }

  /** Of busy targets the one with the shortest line. */
  #leastWaited(among: readonly number[]): number {
    const waiting = (at: number) => this.#at(at).guard.provider.places.waiting;
    return among.reduce((best, at) => (waiting(at) < waiting(best) ? at : best));
  }

  #enter(at: number, kind: 'try' | 'queue'): Promise<Seat | Refusal> | Seat | Refusal {
    const { streaming, signal } = this.#context;
    const { guard, target } = this.#at(at);
    return kind === 'queue'
      ? guard.enterWhenFree(streaming, target.limits, signal)
      : guard.enter(streaming, target.limits);
  }

  #begin(at: number, seat: Seat, isRetry: boolean): Trial<Request, Event> {
    const { target, guard } = this.#at(at);
    const log = openLog(target);
    this.#attempts.push(log);
    this.#context.account.tries++;
    this.#course.begun(at);
    if (!isRetry) guard.budget.attempted();
    const { buffered, hedgeAfterMs } = this.#plan;
    const options = {
      operation: this.#operation,
      request: this.#request,
      context: this.#context,
      buffered,
      room: this.#room,
      cancellable: hedgeAfterMs !== undefined,
      capMs: this.#capMs(),
    };
    return new Trial(options, target, seat, log);
  }

  /**
   * How long the next attempt may keep the call waiting, in milliseconds: while others may still be asked, not for all the time
   * that is left. A whole answer takes its time though all is well, so it gets more than its share.
   */
  #capMs(): number {
    const { spares } = this.#course;
    if (spares === 0) return Number.POSITIVE_INFINITY;
    const { streaming, deadline } = this.#context;
    return (deadline - performance.now()) * (streaming ? 1 / (spares + 1) : UNARY_SHARE);
  }

  /** Let a trial try, with another beside it if it is slow; the one that commits, or undefined. */
  async #raced(
    trial: Trial<Request, Event>,
    at: number,
    hedgeAfterMs: number,
  ): Promise<Trial<Request, Event> | undefined> {
    const places = new Map([[trial, at]]);
    const { budget } = this.#at(at).guard;
    // An answer that is held back may take long though it is on its way.
    const second = () =>
      trial.hasSpoken ? undefined : this.#hedge(budget, (other, place) => places.set(other, place));
    const { winner, failures } = await race(trial, second, hedgeAfterMs, (error) => !isTriedElsewhere(error));
    for (const { racer, error } of failures) {
      await racer.end();
      if (!winner) this.#failed(racer, places.get(racer) ?? at, error);
    }
    return winner;
  }

  /** Begin the next target beside the present one, if one may be asked now and the present one's budget allows. */
  #hedge(
    budget: RetryBudget,
    begun: (trial: Trial<Request, Event>, at: number) => void,
  ): Trial<Request, Event> | undefined {
    for (let at = this.#course.takeHedge(); at !== undefined; at = this.#course.takeHedge()) {
      const { guard, target } = this.#at(at);
      const refusal = guard.refusal();
      if (refusal) {
        this.#passOver(at, refusal, false);
        continue;
      }
      const seat = budget.spend() ? guard.enter(this.#context.streaming, target.limits) : undefined;
      if (!(seat instanceof Seat)) {
        this.#course.untake(at);
        return undefined;
      }
      const trial = this.#begin(at, seat, true);
      this.#context.notes?.hedged(trial.log);
      begun(trial, at);
      return trial;
    }
    return undefined;
  }

  /** Take note of a failure, and end the call with it if nobody else may be asked. */
  #failed(trial: Trial<Request, Event>, at: number, error: GatewayError): void {
    this.#course.failed(at, error);
    if (error.unsupported) {
      trial.log.outcome = AttemptOutcome.SKIPPED;
      this.#context.account.tries--;
    }
    this.#errors.push(error);
    this.#lastErrors.set(at, error);
    if (!isTriedElsewhere(error)) throw error;
  }

  /** Where only a place is missing the target may still be waited for: then `hasWaited` tells that this was in vain. */
  #passOver(at: number, refusal: Refusal, hasWaited: boolean): void {
    const { target } = this.#at(at);
    this.#course.passedOver(at, refusal);
    this.#refused.set(at, { target, refusal });
    if (refusal.busy && !hasWaited) return;
    this.#attempts.push({ ...openLog(target), outcome: AttemptOutcome.SKIPPED, reason: reasonOf(refusal) });
  }

  #failure(): GatewayError {
    const hopes = this.#guards.map((guard, at) => guard.refusal() ?? this.#lastErrors.get(at));
    const failure = failureOf(this.#errors, [...this.#refused.values()], hopes);
    failure.retriesSpent = this.#course.retriesSpent;
    return failure;
  }

  /** The error, with every attempt. */
  told(error: GatewayError): GatewayError {
    error.attempts = this.#attempts;
    return error;
  }

  /** Write into the first and the last event what the gateway knows, and note what the answer takes. */
  stamped(event: Event, target: Target): Event {
    const operation = this.#operation;
    const { account } = this.#context;
    if (operation.isFirst(event)) {
      this.#answered = operation.begin(event, {
        id: operation.idPrefix + newId(),
        requestId: this.#context.requestId,
        provider: target.provider.name,
        model: target.model,
        createdAt: timestampOf(Date.now()),
      });
      account.costOf = (usage) => costOf(usage, target.priceOf(this.#answered));
    }
    const usage = operation.usageOf(event);
    if (operation.isLast(event)) {
      const cost = costOf(usage, target.priceOf(this.#answered));
      operation.end(event, { cost, attempts: this.#attempts, durationMs: performance.now() - this.#began });
      account.spent = { usage, cost };
    } else if (usage) {
      account.spent = { usage, cost: undefined };
    } else {
      account.characters = (account.characters ?? 0) + operation.charactersOf(event);
    }
    return event;
  }

  #at(at: number): { target: Target; guard: TargetGuard } {
    const target = this.#plan.targets[at];
    const guard = this.#guards[at];
    if (!target || !guard) throw new Error(`there is no target ${at}`);
    return { target, guard };
  }
}

/** What another provider may take, or another target may do better, by the error table. */
function isTriedElsewhere(error: GatewayError): boolean {
  return error.unsupported || error.row.elsewhere !== 'no';
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
