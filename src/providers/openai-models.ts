import { isObject, type JsonObject, textOf } from './json-value.ts';
import type { ListedModel } from './provider.ts';

/** Where servers tell how much a model can read. */
const windowKeys = ['context_window', 'context_length', 'max_model_len', 'max_context_length'];

/** Read a list of models: OpenAI's `{data}`, `{models}`, or a bare array such as GitHub's catalogue. */
export function readModels(body: unknown): ListedModel[] | undefined {
  const list = Array.isArray(body) ? body : isObject(body) ? (body.data ?? body.models) : undefined;
  if (!Array.isArray(list)) return undefined;
  return list.filter(isObject).flatMap((model) => {
    const id = textOf(model.id) || textOf(model.name);
    // Groq lists what it has switched off, too.
    if (id === '' || model.active === false) return [];
    return {
      id,
      ownedBy: textOf(model.owned_by) || textOf(model.publisher) || undefined,
      created: positive(model.created),
      contextWindow: contextWindow(model),
      maxOutputTokens: positive(model.max_completion_tokens) ?? limitOf(model, 'max_output_tokens'),
    };
  });
}

function contextWindow(model: JsonObject): number | undefined {
  for (const key of windowKeys) {
    const size = positive(model[key]);
    if (size) return size;
  }
  return limitOf(model, 'max_input_tokens');
}

/** One of the limits in GitHub's catalogue. */
function limitOf({ limits }: JsonObject, key: string): number | undefined {
  return isObject(limits) ? positive(limits[key]) : undefined;
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
