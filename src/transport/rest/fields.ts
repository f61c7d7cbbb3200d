import { GatewayError } from '../../errors.ts';

/** An object of a request's JSON. */
export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether a field is given: null is unset. */
export function isSet(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** The error for one wrong field, named in the caller's words. */
export function wrong(field: string, description: string): GatewayError {
  return new GatewayError('invalid_request', `${field}: ${description}`, { violations: [{ field, description }] });
}

// Readers of one value each: they return it with its type, or throw with its path, the bound and what came instead.

export function readText(value: unknown, at: string): string {
  if (typeof value !== 'string') throw wrong(at, `must be a string, not ${inWords(value)}`);
  return value;
}

export function readBoolean(value: unknown, at: string): boolean {
  if (typeof value !== 'boolean') throw wrong(at, `must be true or false, not ${inWords(value)}`);
  return value;
}

/** A number that is finite: JSON such as `1e999` is read as Infinity. */
export function readNumber(value: unknown, at: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(at, `must be a number, not ${inWords(value)}`);
  return value;
}

const MAX_UINT32 = 0xffff_ffff;

/** A whole number that fits the contract's uint32. */
export function readCount(value: unknown, at: string, least = 0): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > MAX_UINT32) {
    throw wrong(at, `must be a whole number from ${least} to ${MAX_UINT32}, not ${inWords(value)}`);
  }
  return value;
}

export function readObject(value: unknown, at: string): JsonObject {
  if (!isObject(value)) throw wrong(at, `must be an object, not ${inWords(value)}`);
  return value;
}

export function readList(value: unknown, at: string): unknown[] {
  if (!Array.isArray(value)) throw wrong(at, `must be a list, not ${inWords(value)}`);
  return value;
}

/** One of some words, which stand for values. */
export function readWord<Value>(value: unknown, at: string, words: Readonly<Record<string, Value>>): Value {
  const word = readText(value, at);
  if (!Object.hasOwn(words, word)) {
    throw wrong(at, `must be one of ${Object.keys(words).join(', ')}, not ${inWords(value)}`);
  }
  return words[word] as Value;
}

/** A map of texts, such as metadata. */
export function readTexts(value: unknown, at: string): Record<string, string> {
  const entries = Object.entries(readObject(value, at));
  return Object.fromEntries(entries.map(([key, text]) => [key, readText(text, `${at}.${key}`)]));
}

/** A value by its kind, with its own text where that is short. */
export function inWords(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (isObject(value)) return 'an object';
  const text = JSON.stringify(value) ?? typeof value;
  if (typeof value === 'string' && text.length > 64) return `a string of ${value.length} characters`;
  return typeof value === 'number' ? String(value) : text;
}

/** The keys of an object that have no field of their own, as the text of a JSON object; undefined: there are none. */
export function extrasOf(object: JsonObject, known: ReadonlySet<string>): string | undefined {
  let extras: JsonObject | undefined;
  for (const key in object) {
    if (known.has(key)) continue;
    extras ??= {};
    extras[key] = object[key];
  }
  return extras && JSON.stringify(extras);
}
