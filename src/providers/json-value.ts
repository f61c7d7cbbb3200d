/** A JSON object of which nothing is known. */
export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The text that a value is; empty for everything else. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
