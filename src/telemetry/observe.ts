import { type Attempt, AttemptOutcome, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { type CallContext, type Layer, triesIn } from '../completion.ts';
import { GatewayError, type Reason } from '../errors.ts';
import type { WriteCall } from './logger.ts';

/** What an event of either operation tells the log. */
export interface Telling {
  /** The provider and model that answer, from the first event on. */
  readonly answering?: { readonly provider: string; readonly model: string } | undefined;
  /** The end of a whole answer. */
  readonly whole?: { readonly usage: Usage | undefined; readonly attempts: readonly Attempt[] } | undefined;
}

/** Failures whose message may quote the prompt, or say nothing that the reason does not. */
const silent: ReadonlySet<Reason> = new Set(['invalid_request', 'provider_rejected', 'context_length', 'cancelled']);

/** Counts of calls since the start. */
export class CallCounts {
  total = 0;
}

/**
 * Stand around a call: count it, do what has to be done once it is over, and write its line: who asked what, who answered, how it ended and what it took.
 *
 * The line has neither prompt nor answer nor key. A caller who leaves is `cancelled`, which is nobody's failure.
 */
export function observe<Request extends { readonly model: string }, Event>(
  tell: (event: Event) => Telling | undefined,
  counts: CallCounts,
  write: WriteCall,
): Layer<Request, Event> {
  return (next) =>
    async function* observed(request, context) {
      const began = performance.now();
      let firstMs: number | undefined;
      let answering: Telling['answering'];
      let whole: Telling['whole'];
      let failure: GatewayError | undefined;
      counts.total++;
      try {
        for await (const event of next(request, context)) {
          const told = tell(event);
          if (told !== undefined) {
            if (told.answering) {
              answering = told.answering;
              context.account.answered = told.answering;
              firstMs = performance.now() - began;
            }
            if (told.whole) {
              whole = told.whole;
              context.account.whole = true;
            }
          }
          yield event;
        }
      } catch (cause) {
        failure = GatewayError.from(cause);
        throw failure;
      } finally {
        for (let end = context.ends.pop(); end; end = context.ends.pop()) end();
        write(
          failure?.reason === 'internal' ? 'error' : 'info',
          lineOf(request, context, { began, firstMs, answering, whole, failure }),
        );
      }
    };
}

interface Ending extends Telling {
  readonly began: number;
  readonly firstMs: number | undefined;
  readonly failure: GatewayError | undefined;
}

function lineOf(request: { readonly model: string }, context: CallContext, ending: Ending): object {
  const { answering, whole, failure } = ending;
  const outcome = failure ? failure.reason : whole ? 'ok' : 'cancelled';
  const attempts = whole?.attempts ?? failure?.attempts ?? [];
  return {
    request_id: context.requestId,
    door: context.door,
    key: context.principal.name,
    asked: request.model,
    provider: answering?.provider ?? failure?.provider,
    model: answering?.model,
    outcome,
    attempts: triesIn(attempts),
    tried: attempts.length > 1 || failure ? attempts.map(inWords) : undefined,
    first_ms: rounded(ending.firstMs),
    duration_ms: rounded(performance.now() - ending.began),
    prompt_tokens: whole?.usage?.promptTokens,
    completion_tokens: whole?.usage?.completionTokens,
    error: failure && !silent.has(failure.reason) ? failure.message : undefined,
    cause: failure?.reason === 'internal' ? stackOf(failure.cause) : undefined,
  };
}

function inWords({ provider, model, outcome, reason }: Attempt): string {
  const how = outcome === AttemptOutcome.SUCCEEDED ? 'ok' : reason || 'cancelled';
  return `${provider}/${model}: ${outcome === AttemptOutcome.SKIPPED ? 'skipped, ' : ''}${how}`;
}

function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 10) / 10;
}

function stackOf(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
