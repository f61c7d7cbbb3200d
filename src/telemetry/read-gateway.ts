import { type CircuitBreaker, CircuitState, type Provider } from '../../gen/llmgateway/v1/provider_pb.ts';
import type { Metrics, Reading } from './metrics.ts';
import type { ShedCounts } from './shed-counts.ts';
import type { TargetNames } from './target-names.ts';
import type { Windows } from './windows.ts';

/** Where metrics are read from that the gateway keeps anyway. */
export interface GatewaySources {
  readonly providers: () => readonly Provider[];
  /** The circuit breakers of a provider's models. */
  readonly circuitsOf: (provider: string) => readonly CircuitBreaker[];
  readonly activeCalls: () => number;
  readonly connections: () => number;
  readonly droppedLines: () => number;
  /** How many reloads of the configuration there were since the start. */
  readonly reloads: () => { readonly applied: number; readonly refused: number };
  readonly shed: ShedCounts;
}

const levels: Readonly<Record<CircuitState, number>> = {
  [CircuitState.UNSPECIFIED]: 0,
  [CircuitState.CLOSED]: 0,
  [CircuitState.HALF_OPEN]: 1,
  [CircuitState.OPEN]: 2,
};

/** Have the metrics read how the gateway and its providers do. */
export function readGateway(metrics: Metrics, names: TargetNames, sources: GatewaySources): void {
  const { providers, circuitsOf, activeCalls, connections, droppedLines, reloads, shed } = sources;
  const ofProviders = (value: (provider: Provider) => number | undefined) => () =>
    providers().flatMap((provider): Reading[] => {
      const read = value(provider);
      return read === undefined ? [] : [[[provider.name], read]];
    });
  metrics.read('active', () => [[[], activeCalls()]]);
  metrics.read('connections', () => [[[], connections()]]);
  // What is refused later than that is counted with the calls.
  metrics.read('shed', () => [
    [['in_flight'], shed.inFlight],
    [['overload'], shed.overload],
  ]);
  metrics.read('configReloads', () => [
    [['applied'], reloads().applied],
    [['refused'], reloads().refused],
  ]);
  metrics.read('logDropped', () => [[[], droppedLines()]]);
  metrics.read(
    'providerActive',
    ofProviders(({ status }) => status?.activeRequests),
  );
  metrics.read(
    'providerQueue',
    ofProviders(({ status }) => status?.queueLength),
  );
  metrics.read(
    'providerUsable',
    ofProviders(({ status }) => (status?.available && status.healthy ? 1 : 0)),
  );
  metrics.read(
    'providerRemaining',
    ofProviders(({ status }) => status?.rateLimitRemaining),
  );
  metrics.read('circuitState', () => {
    const worst = new Map<string, Reading>();
    for (const { name } of providers()) {
      for (const { model: of, state } of circuitsOf(name)) {
        const { provider, model } = names.of(name, of);
        // Models that only callers name are told as one: by the worst of them.
        const key = JSON.stringify([provider, model]);
        const before = worst.get(key)?.[1] ?? 0;
        worst.set(key, [[provider, model], Math.max(before, levels[state] ?? 0)]);
      }
    }
    return worst.values();
  });
}

/** Count the changes of circuit breakers. */
export function countCircuits(metrics: Metrics, windows: Windows, names: TargetNames) {
  const transitions = metrics.counter('circuitTransitions');
  return (provider: string, model: string, state: string): void => {
    const labels = names.of(provider, model);
    transitions.at(labels.provider, labels.model, state).add();
    if (state === 'open') windows.attempts(labels.provider, labels.model).openAt(windows.minute()).circuitsOpened++;
  };
}
