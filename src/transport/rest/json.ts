import { GatewayError } from '../../errors.ts';
import { inWords, isObject, type JsonObject, wrong } from './fields.ts';

/**
 * How deep lists and objects may lie in each other.
 *
 * The schema of a tool may well be 50 deep, and nests two levels for one of its own; whatever walks a request recursively is
 * far from the end of the stack at twice that.
 */
export const MAX_DEPTH = 128;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Read the text of a JSON object.
 *
 * - Depth is measured before parsing: 20 MB of brackets would become a gigabyte of lists.
 * - A key `__proto__` and half a surrogate pair are refused wherever they stand: no honest caller sends the one, and the other
 *   cannot be sent on as UTF-8.
 */
export function parseObject(text: string): JsonObject {
  refuseDepth(text);
  const value = parse(text);
  if (!isObject(value))
    throw new GatewayError('invalid_request', `the body must be a JSON object, not ${inWords(value)}`);
  // Only an escape can make half a pair, as the bytes were valid UTF-8, or hide the name from the first search.
  if (text.includes('\\u') || text.includes('__proto__')) refuseTraps(value, '');
  return value;
}

function parse(text: string): unknown {
  if (text.trim() === '') throw new GatewayError('invalid_request', 'the body is empty: it must be a JSON object');
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new GatewayError('invalid_request', `the body is not valid JSON: ${reason}`, { cause });
  }
}

function refuseDepth(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case OPEN_LIST:
      case OPEN_OBJECT:
        if (++depth > MAX_DEPTH) {
          throw new GatewayError(
            'invalid_request',
            `the body nests deeper than ${MAX_DEPTH} levels, at character ${at}`,
          );
        }
        break;
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        depth--;
        break;
    }
  }
}

/** Index of the quote that ends the string which the one at `start` begins; strings are jumped over, as they are most of a body. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return at;
  }
  return text.length;
}

function refuseTraps(value: unknown, at: string): void {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw wrong(at, 'holds half a surrogate pair, which is no character');
  } else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) refuseTraps(item, `${at}[${index}]`);
  } else if (isObject(value)) {
    for (const key of Object.keys(value)) {
      if (key === '__proto__') throw wrong(at === '' ? key : `${at}.${key}`, 'is not allowed as a key');
      if (!key.isWellFormed()) throw wrong(at, 'has a key that holds half a surrogate pair, which is no character');
      refuseTraps(value[key], at === '' ? key : `${at}.${key}`);
    }
  }
}
