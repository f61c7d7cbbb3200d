import type { BreakerClock, Hold } from './circuit-breaker.ts';
import { ProviderGuard, type ProviderLimits } from './provider-guard.ts';
import { type AttemptRecord, type GuardSettings, TargetGuard } from './target-guard.ts';

/** Callers may name models that nobody lists: more than so many of a provider are not kept. */
const MAX_MODELS = 1_000;

/** What guards are made with. */
export interface GuardsOptions {
  readonly settings: GuardSettings;
  readonly limitsOf: (provider: string) => ProviderLimits;
  readonly recordOf: (provider: string, model: string) => AttemptRecord;
  readonly clock: BreakerClock;
}

interface Guarded {
  readonly guard: ProviderGuard;
  readonly models: Map<string, TargetGuard>;
}

/** The guards of all targets, by the names of provider and model. They outlive the configuration that made them. */
export class Guards {
  readonly #clock: BreakerClock;
  readonly #recordOf: GuardsOptions['recordOf'];
  readonly #providers = new Map<string, Guarded>();
  #settings: GuardSettings;
  #limitsOf: GuardsOptions['limitsOf'];

  constructor({ settings, limitsOf, recordOf, clock }: GuardsOptions) {
    this.#settings = settings;
    this.#limitsOf = limitsOf;
    this.#recordOf = recordOf;
    this.#clock = clock;
  }

  /** Take a new configuration over; what the guards have learnt stays. */
  configure(settings: GuardSettings, limitsOf: GuardsOptions['limitsOf']): void {
    this.#settings = settings;
    this.#limitsOf = limitsOf;
    for (const [name, { guard, models }] of this.#providers) {
      guard.configure(limitsOf(name));
      for (const target of models.values()) target.configure(settings);
    }
  }

  /** The guard of a target. */
  of(provider: string, model: string): TargetGuard {
    const guarded = this.#guarded(provider);
    let guard = guarded.models.get(model);
    if (!guard) {
      if (guarded.models.size >= MAX_MODELS) forgetOne(guarded.models);
      guard = new TargetGuard(this.#settings, guarded.guard, this.#recordOf(provider, model), this.#clock);
      guarded.models.set(model, guard);
    }
    return guard;
  }

  /** What the targets of a provider share. */
  ofProvider(provider: string): ProviderGuard {
    return this.#guarded(provider).guard;
  }

  /** The guards of the models of a provider that were called, by model. */
  modelsOf(provider: string): ReadonlyMap<string, TargetGuard> {
    return this.#guarded(provider).models;
  }

  /** Hold the breakers of a provider, those of models that nobody has called yet too, or (undefined) let them go. */
  hold(provider: string, model: string, hold: Hold | undefined): void {
    if (model !== '') this.of(provider, model).breaker.setHold(hold);
    else {
      const guarded = this.#guarded(provider);
      guarded.guard.hold = hold;
      // What was held one by one is let go with the whole.
      if (hold === undefined)
        for (const { breaker } of guarded.models.values()) if (breaker.hold) breaker.setHold(undefined);
    }
  }

  /** Close the breakers of a provider, or that of one model, and forget what they have learnt. */
  reset(provider: string, model: string): void {
    const guarded = this.#guarded(provider);
    if (model === '') guarded.guard.hold = undefined;
    for (const [name, target] of guarded.models) {
      if (model !== '' && name !== model) continue;
      target.breaker.reset();
      target.warmUp();
    }
  }

  #guarded(provider: string): Guarded {
    let guarded = this.#providers.get(provider);
    if (!guarded) {
      guarded = { guard: new ProviderGuard(this.#limitsOf(provider), this.#clock.now), models: new Map() };
      this.#providers.set(provider, guarded);
    }
    return guarded;
  }
}

/** Forget the idle one that has not been used for the longest time; if none is idle, the longest unused of all. */
function forgetOne(models: Map<string, TargetGuard>): void {
  let chosen: string | undefined;
  let best = { idle: false, usedAt: Number.POSITIVE_INFINITY };
  for (const [model, { idle, usedAt }] of models) {
    if (best.idle && !idle) continue;
    if (best.idle === idle && usedAt >= best.usedAt) continue;
    chosen = model;
    best = { idle, usedAt };
  }
  if (chosen !== undefined) models.delete(chosen);
}
