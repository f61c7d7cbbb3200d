import type { Model, ModelCapabilities } from '../../../gen/llmgateway/v1/provider_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { Gateway } from '../../gateway.ts';
import { decoded, type Route } from './router.ts';
import { secondsOf } from './times.ts';

const FOLDER = '/v1/models/';

/** `GET /v1/models` and `GET /v1/models/{id}`, whose id may hold slashes, plain or encoded. */
export function modelRoutes(gateway: Gateway): Route[] {
  return [
    {
      path: '/v1/models',
      async get(exchange, principal) {
        const models = await gateway.listModels(principal);
        exchange.answer(200, JSON.stringify({ object: 'list', data: models.map(modelJson) }));
      },
    },
    {
      path: `${FOLDER}*`,
      async get(exchange, principal) {
        const id = decoded(exchange.path.slice(FOLDER.length), 'model');
        const models = await gateway.listModels(principal);
        const model =
          models.find((each) => each.id === id) ?? models.find((each) => `${each.provider}/${each.id}` === id);
        if (!model) throw new GatewayError('model_not_found', `the model ${JSON.stringify(id)} is not known`);
        exchange.answer(200, JSON.stringify(modelJson(model)));
      },
    },
  ];
}

/** OpenAI's four keys, and beside them what the gateway knows; prices are US dollars for a million tokens. */
function modelJson(model: Model): object {
  return {
    id: model.id,
    object: 'model',
    created: model.createdAt ? Math.floor(secondsOf(model.createdAt)) : 0,
    owned_by: model.ownedBy || model.provider || 'llm-gateway',
    provider: model.provider || null,
    alias: model.alias,
    context_window: model.contextWindow ?? null,
    max_output_tokens: model.maxOutputTokens ?? null,
    input_price: model.inputPrice ?? null,
    output_price: model.outputPrice ?? null,
    cached_input_price: model.cachedInputPrice ?? null,
    cache_write_price: model.cacheWritePrice ?? null,
    capabilities: capabilitiesJson(model.capabilities),
    quality: model.quality ?? null,
  };
}

/** What a model can do; null where that is not known. */
function capabilitiesJson(capabilities: ModelCapabilities | undefined): object {
  const { tools = null, vision = null, jsonSchema = null, reasoning = null } = capabilities ?? {};
  return { tools, vision, json_schema: jsonSchema, reasoning };
}
