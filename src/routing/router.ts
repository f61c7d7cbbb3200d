import { type CompletionRequest, RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import type { Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import type { AttemptLimits, Target } from '../providers/target.ts';
import type { Catalogue } from './catalogue.ts';
import { misfit, type Need, needOf } from './need.ts';
import type { Observations } from './observations.ts';
import { type Candidate, type LeaveOut, type Names, type Resolution, type Route, resolve, wishOf } from './resolve.ts';
import { order, type Sight } from './strategies.ts';
import { Turn } from './turn.ts';

type Request = CompletionRequest | EmbeddingRequest;

/** What a call is resolved to: the targets that it may use, before they are put in order. */
export interface Resolved extends Omit<Resolution, 'candidates'> {
  readonly strategy: RoutingStrategy;
  /** In the configured order; at least one. */
  readonly targets: readonly Target[];
}

/** Why a target that the name leads to is not among those to be tried. */
export type WhyLeftOut = Parameters<LeaveOut>[1] | 'window_too_small' | 'lacks_capability';

/** Told of each target that is left out. */
export type LeaveOutTarget = (target: Candidate, why: WhyLeftOut) => void;

/** What targets are put in order by. */
export interface Ordering {
  readonly streaming: boolean;
  /** Whether a call may go to a target at this moment: one that is closed for the moment has no turn to lose. */
  readonly admits: (target: Target) => boolean;
  readonly leaveOut?: LeaveOutTarget;
  /** Whether the order is only looked at: then nobody's turn is taken. */
  readonly dry?: boolean;
}

/** What a router is made with. */
export interface RouterOptions {
  readonly names: Names;
  readonly catalogue: Catalogue;
  readonly observations: Observations;
  /** How targets are put in order where neither call nor route says so. */
  readonly strategy: RoutingStrategy;
  readonly limitsOf: (provider: string, route: Route | undefined, request: Request) => AttemptLimits;
  readonly random: () => number;
}

/** Groups that take turns; more come from callers who make names up. */
const maxTurns = 1_000;
const maxTargets = 2_000;
/** Names of models of one caller. */
const maxPlain = 200;

/** From the word in `model` to targets, and from targets to the order in which to try them. */
export class Router {
  readonly #options: RouterOptions;
  readonly #turns = new Map<string, Turn>();
  /** Made once and used by many calls, as long as nothing else is known of their models. */
  readonly #targets = new Map<string, { readonly version: number; readonly target: Target }>();
  readonly #resolved = new WeakMap<Request, Resolved | Promise<Resolved>>();
  /** Where calls that wish for nothing but a model go, by caller and model, as long as nothing else is known. */
  readonly #plain = new WeakMap<Principal, Map<string, PlainResolution>>();

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /**
   * The targets that a call may use. Throws, or rejects, where there is none, and says why.
   *
   * A call is resolved once, however many layers ask. A name that nobody is known to have may be new: then the providers whose
   * lists are old are asked, once.
   */
  resolve(request: Request, principal: Principal): Resolved | Promise<Resolved> {
    const known = this.#resolved.get(request);
    if (known) return known;
    const resolved = this.#resolveOrLookUp(request, principal);
    this.#resolved.set(request, resolved);
    if (resolved instanceof Promise) {
      resolved.then(
        (settled) => this.#resolved.set(request, settled),
        () => {},
      );
    }
    return resolved;
  }

  #resolveOrLookUp(request: Request, principal: Principal): Resolved | Promise<Resolved> {
    const { catalogue } = this.#options;
    try {
      return wishesForModelOnly(request) ? this.#resolvePlain(request, principal) : this.resolveNow(request, principal);
    } catch (error) {
      const isUnknown = error instanceof GatewayError && error.reason === 'model_not_found';
      if (!isUnknown || !catalogue.stale) throw error;
      return catalogue.refresh().then(() => this.resolveNow(request, principal));
    }
  }

  #resolvePlain(request: Request, principal: Principal): Resolved {
    const { names, catalogue } = this.#options;
    let ofCaller = this.#plain.get(principal);
    if (ofCaller === undefined) {
      ofCaller = new Map();
      this.#plain.set(principal, ofCaller);
    }
    const { providers } = names;
    const known = ofCaller.get(request.model);
    const isKnown = known?.version === catalogue.version && known.providers === providers;
    if (known && isKnown && known.resolved.targets.every(isAvailable)) return known.resolved;
    let isLasting = true;
    const resolved = this.resolveNow(request, principal, (_target, why) => {
      // It may be back at any time.
      if (why === 'unavailable') isLasting = false;
    });
    if (isLasting) {
      if (ofCaller.size >= maxPlain) ofCaller.clear();
      ofCaller.set(request.model, { version: catalogue.version, providers, resolved });
    }
    return resolved;
  }

  /** The same by what is known at this moment, and anew each time. */
  resolveNow(request: Request, principal: Principal, leaveOut?: LeaveOutTarget): Resolved {
    const { names } = this.#options;
    const { model, options } = request;
    const { candidates, ...resolution } = resolve(names, model, options, principal, leaveOut);
    const { route } = resolution;
    return {
      ...resolution,
      strategy: this.#strategyOf(request, route),
      targets: candidates.map((candidate) => this.targetOf(candidate, request, route)),
    };
  }

  /** What a call wishes for, whether or not somebody can serve it. */
  wishOf(request: Request): Pick<Resolved, 'route' | 'strategy' | 'fallback'> {
    const { route, fallback } = wishOf(this.#options.names, request.model, request.options);
    return { route, fallback, strategy: this.#strategyOf(request, route) };
  }

  #strategyOf({ options }: Request, route: Route | undefined): RoutingStrategy {
    return options?.routingStrategy || route?.strategy || this.#options.strategy;
  }

  /**
   * The targets of a call in the order in which to try them.
   *
   * - One that cannot answer the request is left out, unless none can: what is known of models may be wrong.
   * - The preferred provider goes first.
   * - Those that are closed for the moment come last, except where the order is the configured one.
   * - Without fallback only the first is left.
   */
  order(resolved: Resolved, request: Request, ordering: Ordering): readonly Target[] {
    const { preferred, fallback, strategy } = resolved;
    let need: Need | undefined;
    const knowNeed = () => (need ??= needOf(request));
    const fitting = fittingOf(resolved.targets, knowNeed, ordering.leaveOut);
    if (fitting.length === 1) return fitting;
    const sight = this.#sight(resolved, request, knowNeed, ordering);
    const [open, closed] = isConfiguredOrder(strategy) ? [fitting, []] : partition(fitting, ordering.admits);
    const ordered = [...order(strategy, open, sight), ...closed];
    const first = preferred === '' ? ordered : inFront(ordered, preferred);
    if (fallback) return first;
    for (const target of first.slice(1)) ordering.leaveOut?.(target, 'fallback_off');
    return first.slice(0, 1);
  }

  #sight(
    { route, preferred }: Resolved,
    { model }: Request,
    need: () => Need,
    { streaming, dry }: Ordering,
  ): Sight<Target> {
    const { observations, random } = this.#options;
    const turn = this.#turnOf(route?.model ?? (model || 'auto'));
    return {
      latencyCost: ({ provider, model: of }) => observations.ofTarget(provider.name, of).latencyCost(streaming),
      need,
      random,
      // A call that prefers a provider would take a turn that it does not use.
      turn: dry || preferred !== '' ? turn.copy() : turn,
    };
  }

  #turnOf(group: string): Turn {
    let turn = this.#turns.get(group);
    if (!turn) {
      if (this.#turns.size >= maxTurns) this.#turns.clear();
      turn = new Turn();
      this.#turns.set(group, turn);
    }
    return turn;
  }

  /** A candidate with all that is known of it. */
  targetOf({ provider, model, weight }: Candidate, request: Request, route: Route | undefined): Target {
    const { catalogue, limitsOf } = this.#options;
    const limits = limitsOf(provider.name, route, request);
    const key = `${route?.model ?? ''} ${provider.name} ${model}`;
    const known = this.#targets.get(key);
    if (known?.version === catalogue.version && known.target.limits === limits && known.target.weight === weight) {
      return known.target;
    }
    const { contextWindow, maxOutputTokens, capabilities, quality } = catalogue.factsOf(provider.name, model);
    const target: Target = {
      provider,
      model,
      weight,
      contextWindow,
      maxOutputTokens,
      capabilities,
      quality,
      priceOf: (answered) => catalogue.priceOf(provider.name, model, answered),
      limits,
      listed: route !== undefined || catalogue.has(provider, model),
    };
    if (this.#targets.size >= maxTargets) this.#targets.clear();
    this.#targets.set(key, { version: catalogue.version, target });
    return target;
  }
}

/** A resolution that holds as long as the catalogue has this version, and these are the providers. */
interface PlainResolution {
  readonly version: number;
  readonly providers: readonly Provider[];
  readonly resolved: Resolved;
}

/** Whether what a call asks for, beside its model, has no say in where it may go. */
function wishesForModelOnly(request: Request): boolean {
  const { options } = request;
  if ('reasoning' in request && request.reasoning !== undefined) return false;
  return !options || (options.provider === '' && options.routingStrategy === 0 && options.fallback === undefined);
}

function isAvailable({ provider }: Target): boolean {
  return provider.unavailable === undefined;
}

function fittingOf(
  targets: readonly Target[],
  need: () => Need,
  leaveOut: LeaveOutTarget | undefined,
): readonly Target[] {
  const areKnown = targets.some(({ contextWindow, capabilities }) => contextWindow !== undefined || capabilities);
  if (targets.length < 2 || !areKnown) return targets;
  const misfits = targets.map((target) => misfit(need(), target));
  if (misfits.every((why) => why === undefined) || !misfits.includes(undefined)) return targets;
  return targets.filter((target, at) => {
    const why = misfits[at];
    if (why) leaveOut?.(target, why);
    return why === undefined;
  });
}

function isConfiguredOrder(strategy: RoutingStrategy): boolean {
  return strategy === RoutingStrategy.FAILOVER;
}

function partition(targets: readonly Target[], admits: (target: Target) => boolean): [Target[], Target[]] {
  const [open, closed]: [Target[], Target[]] = [[], []];
  for (const target of targets) (admits(target) ? open : closed).push(target);
  return [open, closed];
}

function inFront(targets: readonly Target[], preferred: string): readonly Target[] {
  const isPreferred = ({ provider }: Target) => provider.name === preferred;
  return [...targets.filter(isPreferred), ...targets.filter((target) => !isPreferred(target))];
}
