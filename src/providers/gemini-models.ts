import { isObject, textOf } from './json-value.ts';
import type { ListedModel } from './provider.ts';

/** A page of the model list. */
export interface ModelPage {
  readonly models: readonly ListedModel[];
  /** Names the next page; empty: there is none. */
  readonly nextPageToken: string;
}

/** What a model must know to be of use here. */
const methods = new Set(['generateContent', 'embedContent']);

/** Read one page of the list of models; undefined: it is none. Models for speech sessions, video and the like are passed over. */
export function readModelPage(body: unknown): ModelPage | undefined {
  if (!isObject(body) || !Array.isArray(body.models)) return undefined;
  const models = body.models.filter(isObject).flatMap((model) => {
    const { name, inputTokenLimit, outputTokenLimit, supportedGenerationMethods } = model;
    const id = textOf(name).replace(/^models\//, '');
    const known = Array.isArray(supportedGenerationMethods) ? supportedGenerationMethods : [...methods];
    if (id === '' || !known.some((method) => methods.has(method))) return [];
    return {
      id,
      ownedBy: 'google',
      contextWindow: positive(inputTokenLimit),
      maxOutputTokens: positive(outputTokenLimit),
    };
  });
  return { models, nextPageToken: textOf(body.nextPageToken) };
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
