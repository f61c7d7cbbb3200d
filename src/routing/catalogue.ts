import type { ListedModel, Provider } from '../providers/provider.ts';
import type { Capabilities, Price, Rates } from '../providers/target.ts';
import { type ListName, type PublishedModel, priceAt, publishedModel } from './published-models.ts';

/** What the gateway knows of a model at a provider. */
export interface ModelFacts {
  readonly id: string;
  readonly provider: string;
  /** As it is now. */
  readonly price: Price | undefined;
  readonly contextWindow: number | undefined;
  readonly maxOutputTokens: number | undefined;
  readonly capabilities: Capabilities | undefined;
  readonly quality: number | undefined;
  readonly ownedBy: string | undefined;
  /** Seconds since 1970. */
  readonly created: number | undefined;
}

/** A model as the configuration describes it. */
export interface ConfiguredModel {
  readonly id: string;
  readonly provider: string;
  readonly rates: Pick<Rates, 'input' | 'output' | 'cachedInput'>;
  readonly contextWindow: number | undefined;
  readonly quality: number | undefined;
}

/** How the lists of providers are kept fresh. */
export interface CatalogueOptions {
  /** The providers that serve now. */
  readonly providers: () => readonly Provider[];
  readonly models: readonly ConfiguredModel[];
  /** The list of published models that holds for a provider, by its name; undefined: none. */
  readonly listOf: (provider: string) => ListName | undefined;
  /** How old a provider's list may be, in milliseconds. */
  readonly freshMs: number;
  /** How long a provider may take to list its models, in milliseconds. */
  readonly timeoutMs: number;
  /** Whether a provider may be asked at this moment. The default: it may. */
  readonly mayAsk?: (provider: string) => boolean;
  /** Told each time a provider was asked, with the error that it ended in, if any. */
  readonly onAsked?: (provider: string, error: unknown) => void;
}

/** As many ids are looked up once only; more come from callers who make names up. */
const maxRemembered = 1_000;

/**
 * The models that can be named: those of the configuration, every provider's default, and what providers list.
 *
 * A provider is asked for its list when somebody wants to know: when models are listed, when a name is not known yet, and when it is
 * to be learnt whether it is well. Lists are kept for a while, failed ones too, so that unknown names cannot be used to flood a
 * provider. One that is to be left alone is not asked.
 */
export class Catalogue {
  readonly #options: CatalogueOptions;
  readonly #configured = new Map<string, Map<string, ConfiguredModel>>();
  readonly #listed = new Map<string, { at: number; models: ReadonlyMap<string, ListedModel> }>();
  readonly #asking = new Map<string, Promise<void>>();
  readonly #published = new Map<string, PublishedModel | undefined>();
  /** Changes whenever something else may be known of models. */
  version = 0;

  constructor(options: CatalogueOptions) {
    this.#options = options;
    for (const model of options.models) {
      const ofProvider = this.#configured.get(model.provider) ?? new Map<string, ConfiguredModel>();
      this.#configured.set(model.provider, ofProvider.set(model.id, model));
    }
  }

  /** Take over the lists of providers that an older catalogue has asked, and that are still the same. */
  takeOver(before: Catalogue): void {
    const theirs = new Set(before.#options.providers());
    for (const provider of this.#options.providers()) {
      const listed = theirs.has(provider) ? before.#listed.get(provider.name) : undefined;
      if (listed) this.#listed.set(provider.name, listed);
    }
  }

  /** What is known of a model: the configuration goes before the provider's own list, and that before what is published. */
  factsOf(provider: string, id: string): ModelFacts {
    const configured = this.#configured.get(provider)?.get(id);
    const listed = this.#listed.get(provider)?.models.get(id);
    const published = this.#publishedModel(provider, id);
    const price = published && priceAt(published, Date.now());
    return {
      id,
      provider,
      price: configured ? priceOver(price, configured.rates) : price,
      contextWindow: configured?.contextWindow ?? listed?.contextWindow ?? published?.contextWindow,
      maxOutputTokens: listed?.maxOutputTokens ?? published?.maxOutputTokens,
      capabilities: published?.capabilities,
      quality: configured?.quality,
      ownedBy: listed?.ownedBy,
      created: listed?.created,
    };
  }

  /**
   * What a call costs that asked for one model and was answered by another.
   *
   * Providers replace models, and charge for the one that answered. One that is not known, or is a version of the one that was
   * asked, costs what that one does.
   */
  priceOf(provider: string, asked: string, answered: string): Price | undefined {
    const isConfigured = this.#configured.get(provider)?.has(answered);
    const published = this.#publishedModel(provider, answered);
    const isAnother = published !== undefined && published !== this.#publishedModel(provider, asked);
    return this.factsOf(provider, isConfigured || isAnother ? answered : asked).price;
  }

  #publishedModel(provider: string, id: string): PublishedModel | undefined {
    const list = this.#options.listOf(provider);
    if (list === undefined) return undefined;
    const key = `${list} ${id}`;
    if (!this.#published.has(key)) {
      if (this.#published.size >= maxRemembered) this.#published.clear();
      this.#published.set(key, publishedModel(list, id));
    }
    return this.#published.get(key);
  }

  /** The ids a provider is known to have now, without asking it. */
  idsOf(provider: Provider): Set<string> {
    const ids = new Set<string>(this.#configured.get(provider.name)?.keys());
    if (provider.defaultModel) ids.add(provider.defaultModel);
    for (const id of this.#listed.get(provider.name)?.models.keys() ?? []) ids.add(id);
    return ids;
  }

  /** Whether a provider is known to have a model. */
  has(provider: Provider, id: string): boolean {
    return (
      provider.defaultModel === id ||
      this.#configured.get(provider.name)?.has(id) === true ||
      this.#listed.get(provider.name)?.models.has(id) === true
    );
  }

  /** Whether some provider's list has not been asked for, or not lately. */
  get stale(): boolean {
    return this.#options.providers().some((provider) => this.#isStale(provider));
  }

  /** Ask providers whose lists are not fresh. Never fails: one that does not answer lists nothing new. */
  async refresh(): Promise<void> {
    await this.refreshOlder(this.#options.freshMs);
  }

  /** Ask providers whose lists are older than so many milliseconds, as far as they may be asked. Never fails. */
  async refreshOlder(ageMs: number): Promise<void> {
    const old = this.#options.providers().filter((provider) => this.#isOlder(provider, ageMs));
    await Promise.all(old.map((provider) => this.#ask(provider)));
  }

  #isStale(provider: Provider): boolean {
    return this.#isOlder(provider, this.#options.freshMs);
  }

  #isOlder({ name, unavailable }: Provider, ageMs: number): boolean {
    const listed = this.#listed.get(name);
    if (listed && performance.now() - listed.at <= ageMs) return false;
    return unavailable === undefined && (this.#options.mayAsk?.(name) ?? true);
  }

  #ask(provider: Provider): Promise<void> {
    let asking = this.#asking.get(provider.name);
    if (!asking) {
      asking = this.#list(provider).finally(() => this.#asking.delete(provider.name));
      this.#asking.set(provider.name, asking);
    }
    return asking;
  }

  async #list(provider: Provider): Promise<void> {
    const { timeoutMs, onAsked } = this.#options;
    const models = await provider.listModels(AbortSignal.timeout(timeoutMs)).then(
      (listed) => {
        onAsked?.(provider.name, undefined);
        return new Map(listed.map((model) => [model.id, model]));
      },
      (error: unknown) => {
        onAsked?.(provider.name, error);
        return this.#listed.get(provider.name)?.models ?? new Map<string, ListedModel>();
      },
    );
    this.#listed.set(provider.name, { at: performance.now(), models });
    this.version++;
  }
}

/** Configured rates hold for prompts of any length; one for the prompt stands for all kinds of its tokens that have none. */
function priceOver(published: Price | undefined, { input, output, cachedInput }: Rates): Price | undefined {
  if (input === undefined && output === undefined && cachedInput === undefined) return published;
  const over = <Known extends Rates>(known: Known): Known => ({
    ...known,
    ...(input !== undefined && { input, cachedInput: undefined, cacheWrite: undefined, audioInput: undefined }),
    ...(output !== undefined && { output, audioOutput: undefined }),
    ...(cachedInput !== undefined && { cachedInput }),
  });
  return { ...over(published ?? {}), tiers: published?.tiers?.map(over) };
}
