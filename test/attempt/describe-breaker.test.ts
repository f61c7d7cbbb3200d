import { toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import {
  CircuitBreakerSchema,
  CircuitHold,
  CircuitOutcome,
  CircuitState,
} from '../../gen/llmgateway/v1/provider_pb.ts';
import type { HistoryEntry } from '../../src/attempt/breaker-record.ts';
import type { BreakerSnapshot } from '../../src/attempt/circuit-breaker.ts';
import { describeBreakers } from '../../src/attempt/describe-breaker.ts';
import { timestampOf } from '../../src/time.ts';

const nothing = { hold: undefined, heldAt: undefined, openForMs: 5_000 };

function snapshot(more: Partial<BreakerSnapshot> = {}): BreakerSnapshot {
  return {
    state: 'closed',
    hold: undefined,
    totals: { calls: 0, successes: 0, failures: 0 },
    window: { successes: 0, failures: 0, slow: 0 },
    failureRate: 0,
    lastFailureAt: undefined,
    lastSuccessAt: undefined,
    recoveryTimeoutMs: 5_000,
    openedAt: undefined,
    nextTrialAt: undefined,
    reason: '',
    timesOpened: 0,
    history: [],
    ...more,
  };
}

const open = snapshot({ state: 'open', openedAt: 2_000, nextTrialAt: 9_000, reason: 'provider_unavailable' });

function judged(at: number, outcome: HistoryEntry['outcome'] = 'success', reason = ''): HistoryEntry {
  return { at, outcome, state: undefined, reason };
}

describe('the breakers of a provider', () => {
  it('are one for each model, and closed as a whole before anybody has called', () => {
    const { whole, models } = describeBreakers('p', new Map(), nothing);
    expect(models).toEqual([]);
    expect(toJson(CircuitBreakerSchema, whole)).toEqual({
      provider: 'p',
      state: 'CIRCUIT_STATE_CLOSED',
      recoveryTimeout: '5s',
    });
  });

  it('tell everything that is known of a model', () => {
    const history = [
      judged(1_000),
      judged(1_500, 'slow'),
      judged(2_000, 'failure', 'provider_timeout'),
      { at: 2_000, outcome: undefined, state: 'open' as const, reason: 'provider_timeout' },
    ];
    const full = snapshot({
      ...open,
      hold: 'open',
      totals: { calls: 9, successes: 6, failures: 3 },
      window: { successes: 2, failures: 2, slow: 1 },
      failureRate: 0.5,
      lastFailureAt: 2_000,
      lastSuccessAt: 1_500,
      timesOpened: 4,
      history,
    });
    const [model] = describeBreakers('p', new Map([['m', full]]), nothing).models;
    expect(model).toMatchObject({
      provider: 'p',
      model: 'm',
      state: CircuitState.OPEN,
      hold: CircuitHold.OPEN,
      totalCalls: 9,
      totalSuccesses: 6,
      totalFailures: 3,
      failureCount: 2,
      successCount: 2,
      slowCount: 1,
      failureRate: 0.5,
      lastFailureTime: timestampOf(2_000),
      lastSuccessTime: timestampOf(1_500),
      openedTime: timestampOf(2_000),
      nextTrialTime: timestampOf(9_000),
      reason: 'provider_unavailable',
      timesOpened: 4,
    });
    expect(model?.history.map(({ time, model: of, event, reason }) => [time, of, event, reason])).toEqual([
      [timestampOf(1_000), 'm', { case: 'outcome', value: CircuitOutcome.SUCCESS }, ''],
      [timestampOf(1_500), 'm', { case: 'outcome', value: CircuitOutcome.SLOW }, ''],
      [timestampOf(2_000), 'm', { case: 'outcome', value: CircuitOutcome.FAILURE }, 'provider_timeout'],
      [timestampOf(2_000), 'm', { case: 'state', value: CircuitState.OPEN }, 'provider_timeout'],
    ]);
  });

  it.each([
    [['closed', 'half_open'], CircuitState.HALF_OPEN],
    [['half_open', 'open'], CircuitState.OPEN],
    [['open', 'closed'], CircuitState.OPEN],
    [['closed', 'closed'], CircuitState.CLOSED],
  ] as const)('are as a whole as bad as the worst of %j', (states, expected) => {
    const snapshots = new Map(states.map((state, at) => [`m${at}`, snapshot({ state })]));
    expect(describeBreakers('p', snapshots, nothing).whole.state).toBe(expected);
  });

  it('are as a whole what they are in sum', () => {
    const snapshots = new Map([
      [
        'a',
        snapshot({
          totals: { calls: 3, successes: 2, failures: 1 },
          window: { successes: 2, failures: 1, slow: 1 },
          lastFailureAt: 5_000,
          lastSuccessAt: 1_000,
          timesOpened: 1,
        }),
      ],
      [
        'b',
        snapshot({
          ...open,
          totals: { calls: 4, successes: 0, failures: 4 },
          window: { successes: 0, failures: 2, slow: 0 },
          lastFailureAt: 4_000,
          recoveryTimeoutMs: 20_000,
          timesOpened: 2,
        }),
      ],
      ['c', snapshot({ ...open, openedAt: 3_000, nextTrialAt: 8_000, reason: 'slow_calls' })],
    ]);
    expect(describeBreakers('p', snapshots, nothing).whole).toMatchObject({
      model: '',
      totalCalls: 7,
      totalSuccesses: 2,
      totalFailures: 5,
      successCount: 2,
      failureCount: 3,
      slowCount: 1,
      failureRate: 0.6,
      lastFailureTime: timestampOf(5_000),
      lastSuccessTime: timestampOf(1_000),
      recoveryTimeout: { seconds: 20n },
      openedTime: timestampOf(2_000),
      nextTrialTime: timestampOf(8_000),
      reason: 'provider_unavailable',
      timesOpened: 3,
    });
  });

  it('are open as a whole where an operator says so, whatever the models do', () => {
    const standing = { hold: 'open', heldAt: 7_000, openForMs: 5_000 } as const;
    const { whole } = describeBreakers('p', new Map([['a', open]]), standing);
    expect(whole).toMatchObject({
      state: CircuitState.OPEN,
      hold: CircuitHold.OPEN,
      openedTime: timestampOf(7_000),
      reason: 'operator',
    });
    expect(whole.nextTrialTime).toBeUndefined();
  });

  it('remember as a whole the last hundred things that happened at any model, in their order', () => {
    const even = Array.from({ length: 80 }, (_, at) => judged(at * 2));
    const odd = Array.from({ length: 80 }, (_, at) => judged(at * 2 + 1));
    const snapshots = new Map([
      ['even', snapshot({ history: even })],
      ['odd', snapshot({ history: odd })],
    ]);
    const { history } = describeBreakers('p', snapshots, nothing).whole;
    expect(history.map(({ time }) => Number(time?.nanos ?? 0) / 1e6)).toEqual(
      Array.from({ length: 100 }, (_, at) => 60 + at),
    );
    expect(new Set(history.map(({ model }) => model))).toEqual(new Set(['even', 'odd']));
  });
});
