import { isObject, textOf } from './json-value.ts';
import type { ListedModel } from './provider.ts';

/** Read Anthropic's list of models; undefined: it is none. */
export function readModels(body: unknown): ListedModel[] | undefined {
  if (!isObject(body) || !Array.isArray(body.data)) return undefined;
  return body.data.filter(isObject).flatMap((model) => {
    const id = textOf(model.id);
    if (id === '' || model.lifecycle === 'retired') return [];
    const created = Date.parse(textOf(model.created_at)) / 1_000;
    return {
      id,
      ownedBy: 'anthropic',
      created: created > 0 ? created : undefined,
      contextWindow: positive(model.max_input_tokens),
      maxOutputTokens: positive(model.max_tokens),
    };
  });
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
