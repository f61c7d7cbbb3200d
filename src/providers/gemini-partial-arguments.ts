import { isObject } from './json-value.ts';

const path = /^\$(?:\.[^.[\]]+|\[\d+\]|\['[^']*'\]|\["[^"]*"\])+$/;
const step = /\.([^.[\]]+)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]/g;

/** The deepest place in the arguments of a call. */
const maxDepth = 64;

type Place = Record<string | number, unknown>;

/**
 * The arguments of a function call that come in pieces: a value and its JSON path each, texts in pieces of their own.
 *
 * Only paths to one place are known (`$.a.b[0]['c d']`), and lists grow by one: nothing else is sent, and nothing else is safe.
 */
export class PartialArguments {
  readonly #root: Place = Object.create(null);

  /** Start with what came whole. */
  constructor(args: unknown) {
    if (isObject(args)) Object.assign(this.#root, args);
  }

  /** Put a piece in its place; tells whether it has one. */
  add(piece: unknown): boolean {
    if (!isObject(piece) || typeof piece.jsonPath !== 'string' || !path.test(piece.jsonPath)) return false;
    const steps = [...piece.jsonPath.matchAll(step)].map(([, name, index, single, double]) =>
      index === undefined ? (name ?? single ?? double ?? '') : Number(index),
    );
    const last = steps.pop();
    if (last === undefined || steps.length >= maxDepth) return false;
    let at: Place = this.#root;
    for (const [depth, key] of steps.entries()) {
      if (!fits(at, key)) return false;
      if (!Object.hasOwn(at, key)) at[key] = typeof (steps[depth + 1] ?? last) === 'number' ? [] : Object.create(null);
      const inner = at[key];
      if (typeof inner !== 'object' || inner === null) return false;
      at = inner as Place;
    }
    if (!fits(at, last)) return false;
    const before = Object.hasOwn(at, last) ? at[last] : undefined;
    const value = pieceOf(piece);
    at[last] = typeof before === 'string' && typeof value === 'string' ? before + value : value;
    return true;
  }

  toJson(): string {
    return JSON.stringify(this.#root);
  }
}

/** A number is a place in a list, or the one after its end; a name is a place in an object. */
function fits(at: Place, key: string | number): boolean {
  if (typeof key === 'number') return Array.isArray(at) && key <= at.length;
  return !Array.isArray(at) && key !== '__proto__';
}

function pieceOf({ stringValue, numberValue, boolValue }: Record<string, unknown>): unknown {
  return stringValue ?? numberValue ?? boolValue ?? null;
}
