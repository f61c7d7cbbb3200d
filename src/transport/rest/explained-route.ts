import type { ExplainedTarget, ExplainRouteResponse } from '../../../gen/llmgateway/v1/admin_service_pb.ts';
import { strategyWord } from './call-options.ts';
import { circuitStates } from './status.ts';
import { secondsOf } from './times.ts';

/** Where a call would go, as `POST /admin/explain-route` tells it. */
export function explainedRouteJson(explained: ExplainRouteResponse): object {
  return {
    route: explained.route || null,
    strategy: strategyWord(explained.strategy),
    fallback: explained.fallback,
    targets: explained.targets.map(targetJson),
    estimated_prompt_tokens: explained.estimatedPromptTokens,
    failure: explained.failure || null,
  };
}

function targetJson(target: ExplainedTarget): object {
  return {
    provider: target.provider,
    model: target.model,
    position: target.position || null,
    left_out: target.leftOut || null,
    explanation: target.explanation,
    weight: target.weight,
    latency_ms: target.latency ? secondsOf(target.latency) * 1000 : null,
    estimated_usd: target.estimatedUsd ?? null,
    quality: target.quality ?? null,
    context_window: target.contextWindow ?? null,
    circuit_breaker_state: circuitStates[target.circuitState],
    retry_after: target.retryAfter ? secondsOf(target.retryAfter) : null,
  };
}
