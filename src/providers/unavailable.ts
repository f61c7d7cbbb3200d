import { GatewayError } from '../errors.ts';
import type { ListedModel, Provider } from './provider.ts';

/** A provider of a kind that is known but not in effect: it is listed with the reason, and never called. */
export function unavailableProvider(name: string, kind: string, defaultModel: string, reason: string): Provider {
  const refuse = () => new GatewayError('provider_misconfigured', `${name}: ${reason}`, { provider: name });
  return {
    name,
    kind,
    defaultModel,
    unavailable: reason,
    // biome-ignore lint/correctness/useYield: it fails before it could
    async *complete() {
      throw refuse();
    },
    // biome-ignore lint/correctness/useYield: it fails before it could
    async *embed() {
      throw refuse();
    },
    async listModels(): Promise<readonly ListedModel[]> {
      return [];
    },
    async close() {},
  };
}
