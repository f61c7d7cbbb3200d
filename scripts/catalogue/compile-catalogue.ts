import type { ListName, PublishedModel } from '../../src/routing/published-models.ts';
import { overrides } from './overrides.ts';
import { literally, publishedPrices } from './published-prices.ts';

/** The lists of published models: prices from `@pydantic/genai-prices`, and our own facts over them. */
export function compileCatalogue(): Record<ListName, PublishedModel[]> {
  const lists: Record<ListName, PublishedModel[]> = {
    anthropic: publishedPrices('anthropic'),
    // Google's list has Vertex's models of other makers too, which the Gemini API has not.
    gemini: publishedPrices('google').filter(({ id }) => id.startsWith('gem')),
    github_models: [],
    groq: publishedPrices('groq'),
    openai: publishedPrices('openai'),
  };
  for (const { list, ids, facts } of overrides) {
    for (const id of ids) lay(facts, id, lists[list]);
  }
  return lists;
}

function lay(facts: Partial<PublishedModel>, id: string, models: PublishedModel[]): void {
  const index = models.findIndex(({ match }) => new RegExp(match, 'i').test(id));
  const known = models[index];
  if (known?.id === id) models[index] = { ...known, ...facts };
  else models.splice(Math.max(index, 0), 0, { ...known, id, match: `^${literally(id)}$`, ...facts });
}
