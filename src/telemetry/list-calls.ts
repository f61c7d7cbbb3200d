import type { ListCallsRequest, ListCallsResponse } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import type { CallRecord } from '../../gen/llmgateway/v1/call_record_pb.ts';
import { type Attempt, AttemptOutcome, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError, type Reason } from '../errors.ts';
import { durationOf, timestampOf } from '../time.ts';
import type { CallLine, TriedLine, UsageLine } from './call-line.ts';
import { outcomeOf } from './ended-call.ts';
import { KEPT_CALLS, type KeptCall, type RecentCalls } from './recent-calls.ts';
import type { Outcome } from './tally.ts';

/** Which calls to list; all fields of the request. */
export type CallFilter = Omit<ListCallsRequest, '$typeName' | '$unknown'>;

const PAGE_SIZE = 100;
const outcomeNames: readonly string[] = ['ok', 'error', 'refused', 'cancelled'] satisfies Outcome[];

/** List the calls that ended last, newest first. */
export function listCalls(calls: RecentCalls, filter: CallFilter): ListCallsResponse {
  const { pageSize = PAGE_SIZE, pageToken, outcome } = filter;
  if (outcome !== '' && !outcomeNames.includes(outcome)) {
    throw wrong('outcome', `must be one of ${outcomeNames.join(', ')}, not ${JSON.stringify(outcome)}`);
  }
  if (pageSize < 1 || pageSize > KEPT_CALLS) {
    throw wrong('page_size', `must be from 1 to ${KEPT_CALLS}, not ${pageSize}`);
  }
  const found: CallRecord[] = [];
  let nextPageToken = '';
  for (const call of calls.before(numberOf(pageToken))) {
    const record = recordOf(call);
    if (!fits(record, filter)) continue;
    if (found.length === pageSize) {
      nextPageToken = String(call.number + 1);
      break;
    }
    found.push(record);
  }
  return { $typeName: 'llmgateway.v1.ListCallsResponse', calls: found, nextPageToken };
}

function numberOf(pageToken: string): number | undefined {
  if (pageToken === '') return undefined;
  if (/^\d{1,15}$/.test(pageToken)) return Number(pageToken);
  throw wrong('page_token', `${JSON.stringify(pageToken)} is no token of a page`);
}

function wrong(field: string, description: string): GatewayError {
  return new GatewayError('invalid_request', `${field}: ${description}`, { violations: [{ field, description }] });
}

function fits({ provider, model, askedModel, outcome, key, requestId }: CallRecord, filter: CallFilter): boolean {
  if (filter.provider !== '' && filter.provider !== provider) return false;
  if (filter.model !== '' && filter.model !== model && filter.model !== askedModel) return false;
  if (filter.outcome !== '' && filter.outcome !== outcome) return false;
  if (filter.key !== '' && filter.key !== key) return false;
  return filter.requestId === '' || filter.requestId === requestId;
}

function recordOf({ endedMs, line }: KeptCall): CallRecord {
  const reason = line.outcome === 'ok' ? '' : line.outcome;
  const record: CallRecord = {
    $typeName: 'llmgateway.v1.CallRecord',
    time: timestampOf(endedMs),
    requestId: line.request_id,
    traceId: line.trace_id ?? '',
    door: line.door,
    key: line.key,
    tier: line.tier,
    operation: line.operation,
    streaming: line.streaming ?? false,
    askedModel: line.asked,
    route: line.route ?? '',
    strategy: line.strategy ?? '',
    provider: line.provider ?? '',
    model: line.model ?? '',
    cache: line.cache ?? '',
    replayed: line.replayed ?? false,
    outcome: outcomeOf(reason === '' ? undefined : (reason as Reason)),
    reason,
    error: line.error ?? '',
    attempts: (line.tried ?? []).map(attemptOf),
    duration: durationOf(line.duration_ms),
    phases: phasesOf(line),
    userId: line.user ?? '',
    prompt: line.prompt ?? '',
    answer: line.answer ?? '',
  };
  if (line.first_ms !== undefined) record.firstEvent = durationOf(line.first_ms);
  if (line.usage) record.usage = usageOf(line.usage);
  if (line.cost_usd !== undefined) record.costUsd = line.cost_usd;
  return record;
}

function phasesOf({ phases = {} }: CallLine): CallRecord['phases'] {
  const taken = Object.entries(phases).flatMap(([name, ms]) => (ms === undefined ? [] : [[name, durationOf(ms)]]));
  return Object.fromEntries(taken);
}

const outcomes: Readonly<Record<string, AttemptOutcome>> = {
  ok: AttemptOutcome.SUCCEEDED,
  cancelled: AttemptOutcome.CANCELLED,
  skipped: AttemptOutcome.SKIPPED,
};

function attemptOf({ provider, model, outcome, skipped, ms, upstream_id = '', usage }: TriedLine): Attempt {
  const known = outcomes[outcome];
  return {
    $typeName: 'llmgateway.v1.Attempt',
    provider,
    model,
    outcome: known ?? AttemptOutcome.FAILED,
    reason: skipped ?? (known === undefined ? outcome : ''),
    duration: durationOf(ms),
    providerRequestId: upstream_id,
    ...(usage && { usage: usageOf(usage) }),
  };
}

function usageOf({ prompt, completion, cached, cache_write, reasoning, estimated }: UsageLine): Usage {
  return {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens: prompt,
    completionTokens: completion,
    totalTokens: prompt + completion,
    estimated: estimated ?? false,
    ...(cached !== undefined && { cachedPromptTokens: cached }),
    ...(cache_write !== undefined && { cacheWritePromptTokens: cache_write }),
    ...(reasoning !== undefined && { reasoningTokens: reasoning }),
  };
}
