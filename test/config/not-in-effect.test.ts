import { describe, expect, it } from 'vitest';
import { load } from './load.ts';

const demo = 'providers: [{ name: demo, kind: demo }]\n';

describe('notices', () => {
  it.each([
    'server: { max_in_flight: 5, trusted_proxies: [] }',
    'routing: { default_strategy: failover, fallback: false }',
    'timeouts: { idle: 5s }\nhealth_probe: { interval: 5s }\ntelemetry: { log_level: warn }',
    `${demo}routes: [{ model: a, strategy: failover, targets: [{ provider: demo }], timeouts: { idle: 5s } }]`,
    'breaker:\ncache: {}\nretry: ~',
  ])('are not given for what is in effect, nor for what is not set: %s', (yaml) => {
    expect(load(yaml).notices).toEqual([]);
  });

  it.each([
    ['routing: { default_strategy: quality }', {}, ['routing.default_strategy highest_quality: not in effect yet']],
    [`routing: { default_strategy: "\${S:-random}" }`, {}, ['routing.default_strategy random: not in effect yet']],
    ['', { REDIS_URL: 'redis://h' }, ['REDIS_URL: not in effect yet']],
    ['', { DEFAULT_RATE_LIMIT_CAPACITY: '5' }, ['DEFAULT_RATE_LIMIT_CAPACITY: not in effect yet']],
    ['breaker: { min_calls: 5, window: 10s }', {}, ['breaker: not in effect yet']],
  ])('name what is given and not in effect, once: %s with %j', (yaml, environment, notices) => {
    expect(load(yaml, { ...environment }).notices).toEqual(notices);
  });
});
