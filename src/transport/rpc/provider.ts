import type { ServiceImpl } from '@connectrpc/connect';
import type { ProviderService } from '../../../gen/llmgateway/v1/provider_service_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { Gateway } from '../../gateway.ts';
import type { DoorDependencies } from '../call.ts';
import { principalOf } from './arrival.ts';

/** What is behind the gateway, by rpc. */
export function providerService({ gateway }: DoorDependencies): ServiceImpl<typeof ProviderService> {
  return {
    listProviders: () => ({ providers: [...gateway.listProviders()] }),
    getProvider: ({ name }) => {
      if (name === '') {
        const violations = [{ field: 'name', description: 'is required' }];
        throw new GatewayError('invalid_request', 'name: is required', { violations });
      }
      return { provider: findProvider(gateway, name) };
    },
    async listModels({ provider }, context) {
      if (provider !== '') findProvider(gateway, provider);
      const models = await gateway.listModels(principalOf(context));
      return { models: models.filter((model) => provider === '' || model.provider === provider) };
    },
  };
}

function findProvider(gateway: Gateway, name: string) {
  const providers = gateway.listProviders();
  const found = providers.find((provider) => provider.name === name);
  if (found) return found;
  const known = providers.map((provider) => provider.name).join(', ');
  throw new GatewayError('not_found', `there is no provider ${JSON.stringify(name)}, only ${known || 'none'}`);
}
