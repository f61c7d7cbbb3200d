import { OTHER } from './windows.ts';

/** What a provider is called in metrics and traces, beside its own name. */
export interface ProviderNames {
  /** The conventions' name for it, such as `gcp.gemini`; its own where they have none. */
  readonly system: string;
  /** Host of its URL; undefined: it is within the gateway. */
  readonly address: string | undefined;
  readonly port: number | undefined;
  /** Scheme, host and port of its URL. */
  readonly origin: string | undefined;
  /** Whether it is sent the ids of traces. */
  readonly tracePropagated: boolean;
}

/** A provider's model, as metrics name it. */
export interface TargetLabels extends ProviderNames {
  readonly provider: string;
  readonly model: string;
}

/** A provider that is within the gateway, or gone from the configuration. */
export function namesWithin(system: string): ProviderNames {
  return { system, address: undefined, port: undefined, origin: undefined, tracePropagated: false };
}

const nobody: TargetLabels = { ...namesWithin(OTHER), provider: OTHER, model: OTHER };
/** Targets whose names are remembered; with more, names are put together anew each time. */
const MOST_REMEMBERED = 4000;

/**
 * The names that targets and keys have in metrics: those of the configuration and the catalogue; `other` for what only callers name.
 *
 * Prometheus keeps each name that it has seen. A caller must not be able to make up new ones.
 */
export class TargetNames {
  #providers: ReadonlyMap<string, ProviderNames> = new Map();
  #isKnown: (provider: string, model: string) => boolean = () => false;
  readonly #known = new Map<string, Map<string, TargetLabels>>();
  #remembered = 0;
  #keys: ReadonlySet<string> = new Set();

  /** Take these providers and keys for those that there are, and for known the models that `isKnown` knows. */
  configure(
    providers: ReadonlyMap<string, ProviderNames>,
    isKnown: (provider: string, model: string) => boolean,
    keys: ReadonlySet<string> = new Set(),
  ): void {
    this.#keys = keys;
    this.#providers = providers;
    this.#isKnown = isKnown;
    this.#known.clear();
    this.#remembered = 0;
  }

  /** What a caller is called: the name of its key. */
  ofKey(name: string): string {
    return this.#keys.has(name) ? name : OTHER;
  }

  of(provider: string, model: string): TargetLabels {
    return this.#known.get(provider)?.get(model) ?? this.#find(provider, model);
  }

  #find(provider: string, model: string): TargetLabels {
    const names = this.#providers.get(provider);
    if (names === undefined) return nobody;
    if (this.#isKnown(provider, model)) return this.#remember(names, provider, model);
    return this.#known.get(provider)?.get(OTHER) ?? this.#remember(names, provider, OTHER);
  }

  #remember(names: ProviderNames, provider: string, model: string): TargetLabels {
    const labels = { ...names, provider, model };
    if (this.#remembered++ < MOST_REMEMBERED) {
      const models = this.#known.get(provider) ?? new Map<string, TargetLabels>();
      this.#known.set(provider, models.set(model, labels));
    }
    return labels;
  }
}
