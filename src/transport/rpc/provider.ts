import { setTimeout as pause } from 'node:timers/promises';
import type { ServiceImpl } from '@connectrpc/connect';
import type { Provider } from '../../../gen/llmgateway/v1/provider_pb.ts';
import type { ProviderService } from '../../../gen/llmgateway/v1/provider_service_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { Gateway } from '../../gateway.ts';
import type { DoorDependencies } from '../call.ts';
import { principalOf } from './arrival.ts';

/** How often a watcher looks for changes, in milliseconds. */
const WATCH_MS = 200;

/** What is behind the gateway, by rpc. */
export function providerService({ gateway, draining }: DoorDependencies): ServiceImpl<typeof ProviderService> {
  return {
    listProviders: () => ({ providers: [...gateway.listProviders()] }),
    getProvider: ({ name }) => {
      if (name === '') {
        const violations = [{ field: 'name', description: 'is required' }];
        throw new GatewayError('invalid_request', 'name: is required', { violations });
      }
      return { provider: findProvider(gateway, name) };
    },
    async *watchProviders({ name }, { signal }) {
      if (name !== '') findProvider(gateway, name);
      const told = new Map<string, string>();
      while (!draining()) {
        for (const provider of gateway.listProviders()) {
          if (name !== '' && provider.name !== name) continue;
          const standing = standingOf(provider);
          if (told.get(provider.name) === standing) continue;
          told.set(provider.name, standing);
          yield { provider };
        }
        await pause(WATCH_MS, undefined, { signal, ref: false });
      }
      throw new GatewayError('draining', 'the gateway is shutting down');
    },

    async listModels({ provider }, context) {
      if (provider !== '') findProvider(gateway, provider);
      const models = await gateway.listModels(principalOf(context));
      return { models: models.filter((model) => provider === '' || model.provider === provider) };
    },
  };
}

/** What a watcher is told of when it changes: not the counts and times, which change with every call. */
function standingOf({ status }: Provider): string {
  return JSON.stringify([
    status?.available,
    status?.healthy,
    status?.circuitState,
    status?.limitedFor !== undefined,
    status?.unavailableReason,
    status?.lastProbeError,
  ]);
}

function findProvider(gateway: Gateway, name: string) {
  const providers = gateway.listProviders();
  const found = providers.find((provider) => provider.name === name);
  if (found) return found;
  const known = providers.map((provider) => provider.name).join(', ');
  throw new GatewayError('not_found', `there is no provider ${JSON.stringify(name)}, only ${known || 'none'}`);
}
