import type { Attempt, Cost, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { AtOnce, gather } from '../at-once.ts';
import type { CallContext, Layer } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { CallNotes } from './call-notes.ts';
import type { SpanAttributes } from './call-trace.ts';
import { type CallSink, type EndedCall, type OperationName, outcomeOf, phasesOf } from './ended-call.ts';
import type { KeptContent } from './kept-content.ts';

/** What an event of either operation tells of its call. */
export interface Telling {
  /** Who answers, from the first event on. */
  readonly answering?: Answering | undefined;
  /** The end of a whole answer. */
  readonly whole?: Whole | undefined;
  /** Why a choice ended, in the word of OpenAI. */
  readonly finishReason?: string | undefined;
}

interface Answering {
  readonly id: string;
  readonly provider: string;
  readonly model: string;
}

interface Whole {
  readonly usage?: Usage | undefined;
  readonly attempts: readonly Attempt[];
  readonly cost?: Cost | undefined;
}

/** What differs between completions and embeddings to whoever watches them. */
export interface Observed<Request, Event> {
  readonly name: OperationName;
  readonly tell: (event: Event) => Telling | undefined;
  /** For whom the caller says that it is. */
  readonly userOf: (request: Request) => string;
  /** What spans tell of the request; asked only where somebody keeps them. */
  readonly attributesOf: (request: Request) => SpanAttributes;
  /** What is said; undefined: nobody keeps it. */
  readonly content?: ((request: Request) => KeptContent<Event>) | undefined;
}

/** Counts of calls since the start. */
export class CallCounts {
  total = 0;
}

/**
 * Stand around a call: count it, do what has to be done once it is over, and tell those who keep account: who asked what, who
 * answered, how it ended and what it took.
 *
 * A caller who leaves is `cancelled`, which is nobody's failure.
 */
export function observe<Request extends { readonly model: string }, Event>(
  operation: Observed<Request, Event>,
  counts: CallCounts,
  sinks: readonly CallSink[],
): Layer<Request, Event> {
  async function* asItComes(call: OpenCall<Request, Event>, events: () => AsyncIterable<Event>): AsyncGenerator<Event> {
    try {
      for await (const event of events()) {
        call.see(event);
        yield event;
      }
    } catch (cause) {
      throw call.failed(cause);
    } finally {
      call.end(sinks);
    }
  }

  function atOnce(
    call: OpenCall<Request, Event>,
    events: () => AsyncIterable<Event>,
  ): readonly Event[] | Promise<readonly Event[]> {
    const whole = (all: readonly Event[]): readonly Event[] => {
      for (const event of all) call.see(event);
      call.end(sinks);
      return all;
    };
    const fail = (cause: unknown): never => {
      const failure = call.failed(cause);
      call.end(sinks);
      throw failure;
    };
    try {
      const gathered = gather(events());
      return gathered instanceof Promise ? gathered.then(whole, fail) : whole(gathered);
    } catch (cause) {
      return Promise.reject(cause).catch(fail);
    }
  }

  return (next) => (request, outer) => {
    const notes = outer.notes ?? new CallNotes(performance.now());
    const context = outer.notes ? outer : { ...outer, notes };
    const call = new OpenCall(operation, request, context, notes);
    counts.total++;
    const events = () => next(request, context);
    return context.streaming ? asItComes(call, events) : new AtOnce(atOnce(call, events));
  };
}

/** A call that is being carried out, as far as its events tell of it. */
class OpenCall<Request extends { readonly model: string }, Event> {
  readonly #operation: Observed<Request, Event>;
  readonly #request: Request;
  readonly #context: CallContext;
  readonly #notes: CallNotes;
  readonly #content: KeptContent<Event> | undefined;
  readonly #finishReasons: string[] = [];
  #firstMs: number | undefined;
  #answering: Answering | undefined;
  #whole: Whole | undefined;
  #failure: GatewayError | undefined;

  constructor(operation: Observed<Request, Event>, request: Request, context: CallContext, notes: CallNotes) {
    this.#operation = operation;
    this.#request = request;
    this.#context = context;
    this.#notes = notes;
    this.#content = operation.content?.(request);
    const { trace } = notes;
    if (trace?.sampled) trace.describe(operation.name, requestAttributes(operation, request, context));
  }

  see(event: Event): void {
    const told = this.#operation.tell(event);
    if (told !== undefined) this.#learn(told);
    this.#content?.add(event);
  }

  #learn({ answering, finishReason, whole }: Telling): void {
    const { account } = this.#context;
    const { trace, arrivedAt } = this.#notes;
    if (answering) {
      this.#answering = answering;
      account.answered = answering;
      this.#firstMs = performance.now() - arrivedAt;
    }
    if (finishReason !== undefined && trace?.sampled) this.#finishReasons.push(finishReason);
    if (whole) {
      this.#whole = whole;
      account.whole = true;
    }
  }

  /** It has failed; gives what shall be thrown. */
  failed(cause: unknown): GatewayError {
    this.#failure = GatewayError.from(cause);
    return this.#failure;
  }

  /** It is over: do what has to be done then, and tell `sinks`. */
  end(sinks: readonly CallSink[]): void {
    const { ends, account } = this.#context;
    const notes = this.#notes;
    const whole = this.#whole;
    const failure = this.#failure;
    for (let end = ends.pop(); end; end = ends.pop()) end();
    notes.cache ??= account.cache?.status;
    const free = account.free === true;
    const reason = failure?.reason ?? (whole ? undefined : 'cancelled');
    if (free) notes.savedUsd ??= whole?.cost?.totalUsd;
    const shared = (free && notes.cache !== 'hit') || isInherited(notes);
    const times = { notes, shared, firstMs: this.#firstMs, durationMs: performance.now() - notes.arrivedAt };
    const outcome = outcomeOf(reason);
    const call: EndedCall = {
      ...times,
      operation: this.#operation.name,
      context: this.#context,
      asked: this.#request.model,
      user: this.#operation.userOf(this.#request),
      provider: this.#answering?.provider ?? failure?.provider,
      model: this.#answering?.model,
      outcome,
      reason,
      failure,
      usage: whole?.usage,
      costUsd: free && whole ? 0 : whole?.cost?.totalUsd,
      free,
      phases: outcome === 'ok' ? phasesOf(times) : undefined,
      attempts: failure?.attempts ?? (free ? [] : (whole?.attempts ?? notes.attempts.map(({ log }) => log))),
      content: this.#content?.kept(),
    };
    const { trace } = notes;
    if (trace?.sampled && whole) trace.answered(answerAttributes(this.#answering, this.#finishReasons));
    if (trace?.sampled) trace.finished(callAttributes(call), call.outcome === 'error' ? reason : undefined);
    for (const sink of sinks) sink(call);
  }
}

/** Whether the answer was begun for a call that has left since. */
function isInherited({ attempts: [first], arrivedAt }: CallNotes): boolean {
  return first !== undefined && first.beganAt < arrivedAt;
}

function requestAttributes<Request, Event>(
  { attributesOf }: Observed<Request, Event>,
  request: Request,
  { streaming }: CallContext,
): SpanAttributes {
  return { ...attributesOf(request), ...(streaming && { 'gen_ai.request.stream': true }) };
}

function answerAttributes(answering: Answering | undefined, finishReasons: string[]): SpanAttributes {
  return {
    'gen_ai.response.id': answering?.id || undefined,
    'gen_ai.response.model': answering?.model,
    'gen_ai.response.finish_reasons': finishReasons.length > 0 ? finishReasons : undefined,
  };
}

function callAttributes({ context, asked, reason, provider, model, costUsd, attempts }: EndedCall): SpanAttributes {
  return {
    'gateway.key': context.principal.name,
    'gateway.tier': context.principal.tier,
    'gateway.outcome': reason ?? 'ok',
    'gateway.provider': provider,
    'gateway.attempts': attempts.length,
    'gateway.cost_usd': costUsd,
    'gateway.replayed': context.account.repeated,
    'gen_ai.request.model': asked,
    'gen_ai.response.model': model,
  };
}
