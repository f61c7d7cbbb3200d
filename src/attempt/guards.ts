import type { CircuitState } from '../../gen/llmgateway/v1/provider_pb.ts';
import type { BreakerClock, BreakerState, Hold } from './circuit-breaker.ts';
import { type DescribedBreakers, describeBreakers, worstState } from './describe-breaker.ts';
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
  /** Told of each change of a circuit breaker. */
  readonly onChange?: ((provider: string, model: string, state: BreakerState) => void) | undefined;
}

/** How a provider stands with its guards at this moment. */
export interface GuardStanding {
  /** The worst of its models. */
  readonly circuitState: CircuitState;
  /** Calls in line for a place. */
  readonly queueLength: number;
  /** Calls that it still takes in its present period, as it says itself, or else as our own limits have it. */
  readonly remaining: number | undefined;
  /** How long no call is sent to it because of a limit, its own or ours; 0: it is not limited. */
  readonly limitedForMs: number;
}

interface Guarded {
  readonly guard: ProviderGuard;
  readonly models: Map<string, TargetGuard>;
}

/** The guards of all targets, by the names of provider and model. They outlive the configuration that made them. */
export class Guards {
  readonly #clock: BreakerClock;
  readonly #recordOf: GuardsOptions['recordOf'];
  readonly #onChange: GuardsOptions['onChange'];
  readonly #providers = new Map<string, Guarded>();
  #settings: GuardSettings;
  #limitsOf: GuardsOptions['limitsOf'];

  constructor({ settings, limitsOf, recordOf, clock, onChange }: GuardsOptions) {
    this.#settings = settings;
    this.#limitsOf = limitsOf;
    this.#recordOf = recordOf;
    this.#clock = clock;
    this.#onChange = onChange;
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
      const onChange = (state: BreakerState) => this.#onChange?.(provider, model, state);
      guard = new TargetGuard(this.#settings, guarded.guard, this.#recordOf(provider, model), this.#clock, onChange);
      guard.breaker.setHold(guarded.guard.hold);
      guarded.models.set(model, guard);
    }
    return guard;
  }

  /** The breakers of a provider, for people. */
  breakersOf(provider: string): DescribedBreakers {
    const { guard, models } = this.#guarded(provider);
    const snapshots = new Map([...models].map(([model, { breaker }]) => [model, breaker.snapshot()]));
    const { hold, heldAt } = guard;
    return describeBreakers(provider, snapshots, { hold, heldAt, openForMs: this.#settings.breaker.openForMs });
  }

  /** How a provider stands now. It is limited by its own word only once that holds for all models that were called. */
  standingOf(provider: string): GuardStanding {
    const { guard, models } = this.#guarded(provider);
    const targets = [...models.values()];
    const cooling = targets.length === 0 ? 0 : Math.min(...targets.map(({ limitedMs }) => limitedMs));
    return {
      circuitState:
        guard.hold === 'open' ? worstState(['open']) : worstState(targets.map(({ breaker }) => breaker.state)),
      queueLength: guard.places.waiting,
      remaining: guard.remaining ?? guard.left,
      limitedForMs: Math.max(cooling, guard.freeInMs),
    };
  }

  /** Whether a provider may be asked something that is no call: not while every breaker of it is open, or it is to be left alone. */
  mayAsk(provider: string): boolean {
    const { guard, models } = this.#guarded(provider);
    if (guard.hold === 'open') return false;
    for (const { breaker, coolMs } of models.values()) if (breaker.state !== 'open' && coolMs === 0) return true;
    return models.size === 0;
  }

  /**
   * Hold the breakers of a provider, those of models that nobody has called yet too, or (undefined) let them go.
   *
   * The latest word counts: a model may be held otherwise than the rest of its provider.
   */
  hold(provider: string, model: string, hold: Hold | undefined): void {
    if (model !== '') {
      this.of(provider, model).breaker.setHold(hold);
      return;
    }
    const { guard, models } = this.#guarded(provider);
    guard.hold = hold;
    for (const { breaker } of models.values()) breaker.setHold(hold);
  }

  /** Close the breakers of a provider, or that of one model, and forget what they have learnt. False: it was never called. */
  reset(provider: string, model: string): boolean {
    const { guard, models } = this.#guarded(provider);
    if (model === '') guard.hold = undefined;
    if (model !== '' && !models.has(model)) return false;
    for (const [name, target] of models) {
      if (model !== '' && name !== model) continue;
      target.breaker.reset();
      target.warmUp();
      // The hold on the whole is not this model's to end.
      if (guard.hold) target.breaker.setHold(guard.hold);
    }
    return true;
  }

  #guarded(provider: string): Guarded {
    let guarded = this.#providers.get(provider);
    if (!guarded) {
      guarded = { guard: new ProviderGuard(this.#limitsOf(provider), this.#clock), models: new Map() };
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
