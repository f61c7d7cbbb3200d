import { type CircuitBreaker, CircuitHold } from '../../gen/llmgateway/v1/provider_pb.ts';
import { GatewayError } from '../errors.ts';
import type { Hold } from './circuit-breaker.ts';
import type { DescribedBreakers } from './describe-breaker.ts';
import type { Guards } from './guards.ts';

/** What an operator may see and do of the circuit breakers. An empty model means the provider as a whole. */
export interface BreakerControls {
  /** Throws `not_found` if no provider has that name. */
  circuitBreakerOf(provider: string): DescribedBreakers;
  /** Close breakers, forget what they have learnt, and end every hold. `not_found` for a model that was never called, too. */
  resetCircuitBreaker(provider: string, model: string): CircuitBreaker;
  /** Hold breakers open or closed, or let them go. */
  setCircuitBreaker(provider: string, model: string, hold: CircuitHold): CircuitBreaker;
}

/** Of the contract: longer names are no model's. */
const longestModel = 256;

const holds: ReadonlyMap<CircuitHold, Hold | undefined> = new Map([
  [CircuitHold.UNSPECIFIED, undefined],
  [CircuitHold.OPEN, 'open'],
  [CircuitHold.CLOSED, 'closed'],
]);

/** The controls of these guards, for the providers that there are. */
export function breakerControls(guards: Guards, providers: () => readonly string[]): BreakerControls {
  return {
    circuitBreakerOf(provider) {
      requireProvider(provider, providers());
      return guards.breakersOf(provider);
    },

    resetCircuitBreaker(provider, model) {
      requireProvider(provider, providers());
      checkModel(model);
      if (!guards.reset(provider, model)) throw neverCalled(provider, model, guards);
      return guards.breakersOf(provider).whole;
    },

    setCircuitBreaker(provider, model, hold) {
      requireProvider(provider, providers());
      checkModel(model);
      if (!holds.has(hold)) throw wrong('hold', `must be one of the words of CircuitHold, not ${hold}`);
      guards.hold(provider, model, holds.get(hold));
      return guards.breakersOf(provider).whole;
    },
  };
}

function requireProvider(name: string, known: readonly string[]): void {
  if (name === '') throw wrong('provider', 'is required');
  if (known.includes(name)) return;
  throw new GatewayError(
    'not_found',
    `there is no provider ${JSON.stringify(name)}, only ${known.join(', ') || 'none'}`,
  );
}

function checkModel(model: string): void {
  if (model.length <= longestModel) return;
  throw wrong('model', `must be at most ${longestModel} characters, not ${model.length}`);
}

function neverCalled(provider: string, model: string, guards: Guards): GatewayError {
  const called = guards.breakersOf(provider).models.map((breaker) => breaker.model);
  const shown = called.slice(0, 10).join(', ') + (called.length > 10 ? ', …' : '');
  return new GatewayError(
    'not_found',
    `no call has gone to the model ${JSON.stringify(model)} of ${provider}, only to ${shown || 'none'}`,
  );
}

function wrong(field: string, description: string): GatewayError {
  return new GatewayError('invalid_request', `${field}: ${description}`, { violations: [{ field, description }] });
}
