import { type Config, OnRateLimitSchema } from '../../gen/llmgateway/v1/config_pb.ts';
import { formatDuration as format } from './durations.ts';
import { wordOf } from './words.ts';

/** Say what binds every provider and model, by whichever route it is reached. */
export function describePolicies({ retry, breaker, healthProbe }: Config): string[] {
  const lines: string[] = [];
  if (retry?.baseDelay && retry.maxDelay) {
    const limited = wordOf(OnRateLimitSchema, retry.onRateLimit);
    lines.push(
      `retries: at most ${retry.budgetRatio} for each first attempt, after ${format(retry.baseDelay)} to ${format(retry.maxDelay)}; when rate limited: ${limited}`,
    );
  }
  if (breaker?.window && breaker.openFor && breaker.maxOpenFor) {
    const { failureRatio = 0, slowCallRatio = 0, minCalls, slowCall, halfOpenCalls } = breaker;
    const slow = slowCall ? format(slowCall) : 'half of what it may take';
    lines.push(
      `breaker: opens at ${percent(failureRatio)} failures or ${percent(slowCallRatio)} slow calls (above ${slow}) of at least ${minCalls} within ${format(breaker.window)}`,
      `  open for ${format(breaker.openFor)}, twice as long each time, at most ${format(breaker.maxOpenFor)}; then ${halfOpenCalls} calls on trial`,
    );
  }
  if (healthProbe?.interval && healthProbe.timeout) {
    lines.push(`asked for its models every ${format(healthProbe.interval)}, within ${format(healthProbe.timeout)}`);
  }
  return lines;
}

function percent(ratio: number): string {
  return `${Number((100 * ratio).toFixed(1))} %`;
}
