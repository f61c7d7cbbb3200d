import { describe, expect, it } from 'vitest';
import { load } from './load.ts';

const demo = 'providers: [{ name: demo, kind: demo }]\n';

describe('notices', () => {
  it.each([
    'server: { max_in_flight: 5, trusted_proxies: [10.0.0.0/8] }',
    'routing: { default_strategy: quality, fallback: false }\nretry: { attempts: 5 }\nbreaker: { min_calls: 5 }',
    'providers: [{ name: demo, kind: demo, limits: { requests_per_minute: 5, requests_per_second: 1 } }]',
    'timeouts: { idle: 5s }\nhealth_probe: { interval: 5s }\ntelemetry: { log_level: warn }',
    `${demo}routes: [{ model: a, strategy: random, targets: [{ provider: demo, weight: 2 }], guarantee: buffered }]`,
    `${demo}routes: [{ model: a, targets: [{ provider: demo }, { provider: ollama }], hedge: { delay: 1s }, retry: { attempts: 2 } }]`,
    `${demo}routes: [{ model: a, targets: [{ provider: demo }], cache: { enabled: true } }]\ncache: { enabled: true, ttl: 5s }`,
    'overload: { refuse_at: 0.9 }\nidempotency: { ttl: 1h }\nserver: { max_connection_age: 0s }',
    'telemetry: { log_prompts: true, trust_incoming_trace: true, metrics: false }',
    'breaker:\ncache: {}\nretry: ~',
    'telemetry: { log_prompts: true, trust_incoming_trace: true }',
    'limits: { limit_by: user_id }\nstate: { redis_url: "redis://h" }',
  ])('are not given for what is in effect, nor for what is not set: %s', (yaml) => {
    expect(load(yaml).notices).toEqual([]);
  });
});
