import {
  type CircuitBreaker,
  type CircuitEvent,
  CircuitHold,
  CircuitOutcome,
  CircuitState,
} from '../../gen/llmgateway/v1/provider_pb.ts';
import { durationOf, timestampOf } from '../time.ts';
import type { HistoryEntry } from './breaker-record.ts';
import type { BreakerSnapshot, BreakerState, Hold } from './circuit-breaker.ts';

/** The breakers of a provider, as operators see them. */
export interface DescribedBreakers {
  /** The provider as a whole: the worst state, and the sums of its models. */
  readonly whole: CircuitBreaker;
  /** One for each model that was called, or held. */
  readonly models: readonly CircuitBreaker[];
}

/** What is known of a provider beside the breakers of its models. */
export interface ProviderStanding {
  /** What an operator has decided for all its models. */
  readonly hold: Hold | undefined;
  /** Milliseconds since 1970. */
  readonly heldAt: number | undefined;
  /** How long a breaker that nobody has called yet would stay open. */
  readonly openForMs: number;
}

const longestHistory = 100;

const states: Readonly<Record<BreakerState, CircuitState>> = {
  closed: CircuitState.CLOSED,
  half_open: CircuitState.HALF_OPEN,
  open: CircuitState.OPEN,
};

const holds: Readonly<Record<Hold, CircuitHold>> = { open: CircuitHold.OPEN, closed: CircuitHold.CLOSED };

const outcomes: Readonly<Record<NonNullable<HistoryEntry['outcome']>, CircuitOutcome>> = {
  success: CircuitOutcome.SUCCESS,
  slow: CircuitOutcome.SLOW,
  failure: CircuitOutcome.FAILURE,
};

const badness: Readonly<Record<BreakerState, number>> = { closed: 0, half_open: 1, open: 2 };

/** The worst of some states: open, half-open, closed. */
export function worstState(all: Iterable<BreakerState>): CircuitState {
  let worst: BreakerState = 'closed';
  for (const state of all) if (badness[state] > badness[worst]) worst = state;
  return states[worst];
}

/** The state of one breaker in the words of the contract. */
export function stateOf(state: BreakerState): CircuitState {
  return states[state];
}

/** The breakers of a provider, from what each of them is now. */
export function describeBreakers(
  provider: string,
  snapshots: ReadonlyMap<string, BreakerSnapshot>,
  standing: ProviderStanding,
): DescribedBreakers {
  return {
    whole: describe(provider, '', summed([...snapshots.values()], standing), mergedHistory(snapshots)),
    models: [...snapshots].map(([model, snapshot]) =>
      describe(
        provider,
        model,
        snapshot,
        snapshot.history.map((entry) => eventOf(model, entry)),
      ),
    ),
  };
}

type Summed = Omit<BreakerSnapshot, 'history'>;

/** When it opened and why are those of the one in the worst state that has been in it for longest. */
function summed(snapshots: readonly BreakerSnapshot[], { hold, heldAt, openForMs }: ProviderStanding): Summed {
  const sum = (count: (snapshot: BreakerSnapshot) => number) =>
    snapshots.reduce((total, each) => total + count(each), 0);
  const latest = (time: (snapshot: BreakerSnapshot) => number | undefined) => extreme(snapshots.map(time), Math.max);
  const failures = sum(({ window }) => window.failures);
  const successes = sum(({ window }) => window.successes);
  const worst = snapshots.toSorted(
    (a, b) => badness[b.state] - badness[a.state] || (a.openedAt ?? 0) - (b.openedAt ?? 0),
  )[0];
  const isHeldOpen = hold === 'open';
  return {
    state: isHeldOpen ? 'open' : (worst?.state ?? 'closed'),
    hold,
    totals: {
      calls: sum(({ totals }) => totals.calls),
      successes: sum(({ totals }) => totals.successes),
      failures: sum(({ totals }) => totals.failures),
    },
    window: { successes, failures, slow: sum(({ window }) => window.slow) },
    failureRate: failures === 0 ? 0 : failures / (failures + successes),
    lastFailureAt: latest(({ lastFailureAt }) => lastFailureAt),
    lastSuccessAt: latest(({ lastSuccessAt }) => lastSuccessAt),
    recoveryTimeoutMs: latest(({ recoveryTimeoutMs }) => recoveryTimeoutMs) ?? openForMs,
    openedAt: isHeldOpen ? heldAt : worst?.openedAt,
    nextTrialAt: isHeldOpen
      ? undefined
      : extreme(
          snapshots.map(({ nextTrialAt }) => nextTrialAt),
          Math.min,
        ),
    reason: isHeldOpen ? 'operator' : (worst?.reason ?? ''),
    timesOpened: sum(({ timesOpened }) => timesOpened),
  };
}

function extreme(values: readonly (number | undefined)[], choose: (...known: number[]) => number): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : choose(...known);
}

/** Equal times stay in the order in which they happened at each model. */
function mergedHistory(snapshots: ReadonlyMap<string, BreakerSnapshot>): CircuitEvent[] {
  return [...snapshots]
    .flatMap(([model, { history }]) => history.map((entry) => ({ model, entry })))
    .sort((a, b) => a.entry.at - b.entry.at)
    .slice(-longestHistory)
    .map(({ model, entry }) => eventOf(model, entry));
}

function eventOf(model: string, { at, outcome, state, reason }: HistoryEntry): CircuitEvent {
  return {
    $typeName: 'llmgateway.v1.CircuitEvent',
    time: timestampOf(at),
    model,
    event: outcome
      ? { case: 'outcome', value: outcomes[outcome] }
      : { case: 'state', value: state ? states[state] : CircuitState.UNSPECIFIED },
    reason,
  };
}

function describe(provider: string, model: string, breaker: Summed, history: CircuitEvent[]): CircuitBreaker {
  const { totals, window, lastFailureAt, lastSuccessAt, openedAt, nextTrialAt } = breaker;
  return {
    $typeName: 'llmgateway.v1.CircuitBreaker',
    provider,
    model,
    state: states[breaker.state],
    hold: breaker.hold ? holds[breaker.hold] : CircuitHold.UNSPECIFIED,
    totalCalls: totals.calls,
    totalSuccesses: totals.successes,
    totalFailures: totals.failures,
    failureCount: window.failures,
    successCount: window.successes,
    slowCount: window.slow,
    failureRate: breaker.failureRate,
    recoveryTimeout: durationOf(breaker.recoveryTimeoutMs),
    reason: breaker.reason,
    timesOpened: breaker.timesOpened,
    history,
    ...(lastFailureAt !== undefined && { lastFailureTime: timestampOf(lastFailureAt) }),
    ...(lastSuccessAt !== undefined && { lastSuccessTime: timestampOf(lastSuccessAt) }),
    ...(openedAt !== undefined && { openedTime: timestampOf(openedAt) }),
    ...(nextTrialAt !== undefined && { nextTrialTime: timestampOf(nextTrialAt) }),
  };
}
