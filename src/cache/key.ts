import { hash } from 'node:crypto';
import { type CompletionRequest, CompletionRequestSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import { type EmbeddingRequest, EmbeddingRequestSchema } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import type { RequestFacts } from '../request-facts.ts';
import { canonicalWriter } from './canonical.ts';
import { withoutMembers } from './json-members.ts';

/** Where a call may go, as far as its answer depends on it. */
export interface KeyTarget {
  readonly provider: { readonly name: string };
  readonly model: string;
}

/** Changes whenever the bytes below change their meaning: replicas of two versions may share a store. */
const VERSION = '2';

/** Keys of OpenAI's extras that label a call or tune the provider's own cache: the answer does not depend on them. */
const labels: ReadonlySet<string> = new Set([
  'user',
  'safety_identifier',
  'store',
  'metadata',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
]);

const writeProjection = canonicalWriter(
  CompletionRequestSchema,
  new Set([
    // What `model` means is in the targets; the same name may lead elsewhere tomorrow.
    'llmgateway.v1.CompletionRequest.model',
    'llmgateway.v1.CompletionRequest.options',
    'llmgateway.v1.Part.cache_breakpoint',
    'llmgateway.v1.Tool.cache_breakpoint',
  ]),
);

/**
 * The key of an answer: equal exactly where two requests of one scope may have the same answer. SHA-256, in hexadecimal.
 *
 * `scope` is whoever shares answers, `targets` are those permitted after resolution, in any order, and `choice` is how one of them
 * is chosen. Everything of the request counts but what is known not to matter, so that a field which the contract gets later is
 * safe by default.
 */
export function cacheKey(
  request: CompletionRequest,
  scope: string,
  targets: readonly KeyTarget[],
  choice = '',
): string {
  const places = targets.map(({ provider, model }) => `${provider.name}\0${model}`).sort();
  // Of one target there is no choice.
  const preface = [VERSION, scope, String(places.length), ...places, places.length > 1 ? choice : ''];
  return hash('sha256', writeProjection(unlabelled(request), preface), 'hex');
}

/** The same, but for a request whose facts have the key already: its last one is kept there. */
export function keyFor(
  request: CompletionRequest,
  scope: string,
  targets: readonly KeyTarget[],
  choice: string,
  facts: RequestFacts | undefined,
): string {
  const last = facts?.key;
  if (last && last.targets === targets && last.scope === scope && last.choice === choice) return last.key;
  const key = cacheKey(request, scope, targets, choice);
  if (facts) facts.key = { key, scope, targets, choice };
  return key;
}

function unlabelled(request: CompletionRequest): CompletionRequest {
  const { openai, ...others } = request.extraJson;
  if (openai === undefined) return request;
  const kept = withoutMembers(openai, labels);
  return { ...request, extraJson: kept === undefined ? others : { ...others, openai: kept } };
}

/** What may differ from one attempt of a caller to the next. */
const ofAttempt: ReadonlySet<string> = new Set([
  'llmgateway.v1.CallOptions.idempotency_key',
  'llmgateway.v1.CallOptions.request_id',
  'llmgateway.v1.CallOptions.timeout',
  'llmgateway.v1.CallOptions.cache_mode',
  'llmgateway.v1.CallOptions.cache_max_age',
]);
const writeCompletion = canonicalWriter(CompletionRequestSchema, ofAttempt);
const writeEmbedding = canonicalWriter(EmbeddingRequestSchema, ofAttempt);

/**
 * What tells one request from another under the same idempotency key. SHA-256, in hexadecimal.
 *
 * A caller who tries again may give the new attempt an id and a deadline of its own: they do not count, nor does what the
 * cache may do. All else does, the name of the model as it was asked included.
 */
export function completionFingerprint(request: CompletionRequest): string {
  return hash('sha256', writeCompletion(request, ['completion']), 'hex');
}

/** The same for embeddings. */
export function embeddingFingerprint(request: EmbeddingRequest): string {
  return hash('sha256', writeEmbedding(request, ['embedding']), 'hex');
}

/** What an idempotency key of one caller is called in stores. SHA-256, in hexadecimal: keys are the caller's own words. */
export function idempotencyName(caller: string, key: string): string {
  return hash('sha256', `${caller}\0${key}`, 'hex');
}
