import { describe, expect, it } from 'vitest';
import { readGoDuration, readRetryAfter } from '../../src/providers/retry-after.ts';

const now = Date.parse('2026-11-24T12:00:00Z');

function read(headers: Record<string, string | string[]>, message = '', details: Record<string, unknown>[] = []) {
  return readRetryAfter(headers, message, details, now);
}

describe('the time to wait', () => {
  it.each([
    [{ 'retry-after': '2' }, 2_000],
    [{ 'retry-after': '0.5' }, 500],
    [{ 'retry-after': ['3', '9'] }, 3_000],
    [{ 'retry-after': 'Tue, 24 Nov 2026 12:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Tue, 24 Nov 2026 11:00:00 GMT' }, 0],
    [{ 'retry-after-ms': '250', 'retry-after': '1' }, 250],
    [{ 'x-ratelimit-timeremaining': '41', 'retry-after': '60' }, 41_000],
    [{ 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '6m0s' }, 360_000],
    [
      { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '130ms', 'x-ratelimit-reset-requests': '2h' },
      130,
    ],
    [{ 'x-ratelimit-reset': String(now + 5_000) }, 5_000],
    [{ 'x-ratelimit-reset': String(now / 1_000 + 5) }, 5_000],
    [{ 'x-ratelimit-reset': '5' }, 5_000],
    [{ 'ratelimit-reset': '12' }, 12_000],
    [
      {
        'anthropic-ratelimit-requests-remaining': '7',
        'anthropic-ratelimit-requests-reset': '2026-11-24T12:00:01Z',
        'anthropic-ratelimit-input-tokens-remaining': '0',
        'anthropic-ratelimit-input-tokens-reset': '2026-11-24T12:00:09Z',
      },
      9_000,
    ],
  ])('stands in headers: %j', (headers, ms) => {
    expect(read(headers)).toBe(ms);
  });

  it.each([
    ['Rate limit reached. Please try again in 9m38.016s. Visit', 578_016],
    ['Try again in 130ms', 130],
    ['Please retry in 48.9399s.', 48_940],
    ['exceeded for UserByModelByDay. Please wait 41 seconds before retrying.', 41_000],
    ['Please wait 41.5s', 41_500],
  ])('stands in the message: %s', (message, ms) => {
    expect(read({}, message)).toBe(ms);
  });

  it('stands in details of Google', () => {
    expect(read({}, '', [{ '@type': 'x' }, { retryDelay: '34.4s' }])).toBe(34_400);
  });

  it.each([
    { 'retry-after': '-3' },
    { 'retry-after': 'soon' },
    { 'retry-after': '' },
    { 'retry-after-ms': 'NaN' },
    { 'x-ratelimit-reset-requests': '6m0s' },
    { 'x-ratelimit-reset': 'never' },
  ])('is unknown where nobody says it: %j', (headers) => {
    expect(read(headers, 'try again later')).toBeUndefined();
  });
});

describe('a duration', () => {
  it.each([
    ['6s', 6_000],
    ['37m26.4s', 2_246_400],
    ['1h2m3s4ms', 3_723_004],
    ['6', undefined],
    ['6s!', undefined],
    ['', undefined],
  ])('%s is read', (text, ms) => {
    expect(readGoDuration(text)).toBe(ms);
  });
});
