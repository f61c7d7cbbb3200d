import type { Provider } from '../providers/provider.ts';
import type { StopSignal } from '../stop.ts';

/** A provider that may be there or not, and can be looked for. */
export interface Detectable extends Provider {
  /** Look whether it answers; sets `unavailable`. Never fails. */
  detect(signal: StopSignal): Promise<void>;
}

/** What a fleet is made of. */
export interface FleetOptions {
  /** Every provider of the configuration, in its order, those that are on only by default among them. */
  readonly providers: readonly Provider[];
  /** Names of those that somebody enabled. */
  readonly enabled: ReadonlySet<string>;
  /** The one that makes up its answers, for when there is nothing else at all. */
  readonly demo: Provider;
}

/**
 * The providers that serve at this moment.
 *
 * `demo` steps in only where nobody configured a provider and none was found: one that is configured and fails is never
 * replaced by made-up answers.
 */
export class Fleet {
  readonly enabled: ReadonlySet<string>;
  readonly #providers: readonly Provider[];
  readonly #withDemo: readonly Provider[];

  constructor({ providers, enabled, demo }: FleetOptions) {
    this.enabled = enabled;
    this.#providers = providers;
    this.#withDemo = [...providers, demo];
  }

  serving(): readonly Provider[] {
    const someServes = this.enabled.size > 0 || this.#providers.some(({ unavailable }) => unavailable === undefined);
    return someServes ? this.#providers : this.#withDemo;
  }

  /** Look for those that may be there or not. */
  async detect(timeoutMs: number): Promise<void> {
    const detectable = this.#providers.filter((provider): provider is Detectable => 'detect' in provider);
    await Promise.all(detectable.map((provider) => provider.detect(AbortSignal.timeout(timeoutMs))));
  }
}
