import { type DescEnum, ScalarType } from '@bufbuild/protobuf';
import { parseDuration } from './durations.ts';
import { showChoice, suggest } from './show.ts';
import { parseTimestamp } from './timestamps.ts';
import { parseWord, wordsOf } from './words.ts';

/** What a setting that is one value may be: a scalar of the contract, an enum, a duration or a time. */
export type ScalarKind = ScalarType | DescEnum | 'duration' | 'timestamp';

/** A value as the file has it. */
export interface Written {
  readonly value: string | number | boolean;
  /** Whether it came about by `${NAME}`: then it is a text, whatever the setting wants. */
  readonly interpolated: boolean;
  /** As it was written, fit to be shown; undefined: it is a secret. */
  readonly shown: string | undefined;
}

/** A value that was read, or what is wrong with it. */
export type Read = { readonly value: unknown } | { readonly problem: string };

/** What a setting wants, for messages: `must be …`. */
export function expectedOf(kind: ScalarKind): string {
  switch (kind) {
    case ScalarType.STRING:
      return 'a text';
    case ScalarType.BOOL:
      return 'true or false';
    case ScalarType.UINT32:
      return 'a whole number from 0 to 4294967295';
    case ScalarType.DOUBLE:
      return 'a number';
    case 'duration':
      return 'a duration such as 800ms, 15s, 5m, 1h or 30d';
    case 'timestamp':
      return 'a time such as 2027-01-01T00:00:00Z';
    default:
      if (typeof kind === 'number') throw new Error(`the configuration has no values of type ${ScalarType[kind]}`);
      return showChoice(wordsOf(kind));
  }
}

/** Read one value as what its setting wants. */
export function readScalar(kind: ScalarKind, written: Written): Read {
  const value = parseValue(kind, written);
  if (value !== undefined) return { value };
  return { problem: `must be ${expectedOf(kind)}${describe(written)}${fixOf(kind, written)}` };
}

const decimal = /^\d+(?:\.\d+)?$/;

function parseValue(kind: ScalarKind, { value, interpolated }: Written): unknown {
  const text = typeof value === 'string' ? value : undefined;
  switch (kind) {
    case ScalarType.STRING:
      return text;
    case ScalarType.BOOL:
      if (interpolated && (text === 'true' || text === 'false')) return text === 'true';
      return typeof value === 'boolean' ? value : undefined;
    case ScalarType.UINT32:
    case ScalarType.DOUBLE: {
      const number = interpolated && decimal.test(text ?? '') ? Number(text) : value;
      if (typeof number !== 'number') return undefined;
      return kind === ScalarType.DOUBLE || isUint32(number) ? number : undefined;
    }
    case 'duration':
      return text === undefined ? undefined : parseDuration(text);
    case 'timestamp':
      return text === undefined ? undefined : parseTimestamp(text);
    default:
      return typeof kind === 'object' && text !== undefined ? parseWord(kind, text) : undefined;
  }
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

/** What a variable stands for may be a secret anywhere. */
function describe({ interpolated, shown }: Written): string {
  if (shown === undefined) return '';
  return interpolated ? `, and ${shown} stands for something else` : `, not ${shown}`;
}

/** How to mend the usual slips. */
function fixOf(kind: ScalarKind, { value, interpolated, shown }: Written): string {
  if (kind === ScalarType.STRING) return '; put it in quotes';
  if (interpolated || shown === undefined) return '';
  const text = String(value);
  if (kind === 'duration') {
    return decimal.test(text) ? `; write ${text}s for seconds or ${text}ms for milliseconds` : '';
  }
  if (typeof kind === 'object') {
    const meant = suggest(text, wordsOf(kind));
    return meant.includes('did you mean') ? meant : '';
  }
  const isQuoted = typeof value === 'string' && (kind === ScalarType.BOOL ? /^(?:true|false)$/ : decimal).test(value);
  return isQuoted && kind !== 'timestamp' ? '; leave out the quotes' : '';
}
