import type { CircuitHold } from '../../../gen/llmgateway/v1/provider_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { Gateway } from '../../gateway.ts';
import type { DoorDependencies } from '../call.ts';
import { readJsonBody } from './body.ts';
import { optionsFromHeaders } from './call-options.ts';
import { breakerJson, holdWords } from './circuit-breaker.ts';
import { renamed } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { explainedRouteJson } from './explained-route.ts';
import { isSet, type JsonObject, readText, readWord, wrong } from './fields.ts';
import { readNativeRequest } from './openai-request.ts';
import { purgeRoute } from './purge-cache.ts';
import { readQuery } from './query.ts';
import type { Parameters, Route } from './router.ts';
import { answerUsage } from './usage.ts';

const BREAKER = '/admin/providers/{provider}/circuit-breaker';

/** The routes that only an administrator may use: all of them need admin rights, which the marking here sees to. */
export function adminRoutes(dependencies: DoorDependencies): Route[] {
  const { gateway, bodyLimitBytes, reload } = dependencies;
  const routes: Omit<Route, 'admin' | 'public'>[] = [
    {
      path: BREAKER,
      get(exchange, _principal, parameters) {
        const { model } = readQuery(exchange, ['model']);
        answerBreaker(exchange, gateway, providerIn(parameters), model ?? '');
      },
      async post(exchange, _principal, parameters) {
        readQuery(exchange, []);
        const { hold, model } = readHold(await readJsonBody(exchange.request, bodyLimitBytes));
        const provider = providerIn(parameters);
        gateway.setCircuitBreaker(provider, model, hold);
        answerBreaker(exchange, gateway, provider, model);
      },
    },
    {
      path: `${BREAKER}/reset`,
      post(exchange, _principal, parameters) {
        const { model } = readQuery(exchange, ['model']);
        const provider = providerIn(parameters);
        gateway.resetCircuitBreaker(provider, model ?? '');
        const message = `Circuit breaker reset for ${provider}`;
        exchange.answer(200, JSON.stringify({ message, ...(model && { model }) }));
      },
    },
    {
      path: '/admin/usage',
      get: (exchange) => answerUsage(exchange, gateway),
    },
    {
      path: '/admin/explain-route',
      async post(exchange, principal) {
        const body = await readJsonBody(exchange.request, bodyLimitBytes);
        const chat = readNativeRequest(body, optionsFromHeaders(exchange));
        try {
          const explained = await gateway.explainRoute(chat.request, { principal, streaming: chat.stream });
          exchange.answer(200, JSON.stringify(explainedRouteJson(explained)));
        } catch (cause) {
          throw cause instanceof GatewayError ? renamed(cause, chat.nameOf) : cause;
        }
      },
    },
    {
      path: '/admin/reload',
      async post(exchange) {
        readQuery(exchange, []);
        const { changedSections, notices, appliedCount, refusedCount } = await reload();
        const counts = { applied_count: appliedCount, refused_count: refusedCount };
        exchange.answer(200, JSON.stringify({ changed_sections: changedSections, notices, ...counts }));
      },
    },
  ];
  return [...routes, purgeRoute(dependencies)].map((route) => ({ ...route, admin: true }));
}

function providerIn({ provider = '' }: Parameters): string {
  return provider;
}

/** The breakers of a provider, or that of one model in the same shape. */
function answerBreaker(exchange: Exchange, gateway: Gateway, provider: string, model: string): void {
  const { whole, models } = gateway.circuitBreakerOf(provider);
  const wanted = model === '' ? models : models.filter((breaker) => breaker.model === model);
  const top = model === '' ? whole : wanted[0];
  if (!top)
    throw new GatewayError('not_found', `no call has gone to the model ${JSON.stringify(model)} of ${provider}`);
  exchange.answer(200, JSON.stringify({ ...breakerJson(top), models: wanted.map(breakerJson) }));
}

function readHold({ hold, model, ...unknown }: JsonObject): { hold: CircuitHold; model: string } {
  for (const name in unknown) throw wrong(name, 'is not a field of this request');
  return { hold: readWord(hold, 'hold', holdWords), model: isSet(model) ? readText(model, 'model') : '' };
}
