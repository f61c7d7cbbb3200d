import { isObject, type JsonObject } from './json-value.ts';

/** What grows from chunk to chunk. */
const growing = ['text', 'summary', 'data', 'signature'];

/**
 * Put pieces of `reasoning_details` together: those of the same type and index are one.
 *
 * Clients send them back with the next request, where only the whole ones are accepted.
 */
export function mergeReasoningDetails(whole: readonly JsonObject[], pieces: readonly unknown[]): JsonObject[] {
  const merged = [...whole];
  for (const piece of pieces) {
    if (!isObject(piece)) continue;
    const at = merged.findIndex(
      ({ type, index }) => index !== undefined && type === piece.type && index === piece.index,
    );
    const before = merged[at];
    if (before) merged[at] = grow(before, piece);
    else merged.push(piece);
  }
  return merged;
}

function grow(before: JsonObject, piece: JsonObject): JsonObject {
  const grown = { ...before };
  for (const [key, value] of Object.entries(piece)) {
    if (value === null) continue;
    const had = grown[key];
    grown[key] = growing.includes(key) && typeof had === 'string' && typeof value === 'string' ? had + value : value;
  }
  return grown;
}
