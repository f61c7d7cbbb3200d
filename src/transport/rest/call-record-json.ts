import type { CallRecord } from '../../../gen/llmgateway/v1/call_record_pb.ts';
import type { Usage } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { attemptJson } from './errors.ts';
import { rfc3339, secondsOf } from './times.ts';

/** A call that ended, as `/admin/calls` shows it. Times are in seconds; what is not known is null. */
export function callRecordJson(call: CallRecord): object {
  return {
    time: rfc3339(call.time),
    request_id: call.requestId,
    trace_id: call.traceId || null,
    door: call.door,
    key: call.key,
    tier: call.tier,
    operation: call.operation,
    streaming: call.streaming,
    user_id: call.userId || null,
    asked_model: call.askedModel,
    route: call.route || null,
    strategy: call.strategy || null,
    provider: call.provider || null,
    model: call.model || null,
    cache: call.cache || null,
    outcome: call.outcome,
    reason: call.reason || null,
    error: call.error || null,
    attempts: call.attempts.map(attemptJson),
    response_time: call.duration ? secondsOf(call.duration) : null,
    first_event_time: call.firstEvent ? secondsOf(call.firstEvent) : null,
    phases: Object.fromEntries(Object.entries(call.phases).map(([name, duration]) => [name, secondsOf(duration)])),
    usage: call.usage ? usageJson(call.usage) : null,
    cost_usd: call.costUsd ?? null,
    ...(call.prompt !== '' && { prompt: call.prompt }),
    ...(call.answer !== '' && { answer: call.answer }),
  };
}

function usageJson(usage: Usage): object {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.totalTokens,
    cached_prompt_tokens: usage.cachedPromptTokens ?? null,
    reasoning_tokens: usage.reasoningTokens ?? null,
    estimated: usage.estimated,
  };
}
