import type { Principal } from '../../completion.ts';
import type { Exchange } from './exchange.ts';

/** Carries out one request and answers it; what it throws is answered for it. */
export type Handle = (exchange: Exchange, principal: Principal) => Promise<void> | void;

/** A path and what may be done there. */
export interface Route {
  /** The path without a slash at its end; one that ends in `/*` stands for all paths below it. */
  readonly path: string;
  /** Whether no key is needed. */
  readonly public?: true;
  readonly get?: Handle;
  readonly post?: Handle;
}

/** Finds routes by path: an exact one before one that stands for a folder. */
export class Router {
  readonly #exact = new Map<string, Route>();
  readonly #below: { readonly folder: string; readonly route: Route }[] = [];

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      if (route.path.endsWith('/*')) this.#below.push({ folder: route.path.slice(0, -1), route });
      else this.#exact.set(route.path, route);
    }
  }

  find(path: string): Route | undefined {
    return this.#exact.get(path) ?? this.#below.find(({ folder }) => path.startsWith(folder))?.route;
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
