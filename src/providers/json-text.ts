/*
 * JSON written as text. Schemas, built-in tools and extras are JSON texts already: putting them in as they are keeps the order
 * of their keys (it is part of the prompt) and their numbers exact, and saves parsing them.
 */

/** A member of an object; empty where the value is undefined: `object` leaves it out. */
export function member(name: string, value: unknown): string {
  return value === undefined ? '' : `"${name}":${JSON.stringify(value)}`;
}

/** A member whose value is JSON text already; empty where there is none. */
export function rawMember(name: string, json: string | undefined): string {
  return json ? `"${name}":${json}` : '';
}

/** The members of an object that is JSON text. */
export function membersOf(json: string): string {
  return json.trim().slice(1, -1).trim();
}

export function object(...members: readonly string[]): string {
  return `{${members.filter(Boolean).join(',')}}`;
}

export function array(items: readonly string[]): string {
  return `[${items.join(',')}]`;
}

/** An object whose members lie over extras: of a name that both have, the extras' value is left out. */
export function objectOver(
  extras: Readonly<Record<string, unknown>> | undefined,
  ...members: readonly string[]
): string {
  if (!extras) return object(...members);
  const written = members.filter(Boolean);
  const names = new Set(written.map((text) => text.slice(1, text.indexOf('":'))));
  const under = Object.entries(extras).filter(([name]) => !names.has(name));
  return object(...under.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`), ...written);
}
