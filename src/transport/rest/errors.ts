import type { Attempt } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { AttemptOutcome } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { triesIn } from '../../completion.ts';
import { GatewayError, type Reason } from '../../errors.ts';
import { ACCEPTED_ENCODINGS } from './body.ts';
import type { Family, Headers } from './exchange.ts';
import { secondsOf } from './times.ts';

/** Trying again cannot help, unless the error itself says when. */
const hopeless: ReadonlySet<Reason> = new Set(['budget_exhausted', 'provider_quota', 'provider_misconfigured']);

/** OpenAI's Node SDK ignores a longer wait and comes back after half a second: it is told not to come back at all. */
const LONGEST_WAIT_MS = 60_000;

const outcomes: Readonly<Record<AttemptOutcome, string>> = {
  [AttemptOutcome.UNSPECIFIED]: 'unknown',
  [AttemptOutcome.SUCCEEDED]: 'succeeded',
  [AttemptOutcome.FAILED]: 'failed',
  [AttemptOutcome.SKIPPED]: 'skipped',
  [AttemptOutcome.CANCELLED]: 'cancelled',
};

/** The body that tells of an error, in the words of its path's family. */
export function errorBody(error: GatewayError, family: Family, requestId: string): string {
  return JSON.stringify(family === 'openai' ? openaiBody(error, requestId) : nativeBody(error, requestId));
}

/** The headers that an error adds to those of every answer. */
export function errorHeaders(error: GatewayError): Headers {
  const { reason, retryAfterMs, row } = error;
  const headers: Headers = {};
  if (error.allow) headers.allow = error.allow.join(', ');
  if (reason === 'unauthenticated') headers['www-authenticate'] = 'Bearer';
  if (reason === 'unsupported_media_type') headers['accept-encoding'] = ACCEPTED_ENCODINGS;
  if (error.provider) headers['x-selected-provider'] = error.provider;
  if (error.attempts.length > 0) headers['x-gateway-attempts'] = triesIn(error.attempts);
  if (retryAfterMs !== undefined) {
    headers['retry-after'] = Math.ceil(retryAfterMs / 1000);
    headers['retry-after-ms'] = Math.ceil(retryAfterMs);
  }
  const hopeful = retryAfterMs === undefined ? !hopeless.has(reason) : retryAfterMs <= LONGEST_WAIT_MS;
  const retryable = hopeful && !error.retriesSpent;
  if (!retryable && (row.httpStatus === 429 || row.httpStatus >= 500)) headers['x-should-retry'] = 'false';
  return headers;
}

/** The same error with its fields named in the caller's words, in the message too where it begins with a field's name. */
export function renamed(error: GatewayError, nameOf: (field: string) => string): GatewayError {
  const [first] = error.violations;
  if (!first) return error;
  const violations = error.violations.map(({ field, description }) => ({ field: nameOf(field), description }));
  const message = error.message.startsWith(`${first.field}: `)
    ? violations.map(({ field, description }) => `${field}: ${description}`).join('; ')
    : error.message;
  const copy = new GatewayError(error.reason, message, { ...error, violations, cause: error.cause });
  copy.attempts = error.attempts;
  copy.retriesSpent = error.retriesSpent;
  return copy;
}

function openaiBody(error: GatewayError, requestId: string): object {
  const { message, row } = error;
  return {
    error: {
      message,
      type: row.openaiType,
      param: paramOf(error),
      code: row.openaiCode ?? error.providerCode ?? null,
      metadata: { reason: error.reason, request_id: requestId, ...origins(error) },
    },
  };
}

function paramOf({ reason, violations }: GatewayError): string | null {
  if (violations[0]) return violations[0].field;
  if (reason === 'model_not_found') return 'model';
  return reason === 'context_length' ? 'messages' : null;
}

function nativeBody(error: GatewayError, requestId: string): object {
  const { provider, retry_after, ...details } = origins(error);
  return {
    error: error.reason,
    message: error.message,
    details: { ...details, ...(error.providerCode && { provider_code: error.providerCode }) },
    request_id: requestId,
    timestamp: new Date().toISOString(),
    provider,
    retry_after,
  };
}

/** Where an error comes from and when to try again: what the details of google.rpc say on the RPC doors. */
function origins({ provider, retryAfterMs, violations, attempts }: GatewayError) {
  return {
    provider: provider ?? null,
    retry_after: retryAfterMs === undefined ? null : Math.ceil(retryAfterMs / 1000),
    ...(violations.length > 0 && { violations }),
    attempts: attempts.map(attemptJson),
  };
}

/** An attempt, with its time in seconds. */
export function attemptJson({ provider, model, outcome, reason, duration, providerRequestId }: Attempt): object {
  return {
    provider,
    model,
    outcome: outcomes[outcome] ?? 'unknown',
    reason: reason || null,
    duration: duration ? secondsOf(duration) : null,
    provider_request_id: providerRequestId || null,
  };
}
