import type { Principal } from '../../completion.ts';
import type { Exchange } from './exchange.ts';
import { wrong } from './fields.ts';

/** What stands in a path for the names in braces of its route. */
export type Parameters = Readonly<Record<string, string>>;

/** Carries out one request and answers it; what it throws is answered for it. */
export type Handle = (exchange: Exchange, principal: Principal, parameters: Parameters) => Promise<void> | void;

/** A path and what may be done there. */
export interface Route {
  /**
   * The path without a slash at its end. A segment `{name}` stands for any one that is not empty; a path that ends in `/*` for all
   * paths below it.
   */
  readonly path: string;
  /** Whether no key is needed. */
  readonly public?: true;
  /** Whether admin rights are needed. */
  readonly admin?: boolean;
  readonly get?: Handle;
  readonly post?: Handle;
}

/** A route, and what its names stand for, as it was written in the path. */
export interface Found {
  readonly route: Route;
  readonly parameters: Parameters;
}

/** Of a path that no route has names in. */
export const noParameters: Parameters = {};

/** Finds routes by path: an exact one, then one with names, then one that stands for a folder. */
export class Router {
  readonly #exact = new Map<string, Found>();
  readonly #named: { readonly segments: readonly string[]; readonly route: Route }[] = [];
  readonly #below: { readonly folder: string; readonly route: Route }[] = [];

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      if (route.path.endsWith('/*')) this.#below.push({ folder: route.path.slice(0, -1), route });
      else if (route.path.includes('{')) this.#named.push({ segments: route.path.split('/'), route });
      else this.#exact.set(route.path, { route, parameters: noParameters });
    }
  }

  find(path: string): Found | undefined {
    const exact = this.#exact.get(path);
    if (exact) return exact;
    const given = path.split('/');
    for (const { segments, route } of this.#named) {
      const parameters = match(segments, given);
      if (parameters) return { route, parameters };
    }
    const below = this.#below.find(({ folder }) => path.startsWith(folder));
    return below && { route: below.route, parameters: noParameters };
  }
}

function match(segments: readonly string[], given: readonly string[]): Parameters | undefined {
  if (segments.length !== given.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [at, segment] of segments.entries()) {
    const text = given[at] ?? '';
    const [, name] = /^\{(\w+)\}$/.exec(segment) ?? [];
    if (name === undefined ? text !== segment : text === '') return undefined;
    if (name !== undefined) parameters[name] = text;
  }
  return parameters;
}

/** A piece of a path with its percent-encoding undone; `name` is what errors call it. */
export function decoded(text: string, name: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw wrong(name, `${JSON.stringify(text)} is not percent-encoded UTF-8`);
  }
}

/** The path of a request's target, without query and without a slash at its end. */
export function pathOf(target: string): string {
  // Through a proxy the target may be a whole URL. Only its path counts: never route by a host that the caller names.
  const path = target.startsWith('/') ? target : target.replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, '');
  const end = path.search(/[?#]/);
  const plain = end === -1 ? path : path.slice(0, end);
  return plain.length > 1 && plain.endsWith('/') ? plain.slice(0, -1) : plain;
}

/** What `Allow` lists for a route. */
export function allowedMethods(route: Route): string[] {
  const methods = route.get ? ['GET', 'HEAD'] : [];
  if (route.post) methods.push('POST');
  return [...methods, 'OPTIONS'];
}
