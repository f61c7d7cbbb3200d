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

/** The query of a request. What it has beside what is asked for does not matter. */
export function queryOf(exchange: Exchange): URLSearchParams {
  return new URLSearchParams(exchange.query);
}

/** A whole number of a query, within bounds; undefined: it is not given. */
export function countIn(query: URLSearchParams, name: string, most: number): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= 1 && count <= most) return count;
  throw wrong(name, `must be a whole number from 1 to ${most}, not ${JSON.stringify(text)}`);
}
