import type { Origin } from './findings.ts';

/**
 * Settings that are read and checked, and that nothing heeds yet. The work that brings one deletes its line.
 *
 * A row is a path without indices, which stands for all below it, or a path and one of its words.
 */
const rows: readonly (readonly [path: string, word?: string])[] = [
  ['providers[].limits.requests_per_minute'],
  ['providers[].limits.requests_per_second'],
  ['routing.default_strategy', 'round_robin'],
  ['routing.default_strategy', 'least_latency'],
  ['routing.default_strategy', 'lowest_cost'],
  ['routing.default_strategy', 'highest_quality'],
  ['routing.default_strategy', 'random'],
  ['routes[].strategy', 'round_robin'],
  ['routes[].strategy', 'least_latency'],
  ['routes[].strategy', 'lowest_cost'],
  ['routes[].strategy', 'highest_quality'],
  ['routes[].strategy', 'random'],
  ['routes[].targets[].weight'],
  ['routes[].retry'],
  ['routes[].cache'],
  ['routes[].hedge'],
  ['routes[].guarantee'],
  ['retry'],
  ['breaker'],
  ['cache'],
  ['state'],
  ['limits'],
  ['keys[].budget_usd'],
  ['keys[].budget_period'],
  ['server.trusted_proxies'],
  ['telemetry.log_prompts'],
  ['telemetry.trust_incoming_trace'],
];

/** One line for each setting that was given and is not in effect yet, named as it was given: in the file, or as a variable. */
export function noticesOf(given: readonly [path: string, origin: Origin][]): string[] {
  const notices = new Set<string>();
  for (const [path, { variable, text, word: givenWord }] of given) {
    if (text === '[]' || text === '{}') continue;
    const plain = path.replaceAll(/\[[^\]]*\]/g, '[]');
    for (const [setting, word] of rows) {
      const isBelow = plain === setting || plain.startsWith(`${setting}.`) || plain.startsWith(`${setting}[`);
      if (!isBelow || (word !== undefined && word !== givenWord)) continue;
      const name = word === undefined ? setting : `${setting} ${word}`;
      notices.add(`${variable ?? name}: not in effect yet`);
    }
  }
  return [...notices];
}
