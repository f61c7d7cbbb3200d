type Headers = Readonly<Record<string, string | string[] | undefined>>;

const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** A Go duration such as `6m0s`, `9m38.016s` or `130ms`, in milliseconds; undefined: it is none. */
export function readGoDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|h|m|s))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g))
    total += Number(amount) * (units[unit ?? ''] ?? 0);
  return total;
}

/**
 * How long a refused caller shall wait, in milliseconds, from whichever place the provider says it in; undefined: nowhere.
 *
 * What cannot be read, or is negative, is not said.
 */
export function readRetryAfter(
  headers: Headers,
  message: string,
  details: readonly Record<string, unknown>[],
  now = Date.now(),
): number | undefined {
  const header = (name: string) => {
    const value = headers[name];
    return (Array.isArray(value) ? value[0] : value)?.trim() || undefined;
  };
  return [
    scaled(header('retry-after-ms'), 1),
    // GitHub Models: more exact than its Retry-After.
    scaled(header('x-ratelimit-timeremaining'), 1_000),
    readDate(header('retry-after'), now),
    ...details.map(({ retryDelay }) => (typeof retryDelay === 'string' ? readGoDuration(retryDelay) : undefined)),
    readMessage(message),
    readReset(header, now),
  ].find((ms) => ms !== undefined && ms >= 0);
}

function scaled(text: string | undefined, factor: number): number | undefined {
  return text !== undefined && /^\d+(\.\d+)?$/.test(text) ? Math.ceil(Number(text) * factor) : undefined;
}

/** Seconds or an HTTP date. */
function readDate(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  const seconds = scaled(text, 1_000);
  return seconds !== undefined || /^[-\d.]/.test(text) ? seconds : untilDate(text, now);
}

function untilDate(text: string, now: number): number | undefined {
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** "Please try again in 9m38.016s", "Please wait 12 seconds before retrying", "Please retry in 48.9399s." */
function readMessage(message: string): number | undefined {
  const duration = /(?:try again|retry) in ((?:\d+(?:\.\d+)?(?:ms|h|m|s))+)/i.exec(message)?.[1];
  if (duration) return Math.ceil(readGoDuration(duration) ?? 0);
  return scaled(/wait (\d+(?:\.\d+)?) ?s(?:ec|\b)/i.exec(message)?.[1], 1_000);
}

/** When the limit that ran out is filled again: a duration, seconds, or a time as text or in (milli)seconds since 1970. */
function readReset(header: (name: string) => string | undefined, now: number): number | undefined {
  for (const resource of ['requests', 'tokens']) {
    if (header(`x-ratelimit-remaining-${resource}`) !== '0') continue;
    const reset = readInstant(header(`x-ratelimit-reset-${resource}`), now);
    if (reset !== undefined) return reset;
  }
  for (const resource of ['requests', 'tokens', 'input-tokens', 'output-tokens']) {
    if (header(`anthropic-ratelimit-${resource}-remaining`) !== '0') continue;
    const reset = readInstant(header(`anthropic-ratelimit-${resource}-reset`), now);
    if (reset !== undefined) return reset;
  }
  return readInstant(header('x-ratelimit-reset') ?? header('ratelimit-reset'), now);
}

/** When something is over, as milliseconds from now: given as a duration, as seconds, or as a time. */
export function readInstant(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{4}-\d\d-\d\dT/.test(text)) return untilDate(text, now);
  const number = scaled(text, 1);
  if (number === undefined) return readGoDuration(text);
  if (number > 1e12) return Math.max(0, number - now);
  if (number > 1e9) return Math.max(0, number * 1_000 - now);
  return number * 1_000;
}
