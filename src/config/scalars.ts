import { type DescEnum, ScalarType } from '@bufbuild/protobuf';
import { parseDuration } from './durations.ts';
import { show, showChoice, suggest } from './show.ts';
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

/** Read one value as what its setting wants. */
export function readScalar(kind: ScalarKind, written: Written): Read {
  switch (kind) {
    case ScalarType.STRING:
      return readText(written);
    case ScalarType.BOOL:
      return readBoolean(written);
    case ScalarType.UINT32:
      return readNumber(written, 'a whole number from 0 to 4294967295', isUint32);
    case ScalarType.DOUBLE:
      return readNumber(written, 'a number', () => true);
    case 'duration':
      return readDuration(written);
    case 'timestamp':
      return readTimestamp(written);
    default:
      if (typeof kind === 'number') throw new Error(`the configuration has no values of type ${ScalarType[kind]}`);
      return readWord(kind, written);
  }
}

function wrong(expected: string, written: Written, fix = ''): Read {
  const got = written.shown === undefined ? '' : `, not ${written.shown}`;
  return { problem: `must be ${expected}${got}${fix}` };
}

function readText(written: Written): Read {
  if (typeof written.value === 'string') return { value: written.value };
  return wrong('a text', written, '; put it in quotes');
}

function readBoolean(written: Written): Read {
  if (typeof written.value === 'boolean') return { value: written.value };
  if (written.interpolated && written.value === 'true') return { value: true };
  if (written.interpolated && written.value === 'false') return { value: false };
  const isQuoted = written.value === 'true' || written.value === 'false';
  return wrong('true or false', written, isQuoted ? '; leave out the quotes' : '');
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

const decimal = /^\d+(?:\.\d+)?$/;

function readNumber(written: Written, expected: string, fits: (value: number) => boolean): Read {
  const isText = typeof written.value === 'string' && decimal.test(written.value);
  const value = isText && written.interpolated ? Number(written.value) : written.value;
  if (typeof value === 'number' && fits(value)) return { value };
  return wrong(expected, written, isText && !written.interpolated ? '; leave out the quotes' : '');
}

function readDuration(written: Written): Read {
  const { value } = written;
  const duration = typeof value === 'string' ? parseDuration(value) : undefined;
  if (duration) return { value: duration };
  const isBare = typeof value === 'number' || (typeof value === 'string' && decimal.test(value));
  const fix = isBare && !written.interpolated ? `; write ${value}s for seconds or ${value}ms for milliseconds` : '';
  return wrong('a duration such as 800ms, 15s, 5m, 1h or 30d', written, fix);
}

function readTimestamp(written: Written): Read {
  const timestamp = typeof written.value === 'string' ? parseTimestamp(written.value) : undefined;
  return timestamp ? { value: timestamp } : wrong('a time such as 2027-01-01T00:00:00Z', written);
}

function readWord(schema: DescEnum, written: Written): Read {
  const words = wordsOf(schema);
  const number = typeof written.value === 'string' ? parseWord(schema, written.value) : undefined;
  if (number !== undefined) return { value: number };
  const meant = written.interpolated ? '' : suggest(`${written.value}`, words);
  return wrong(showChoice(words), written, meant.includes('did you mean') ? meant : '');
}

/** A string of the file or the environment as messages show it. */
export function writtenText(text: string): Written {
  return { value: text, interpolated: true, shown: show(text) };
}
