import type { Capabilities, Price } from '../providers/target.ts';
import snapshot from './published-models.json' with { type: 'json' };

/** A model as it is published; what is unset is unknown. */
export interface PublishedModel {
  readonly id: string;
  /** Regular expression over the ids, in any case, that mean this model. */
  readonly match: string;
  /** Prices by the day from which they hold (`2027-01-01`, UTC), earliest first; the first has no day. */
  readonly prices?: readonly (Price & { readonly from?: string })[];
  readonly contextWindow?: number;
  readonly maxOutputTokens?: number;
  readonly capabilities?: Capabilities;
}

/** Whose models a list holds. */
export type ListName = keyof typeof snapshot.lists;

/** Which list holds for a provider, by its kind or else by whom its base URL reaches; undefined: none. */
export function listFor(kind: string, baseUrl: string): ListName | undefined {
  if (kind !== 'openai_compatible') return kind in snapshot.lists ? (kind as ListName) : undefined;
  return listAt[URL.parse(baseUrl)?.hostname ?? ''];
}

const listAt: Readonly<Record<string, ListName>> = {
  'api.openai.com': 'openai',
  'api.groq.com': 'groq',
  'api.anthropic.com': 'anthropic',
  'generativelanguage.googleapis.com': 'gemini',
};

const patterns = new Map<PublishedModel, RegExp>();

/** The first model of a list that an id means; undefined: none. */
export function publishedModel(list: ListName, id: string): PublishedModel | undefined {
  return (snapshot.lists[list] as readonly PublishedModel[]).find((model) => patternOf(model).test(id));
}

function patternOf(model: PublishedModel): RegExp {
  let pattern = patterns.get(model);
  if (!pattern) {
    pattern = new RegExp(model.match, 'i');
    patterns.set(model, pattern);
  }
  return pattern;
}

/** What a published model costs at a moment, in milliseconds since 1970. */
export function priceAt({ prices }: PublishedModel, at: number): Price | undefined {
  return prices?.findLast(({ from }) => from === undefined || at >= Date.parse(from));
}
