import { readInstant } from './retry-after.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** What a provider says of its own limits with an answer. */
export interface RateStanding {
  /** Calls that it still takes in its present period; undefined: it does not say. */
  readonly remaining: number | undefined;
  /** How long until it takes calls again, in milliseconds, if nothing is left; undefined: something is, or it does not say. */
  readonly exhaustedMs: number | undefined;
}

/** Headers that count what is left, with those that say when it is filled again. The first one found counts calls. */
const calls: readonly (readonly [remaining: string, reset: string])[] = [
  // OpenAI and Groq (whose calls are counted by the day).
  ['x-ratelimit-remaining-requests', 'x-ratelimit-reset-requests'],
  ['anthropic-ratelimit-requests-remaining', 'anthropic-ratelimit-requests-reset'],
  // GitHub, OpenRouter.
  ['x-ratelimit-remaining', 'x-ratelimit-reset'],
  // Drafts 03 to 07 of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
  ['ratelimit-remaining', 'ratelimit-reset'],
];

const tokens: readonly (readonly [remaining: string, reset: string])[] = [
  ['x-ratelimit-remaining-tokens', 'x-ratelimit-reset-tokens'],
  ['anthropic-ratelimit-tokens-remaining', 'anthropic-ratelimit-tokens-reset'],
  ['anthropic-ratelimit-input-tokens-remaining', 'anthropic-ratelimit-input-tokens-reset'],
  ['anthropic-ratelimit-output-tokens-remaining', 'anthropic-ratelimit-output-tokens-reset'],
];

/** Read what a provider's headers say of its limits; undefined: nothing. */
export function readRateStanding(headers: Headers, now = Date.now()): RateStanding | undefined {
  let remaining: number | undefined;
  let exhaustedMs: number | undefined;
  const look = (remainingName: string, resetName: string): number | undefined => {
    const text = headers[remainingName];
    if (typeof text !== 'string' || !/^\d+(?:\.\d+)?$/.test(text)) return undefined;
    const left = Number(text);
    if (left === 0) longer(readInstant(textOf(headers[resetName]), now));
    return left;
  };
  const longer = (ms: number | undefined) => {
    if (ms !== undefined) exhaustedMs = Math.max(exhaustedMs ?? 0, ms);
  };
  for (const [left, reset] of calls) {
    remaining = look(left, reset);
    if (remaining !== undefined) break;
  }
  for (const [left, reset] of tokens) look(left, reset);
  // From draft 08 on: `RateLimit: "name";r=10;t=5, ...`, seconds.
  for (const [, left, seconds] of textOf(headers.ratelimit)?.matchAll(/;\s*r=(\d+)(?:[^,]*?;\s*t=(\d+))?/g) ?? []) {
    remaining = Math.min(remaining ?? Number.POSITIVE_INFINITY, Number(left));
    if (Number(left) === 0 && seconds !== undefined) longer(Number(seconds) * 1_000);
  }
  return remaining === undefined && exhaustedMs === undefined ? undefined : { remaining, exhaustedMs };
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
