import { describe, expect, it } from 'vitest';
import { CircuitHold, CircuitState } from '../../gen/llmgateway/v1/provider_pb.ts';
import { breakerControls } from '../../src/attempt/operator.ts';
import { GatewayError } from '../../src/errors.ts';
import { guardsFor } from './fake-provider.ts';

/** Controls of the providers `groq` and `local`, of which `groq` was called for the model `m`. */
function openControls() {
  const guards = guardsFor();
  guards.of('groq', 'm');
  return breakerControls(guards, () => ['groq', 'local']);
}

function errorOf(action: () => unknown): GatewayError {
  try {
    action();
  } catch (error) {
    return GatewayError.from(error);
  }
  throw new Error('nothing was thrown');
}

describe('the controls of breakers', () => {
  it('hold a provider, let it go, and reset it', () => {
    const controls = openControls();
    expect(controls.setCircuitBreaker('groq', '', CircuitHold.OPEN)).toMatchObject({
      provider: 'groq',
      model: '',
      state: CircuitState.OPEN,
      hold: CircuitHold.OPEN,
    });
    expect(controls.circuitBreakerOf('groq').models).toMatchObject([{ model: 'm', hold: CircuitHold.OPEN }]);

    expect(controls.setCircuitBreaker('groq', '', CircuitHold.UNSPECIFIED).state).toBe(CircuitState.HALF_OPEN);
    expect(controls.resetCircuitBreaker('groq', '').state).toBe(CircuitState.CLOSED);
  });

  it('hold a model that nobody has called yet', () => {
    const controls = openControls();
    controls.setCircuitBreaker('local', 'new', CircuitHold.CLOSED);
    expect(controls.circuitBreakerOf('local').models).toMatchObject([{ model: 'new', hold: CircuitHold.CLOSED }]);
  });

  it.each([
    ['circuitBreakerOf', (controls: ReturnType<typeof openControls>) => controls.circuitBreakerOf('gorq')],
    ['resetCircuitBreaker', (controls: ReturnType<typeof openControls>) => controls.resetCircuitBreaker('gorq', '')],
    ['setCircuitBreaker', (controls: ReturnType<typeof openControls>) => controls.setCircuitBreaker('gorq', '', 1)],
  ] as const)('name the providers that there are to %s of another', (_, act) => {
    const error = errorOf(() => act(openControls()));
    expect([error.reason, error.message]).toEqual(['not_found', 'there is no provider "gorq", only groq, local']);
  });

  it('name the models that were called to a reset of another', () => {
    const error = errorOf(() => openControls().resetCircuitBreaker('groq', 'x'));
    expect([error.reason, error.message]).toEqual([
      'not_found',
      'no call has gone to the model "x" of groq, only to m',
    ]);
  });

  it.each([
    ['provider', () => openControls().circuitBreakerOf(''), 'is required'],
    [
      'model',
      () => openControls().setCircuitBreaker('groq', 'x'.repeat(257), 1),
      'must be at most 256 characters, not 257',
    ],
    [
      'model',
      () => openControls().resetCircuitBreaker('groq', 'x'.repeat(257)),
      'must be at most 256 characters, not 257',
    ],
    [
      'hold',
      () => openControls().setCircuitBreaker('groq', '', 3 as CircuitHold),
      'must be one of the words of CircuitHold, not 3',
    ],
  ] as const)('refuse a wrong %s', (field, act, description) => {
    expect(errorOf(act)).toMatchObject({ reason: 'invalid_request', violations: [{ field, description }] });
  });
});
