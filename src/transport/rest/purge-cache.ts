import { create } from '@bufbuild/protobuf';
import { type PurgeCacheRequest, PurgeCacheRequestSchema } from '../../../gen/llmgateway/v1/admin_service_pb.ts';
import type { DoorDependencies } from '../call.ts';
import { readJsonBody } from './body.ts';
import { isSet, type JsonObject, readBoolean, readText, wrong } from './fields.ts';
import type { Route } from './router.ts';

/** `POST /admin/cache/purge`: forgets answers by `model`, `key` or `caller`, or `all` of them. */
export function purgeRoute({ gateway, bodyLimitBytes }: DoorDependencies): Omit<Route, 'admin' | 'public'> {
  return {
    path: '/admin/cache/purge',
    async post(exchange) {
      const purged = await gateway.purgeCache(readPurge(await readJsonBody(exchange.request, bodyLimitBytes)));
      exchange.answer(200, JSON.stringify({ message: `${purged} cached answers purged`, purged }));
    },
  };
}

const choices = ['model', 'key', 'caller', 'all'] as const;

function readPurge(body: JsonObject): PurgeCacheRequest {
  const known: readonly string[] = choices;
  for (const name in body) if (!known.includes(name)) throw wrong(name, 'is not a field of this request');
  const [choice, second] = choices.filter((name) => isSet(body[name]));
  if (choice === undefined) throw wrong('body', `one of ${choices.join(', ')} is required`);
  if (second !== undefined) throw wrong(second, `cannot be given beside ${choice}`);
  const value = body[choice];
  const selection =
    choice === 'all'
      ? { case: choice, value: readBoolean(value, choice) }
      : { case: choice, value: readText(value, choice) };
  return create(PurgeCacheRequestSchema, { selection });
}
