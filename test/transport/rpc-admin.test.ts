import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterEach, describe, expect, it } from 'vitest';
import { BadRequestSchema } from '../../gen/google/rpc/error_details_pb.ts';
import { AdminService, ExplainRouteResponseSchema } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import { CircuitBreakerSchema, CircuitHold } from '../../gen/llmgateway/v1/provider_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Gateway } from '../../src/gateway.ts';
import type { Server } from '../../src/transport/server.ts';
import { anybody, clientOf, protocols, scriptedGateway, serveGateway } from './scripted-gateway.ts';

const open: Server[] = [];
afterEach(() => Promise.all(open.splice(0).map((server) => server.close())));

async function serve(gateway: Partial<Gateway>, admin = true) {
  const served = await serveGateway(scriptedGateway(gateway), {
    authenticate: () => ({ ...anybody, name: 'team-key', admin }),
  });
  open.push(served.server);
  return served.base;
}

const errorOf = (call: Promise<unknown>) =>
  call.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => ConnectError.from(error),
  );

const breaker = create(CircuitBreakerSchema, { provider: 'groq', totalCalls: 3 });
const ofModel = create(CircuitBreakerSchema, { provider: 'groq', model: 'm' });

describe.each(protocols)('the rpcs for administrators by %s', (_name, transportTo) => {
  it('show, reset and hold breakers', async () => {
    const asked: unknown[] = [];
    const base = await serve({
      circuitBreakerOf: (provider) => {
        asked.push([provider]);
        return { whole: breaker, models: [ofModel] };
      },
      resetCircuitBreaker: (...reset) => {
        asked.push(reset);
        return breaker;
      },
      setCircuitBreaker: (...set) => {
        asked.push(set);
        return breaker;
      },
    });
    const client = clientOf(AdminService, transportTo(base));

    const got = await client.getCircuitBreaker({ provider: 'groq' });
    expect([got.circuitBreaker?.totalCalls, got.models.map(({ model }) => model)]).toEqual([3, ['m']]);
    expect((await client.resetCircuitBreaker({ provider: 'groq', model: 'm' })).circuitBreaker?.totalCalls).toBe(3);
    await client.setCircuitBreaker({ provider: 'groq', hold: CircuitHold.CLOSED });
    expect(asked).toEqual([['groq'], ['groq', 'm'], ['groq', '', CircuitHold.CLOSED]]);
  });

  it('explain a route to the one who asks', async () => {
    const asked: unknown[] = [];
    const base = await serve({
      explainRoute: async ({ model }, { principal, streaming }) => {
        asked.push([model, principal.name, streaming]);
        return create(ExplainRouteResponseSchema, { route: 'fast' });
      },
    });
    const { route } = await clientOf(AdminService, transportTo(base)).explainRoute({ request: { model: 'fast' } });
    expect([route, asked]).toEqual(['fast', [['fast', 'team-key', false]]]);
  });

  it('are for nobody else', async () => {
    const base = await serve({}, false);
    const client = clientOf(AdminService, transportTo(base));
    const calls = {
      PurgeCache: () => client.purgeCache({}),
      GetCircuitBreaker: () => client.getCircuitBreaker({ provider: 'groq' }),
      ResetCircuitBreaker: () => client.resetCircuitBreaker({ provider: 'groq' }),
      SetCircuitBreaker: () => client.setCircuitBreaker({ provider: 'groq' }),
      ExplainRoute: () => client.explainRoute({}),
      ReloadConfig: () => client.reloadConfig({}),
      GetUsage: () => client.getUsage({}),
      GetMetrics: () => client.getMetrics({}),
      WatchMetrics: () => client.watchMetrics({})[Symbol.asyncIterator]().next(),
      ListCalls: () => client.listCalls({}),
    };
    expect(Object.keys(calls).sort()).toEqual(AdminService.methods.map(({ name }) => name).sort());
    for (const [name, call] of Object.entries(calls)) {
      const { code, rawMessage } = await errorOf(call());
      expect([code, rawMessage]).toEqual([
        Code.PermissionDenied,
        `llmgateway.v1.AdminService/${name} needs a key with admin rights`,
      ]);
    }
  });

  it('name wrong fields from the message of the rpc on', async () => {
    const fail = (field: string) => () => {
      throw new GatewayError('invalid_request', `${field}: is wrong`, {
        violations: [{ field, description: 'is wrong' }],
      });
    };
    const base = await serve({ circuitBreakerOf: fail('provider'), explainRoute: fail('messages') });
    const client = clientOf(AdminService, transportTo(base));
    const fields = async (call: Promise<unknown>) =>
      (await errorOf(call)).findDetails(BadRequestSchema)[0]?.fieldViolations.map(({ field }) => field);
    expect(await fields(client.getCircuitBreaker({}))).toEqual(['provider']);
    expect(await fields(client.explainRoute({}))).toEqual(['request.messages']);
  });
});
