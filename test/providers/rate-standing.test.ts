import { describe, expect, it } from 'vitest';
import { readRateStanding } from '../../src/providers/rate-standing.ts';

const now = Date.parse('2026-11-26T10:00:00Z');

describe("what headers say of a provider's limits", () => {
  it.each<[string, Record<string, string>, ReturnType<typeof readRateStanding>]>([
    ['nothing', { 'content-type': 'application/json' }, undefined],
    [
      'calls and tokens left, as OpenAI says it',
      { 'x-ratelimit-remaining-requests': '59', 'x-ratelimit-remaining-tokens': '149984' },
      { remaining: 59, exhaustedMs: undefined },
    ],
    [
      'no call left',
      { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '1m26.4s' },
      { remaining: 0, exhaustedMs: 86_400 },
    ],
    [
      'no token left, as Groq says it',
      {
        'x-ratelimit-remaining-requests': '14369',
        'x-ratelimit-remaining-tokens': '0',
        'x-ratelimit-reset-tokens': '7.66s',
      },
      { remaining: 14_369, exhaustedMs: 7_660 },
    ],
    [
      'no call left, as Anthropic says it',
      { 'anthropic-ratelimit-requests-remaining': '0', 'anthropic-ratelimit-requests-reset': '2026-11-26T10:00:30Z' },
      { remaining: 0, exhaustedMs: 30_000 },
    ],
    [
      'the longer of two that ran out',
      {
        'anthropic-ratelimit-input-tokens-remaining': '0',
        'anthropic-ratelimit-input-tokens-reset': '2026-11-26T10:00:05Z',
        'anthropic-ratelimit-output-tokens-remaining': '0',
        'anthropic-ratelimit-output-tokens-reset': '2026-11-26T10:00:50Z',
      },
      { remaining: undefined, exhaustedMs: 50_000 },
    ],
    [
      'epoch milliseconds, as OpenRouter says it',
      { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(now + 4_000) },
      { remaining: 0, exhaustedMs: 4_000 },
    ],
    [
      "the IETF's structured field",
      { ratelimit: '"minute";r=0;t=12, "day";r=90;t=3000' },
      { remaining: 0, exhaustedMs: 12_000 },
    ],
    [
      "the IETF's older fields",
      { 'ratelimit-remaining': '3', 'ratelimit-reset': '9' },
      { remaining: 3, exhaustedMs: undefined },
    ],
    ['garbage', { 'x-ratelimit-remaining-requests': 'many', 'x-ratelimit-remaining-tokens': '-1' }, undefined],
    [
      'nothing left but not until when',
      { 'x-ratelimit-remaining-requests': '0' },
      { remaining: 0, exhaustedMs: undefined },
    ],
  ])('reads %s', (_, headers, standing) => {
    expect(readRateStanding(headers, now)).toEqual(standing);
  });
});
