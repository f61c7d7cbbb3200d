import { durationMs } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from '../../src/config/durations.ts';

describe('durations', () => {
  it.each([
    ['0s', 0],
    ['800ms', 800],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['0.5h', 1_800_000],
    ['30d', 2_592_000_000],
  ])('%s is read', (text, ms) => {
    const duration = parseDuration(text);
    expect(duration && durationMs(duration)).toBe(ms);
  });

  it.each([
    '',
    's',
    '5',
    '5 s',
    '-5s',
    '+5s',
    '5S',
    '5sec',
    '.5s',
    '5.s',
    '1m30s',
    '1e3s',
    '３s',
    '5s\n',
    '4000000000d',
  ])('%j is refused', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it.each(['0s', '800ms', '1500ms', '60s', '1h', '30d'])('%s is written as it was read', (text) => {
    const duration = parseDuration(text);
    expect(duration && formatDuration(duration)).toBe(text);
  });
});
