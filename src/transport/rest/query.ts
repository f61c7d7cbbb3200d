import type { Exchange } from './exchange.ts';
import { wrong } from './fields.ts';

/** What the query of a request says. One that is misspelt would be taken for none, in silence: unknown names are refused. */
export function readQuery<Name extends string>(
  exchange: Exchange,
  known: readonly Name[],
): { readonly [Each in Name]?: string } {
  const query = new URLSearchParams(exchange.query);
  for (const name of query.keys()) {
    if (!(known as readonly string[]).includes(name)) {
      throw wrong(
        name,
        `is not a parameter of ${exchange.path}${known.length > 0 ? `, only ${known.join(', ')}` : ''}`,
      );
    }
    if (query.getAll(name).length > 1) throw wrong(name, 'is given more than once');
    if (query.get(name) === '') throw wrong(name, 'must not be empty');
  }
  return Object.fromEntries(query) as { readonly [Each in Name]?: string };
}
