import type { CallOptions, RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { Provider } from '../providers/provider.ts';
import { nearest } from './nearest.ts';
import { fits } from './wildcard.ts';

/** A name that callers use as `model`, and the targets behind it. */
export interface Route {
  /** The name; a `*` stands for any text. */
  readonly model: string;
  /** An empty model is the provider's default; under a wildcard, the name asked for. */
  readonly targets: readonly {
    readonly provider: string;
    readonly model: string;
    readonly weight?: number | undefined;
  }[];
  /** How its targets are put in order; undefined: as elsewhere. */
  readonly strategy?: RoutingStrategy | undefined;
  /** What calls on it may take, in milliseconds; undefined: as elsewhere. */
  readonly totalMs?: number | undefined;
  readonly unaryMs?: number | undefined;
  readonly firstTokenMs?: number | undefined;
  readonly idleMs?: number | undefined;
}

/** A provider and a model that a call may be sent to. */
export interface Candidate {
  readonly provider: Provider;
  readonly model: string;
  /** Its share under the strategies that have shares. */
  readonly weight: number;
}

/** Where a name leads. */
export interface Resolution {
  /** Undefined: it is no name of the configuration. */
  readonly route: Route | undefined;
  /** The provider that the call prefers; empty: none, or none that is here. */
  readonly preferred: string;
  /** Whether others may be tried when the first target fails. */
  readonly fallback: boolean;
  /** In the configured order; at least one. */
  readonly candidates: readonly Candidate[];
}

/** Told of each candidate that is left out. */
export type LeaveOut = (candidate: Candidate, why: 'not_permitted' | 'unavailable' | 'fallback_off') => void;

/** What names mean at the moment of a call. */
export interface Names {
  /** In the configured order. */
  readonly providers: readonly Provider[];
  readonly routes: readonly Route[];
  /** Whether a provider is known to have a model. */
  readonly lists: (provider: Provider, id: string) => boolean;
  /** Ids that some provider is known to have, for suggestions. */
  readonly known: () => Iterable<string>;
  /** Names of providers that a caller may well prefer, though this gateway has none of that name. */
  readonly common: ReadonlySet<string>;
  /** Whether other targets may follow the first where the call does not say. */
  readonly fallback: boolean;
}

/** Whether a call leaves it to the gateway which model answers. */
function isAnyModel(asked: string): boolean {
  return asked === '' || asked === 'auto';
}

/** What a call wishes for, whether or not somebody can serve it: the route of its name, and whether others may follow the first target. */
export function wishOf(
  names: Names,
  asked: string,
  options: CallOptions | undefined,
): { readonly route: Route | undefined; readonly fallback: boolean } {
  return {
    route: isAnyModel(asked) ? undefined : routeOf(names.routes, asked),
    fallback: options?.fallback ?? names.fallback,
  };
}

/** The route that a name leads to: the alias of that name, else the longest wildcard that fits. */
export function routeOf(routes: readonly Route[], model: string): Route | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    if (route.model === model) return route;
    const wider = best === undefined || route.model.length > best.model.length;
    if (wider && route.model.includes('*') && fits(route.model, model)) best = route;
  }
  return best;
}

/**
 * The candidates that a name leads to, in the configured order; empty: nobody is known to have it.
 *
 * Names are looked up as alias, exact id, `provider/model`. Empty or `auto`: every provider's default model. An id that nobody
 * lists goes upstream only to a provider that the call names.
 */
function candidatesFor(names: Names, asked: string, preferred: string, route: Route | undefined): Candidate[] {
  const { providers } = names;
  if (isAnyModel(asked)) {
    return providers.filter(({ defaultModel }) => defaultModel !== '').map(withDefault);
  }
  if (route) return candidatesOf(route, asked, providers);
  const listing = providers.filter((provider) => names.lists(provider, asked));
  const explicit = providers.find(({ name }) => name === preferred);
  if (explicit && !listing.includes(explicit) && !asked.startsWith(`${explicit.name}/`)) listing.unshift(explicit);
  if (listing.length > 0) return listing.map((provider) => ({ provider, model: asked, weight: 1 }));
  const owner = providers.find(({ name }) => asked.startsWith(`${name}/`) && asked.length > name.length + 1);
  return owner ? [{ provider: owner, model: asked.slice(owner.name.length + 1), weight: 1 }] : [];
}

function withDefault(provider: Provider): Candidate {
  return { provider, model: provider.defaultModel, weight: 1 };
}

function candidatesOf(route: Route, asked: string, providers: readonly Provider[]): Candidate[] {
  const ofWildcard = route.model.includes('*') ? asked : '';
  return route.targets.flatMap((target) => {
    const provider = providers.find(({ name }) => name === target.provider);
    const { weight = 1 } = target;
    return provider ? [{ provider, model: target.model || ofWildcard || provider.defaultModel, weight }] : [];
  });
}

/**
 * The candidates that a call may use. Throws where there is none, and says why.
 *
 * Without fallback a preferred provider that cannot serve is not replaced.
 */
export function resolve(
  names: Names,
  asked: string,
  options: CallOptions | undefined,
  principal: Principal,
  leaveOut: LeaveOut = () => {},
): Resolution {
  const { route, fallback } = wishOf(names, asked, options);
  let preferred = options?.provider ?? '';
  if (preferred !== '' && !names.providers.some(({ name }) => name === preferred)) {
    // A wish that cannot be fulfilled is none, as long as others may follow; a name that nobody knows is a slip.
    if (!fallback || !names.common.has(preferred)) throw unknownProvider(names, preferred);
    preferred = '';
  }
  const all = candidatesFor(names, asked, preferred, route);
  if (all.length === 0) throw isAnyModel(asked) ? nothingServes(names) : unknownModel(names, asked);
  const permitted = all.filter(
    (candidate) => isPermitted(principal, asked, candidate) || left(candidate, 'not_permitted'),
  );
  if (permitted.length === 0) {
    throw new GatewayError(
      'permission_denied',
      `the key "${principal.name}" may not use the model "${asked || 'auto'}"`,
    );
  }
  const wanted =
    preferred === '' || fallback
      ? permitted
      : permitted.filter((candidate) => candidate.provider.name === preferred || left(candidate, 'fallback_off'));
  const candidates = wanted.filter(
    (candidate) => candidate.provider.unavailable === undefined || left(candidate, 'unavailable'),
  );
  if (candidates.length === 0) throw unavailable(wanted, preferred);
  return { route, preferred, fallback, candidates };

  function left(candidate: Candidate, why: Parameters<LeaveOut>[1]): boolean {
    leaveOut(candidate, why);
    return false;
  }
}

/** Whether a key may use a candidate by the name it was asked for, as `provider/model`, or by its id. */
export function isPermitted(
  principal: Principal,
  asked: string,
  { provider, model }: Pick<Candidate, 'provider' | 'model'>,
): boolean {
  if (principal.models.length === 0) return true;
  const namings = [asked, `${provider.name}/${model}`, model];
  return principal.models.some((pattern) => namings.some((name) => name !== '' && fits(pattern, name)));
}

function unknownProvider(names: Names, asked: string): GatewayError {
  const message = `no provider is called "${asked}"${suggest(
    asked,
    names.providers.map(({ name }) => name),
  )}`;
  return new GatewayError('invalid_request', message, {
    violations: [{ field: 'options.provider', description: message }],
  });
}

function unknownModel(names: Names, asked: string): GatewayError {
  const known = [...names.routes.map(({ model }) => model), ...names.known()];
  const message = `no provider has the model "${asked}"${suggest(asked, known)}`;
  return new GatewayError('model_not_found', message, { violations: [{ field: 'model', description: message }] });
}

function suggest(asked: string, known: Iterable<string>): string {
  const near = nearest(asked, known);
  return near.length === 0 ? '' : `; the nearest known: ${near.map((name) => `"${name}"`).join(', ')}`;
}

function nothingServes({ providers }: Names): GatewayError {
  return unavailable(providers.map(withDefault), '');
}

function unavailable(candidates: readonly Candidate[], preferred: string): GatewayError {
  const why = new Set(
    candidates.map(({ provider }) => `${provider.name}: ${provider.unavailable ?? 'it has no default model'}`),
  );
  const message = `no provider can serve this call: ${[...why].join('; ') || 'none is configured'}`;
  return new GatewayError('no_provider_available', message, preferred ? { provider: preferred } : {});
}
