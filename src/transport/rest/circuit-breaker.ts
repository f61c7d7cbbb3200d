import {
  type CircuitBreaker,
  type CircuitEvent,
  CircuitHold,
  CircuitOutcome,
} from '../../../gen/llmgateway/v1/provider_pb.ts';
import { circuitStates } from './status.ts';
import { rfc3339, secondsOf } from './times.ts';

const holds: Readonly<Record<CircuitHold, string>> = {
  [CircuitHold.UNSPECIFIED]: 'none',
  [CircuitHold.OPEN]: 'open',
  [CircuitHold.CLOSED]: 'closed',
};

/** The words for holds, and what they stand for. */
export const holdWords: Readonly<Record<string, CircuitHold>> = {
  open: CircuitHold.OPEN,
  closed: CircuitHold.CLOSED,
  none: CircuitHold.UNSPECIFIED,
};

const outcomes: Readonly<Record<CircuitOutcome, string | null>> = {
  [CircuitOutcome.UNSPECIFIED]: null,
  [CircuitOutcome.SUCCESS]: 'success',
  [CircuitOutcome.SLOW]: 'slow',
  [CircuitOutcome.FAILURE]: 'failure',
};

/** A breaker as the admin paths show it. Times are RFC 3339, durations seconds. */
export function breakerJson(breaker: CircuitBreaker): object {
  const { lastFailureTime, recoveryTimeout } = breaker;
  return {
    provider: breaker.provider,
    model: breaker.model || null,
    state: circuitStates[breaker.state],
    hold: holds[breaker.hold],
    total_calls: breaker.totalCalls,
    total_successes: breaker.totalSuccesses,
    total_failures: breaker.totalFailures,
    failure_count: breaker.failureCount,
    success_count: breaker.successCount,
    slow_count: breaker.slowCount,
    failure_rate: breaker.failureRate,
    last_failure_time: rfc3339(lastFailureTime),
    last_success_time: rfc3339(breaker.lastSuccessTime),
    time_since_last_failure: lastFailureTime ? Math.max(0, Date.now() / 1000 - secondsOf(lastFailureTime)) : null,
    recovery_timeout: recoveryTimeout ? secondsOf(recoveryTimeout) : null,
    opened_at: rfc3339(breaker.openedTime),
    next_trial_at: rfc3339(breaker.nextTrialTime),
    reason: breaker.reason || null,
    times_opened: breaker.timesOpened,
    history: breaker.history.map(eventJson),
  };
}

/** A change of state has no outcome, and an outcome no state. */
function eventJson({ time, model, event, reason }: CircuitEvent): object {
  return {
    at: rfc3339(time),
    outcome: event.case === 'outcome' ? outcomes[event.value] : null,
    state: event.case === 'state' ? circuitStates[event.value] : null,
    error_class: reason || null,
    model,
  };
}
