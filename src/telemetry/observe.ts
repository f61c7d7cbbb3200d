import type { Attempt, Cost, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext, Layer } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { CallNotes } from './call-notes.ts';
import type { SpanAttributes } from './call-trace.ts';
import { type CallSink, type EndedCall, type OperationName, outcomeOf } from './ended-call.ts';
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
  readonly cached?: boolean;
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
  const { tell } = operation;
  return (next) =>
    async function* observed(request, outer) {
      const notes = outer.notes ?? new CallNotes(performance.now());
      const context = outer.notes ? outer : { ...outer, notes };
      const { trace } = notes;
      const content = operation.content?.(request);
      let firstMs: number | undefined;
      let answering: Answering | undefined;
      let whole: Whole | undefined;
      let failure: GatewayError | undefined;
      const finishReasons: string[] = [];
      counts.total++;
      if (trace?.sampled) trace.describe(operation.name, requestAttributes(operation, request, context));
      try {
        for await (const event of next(request, context)) {
          const told = tell(event);
          if (told !== undefined) {
            if (told.answering) {
              answering = told.answering;
              context.account.answered = told.answering;
              firstMs = performance.now() - notes.arrivedAt;
            }
            if (told.finishReason !== undefined && trace?.sampled) finishReasons.push(told.finishReason);
            if (told.whole) {
              whole = told.whole;
              context.account.whole = true;
              // The attempt that answered is still open: its span is told how it ended.
              if (trace?.sampled) trace.answered(answerAttributes(answering, finishReasons));
            }
          }
          content?.add(event);
          yield event;
        }
      } catch (cause) {
        failure = GatewayError.from(cause);
        throw failure;
      } finally {
        for (let end = context.ends.pop(); end; end = context.ends.pop()) end();
        if (answering?.cached) notes.cache ??= 'hit';
        const reason = failure?.reason ?? (whole ? undefined : 'cancelled');
        const call: EndedCall = {
          operation: operation.name,
          context,
          asked: request.model,
          user: operation.userOf(request),
          provider: answering?.provider ?? failure?.provider,
          model: answering?.model,
          outcome: outcomeOf(reason),
          reason,
          failure,
          usage: whole?.usage,
          costUsd: whole?.cost?.totalUsd,
          firstMs,
          durationMs: performance.now() - notes.arrivedAt,
          attempts: whole?.attempts ?? failure?.attempts ?? notes.attempts.map(({ log }) => log),
          notes,
          content: content?.kept(),
        };
        if (trace?.sampled) trace.finished(callAttributes(call), call.outcome === 'error' ? reason : undefined);
        for (const sink of sinks) sink(call);
      }
    };
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
    'gen_ai.request.model': asked,
    'gen_ai.response.model': model,
  };
}
