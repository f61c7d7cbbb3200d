import { describe, expect, it } from 'vitest';
import { describeConfig, loadConfig } from '../../src/config.ts';
import { load } from './load.ts';

const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

const yaml = `
server: { host: "::1", port: 81, cors_origins: [], trusted_proxies: [10.0.0.0/8, "fd00::/8"] }
providers:
  - { name: main, kind: groq, api_key: sk-secret, timeouts: { connect: 1s }, limits: { max_concurrent: 5, requests_per_minute: 9 } }
  - { name: other, kind: openai_compatible, base_url: http://other/v1, api_keys: [sk-secret, b] }
routes:
  - model: fast
    strategy: failover
    targets: [{ provider: main }, { provider: ollama, model: m, weight: 2 }]
    timeouts: { total: 60s, idle: 800ms }
    retry: { attempts: 1 }
    cache: { enabled: true, shared: true }
  - { model: "gpt-*", targets: [{ provider: other }] }
  - model: spread
    targets: [{ provider: main, weight: 3 }, { provider: other, model: m }, { provider: ollama }]
    hedge: { delay: 800ms }
    guarantee: buffered
breaker: { slow_call: 2s, failure_ratio: 0.335 }
retry: { attempts: 4 }
limits: { tiers: [{ name: premium, tokens_per_minute: 1000 }] }
keys:
  - { name: team, sha256: ${digest}, tier: premium, models: [fast], budget_usd: 5, expires: 2027-01-01 }
jwt:
  - { issuer: "https://idp", audience: gateway, jwks_url: "https://idp/keys" }
  - { issuer: other, audience: gw, jwks_url: "http://o/k", name_prefix: "o:", name_claim: email, tier_claim: t, models_claim: m, admin_claim: roles, admin_value: ops }
`;

describe('describeConfig', () => {
  it('tells what listens, what binds to which route, and who may call', () => {
    expect(describeConfig(load(yaml, { GATEWAY_ADMIN_KEY: 'sk-secret' }))).toBe(
      `listens on http://[::1]:81
  at most 1000 calls in flight and 20971520 bytes a body
  refuses calls when the event loop is 100ms late, or 95 % of memory is in use
  headers within 10s, requests within 30s, drains for 25s, connections for 1200s
  pages that may call: none
  believes X-Forwarded-For of 10.0.0.0/8, fd00::/8

providers
  main: groq at https://api.groq.com/openai/v1
    default model: openai/gpt-oss-120b; keys: 1; fields it cannot take: error
    limits: 9 calls a minute, 5 calls in flight; they bind fast, spread, its models by their own names
  other: openai_compatible at http://other/v1
    default model: none; keys: 2; fields it cannot take: error
  ollama: ollama at http://127.0.0.1:11434, if it answers
    default model: llama3.2; keys: 0; fields it cannot take: error

routes
  fast: failover [route]
    -> main/openai/gpt-oss-120b, 33.3 % where a call asks for round_robin or random; connect 1s [provider], attempt 60s, first token 30s, with reasoning 120s, idle 800ms [route]
    -> ollama/m, 66.7 % where a call asks for round_robin or random; connect 3s, attempt 60s, first token 120s, idle 800ms [route]
    whole call: 60s [route]
    attempts: 1 a target, 1 in all [route]
    cache: on, for 300s, shared by all callers [route]
  gpt-*: round_robin
    -> other/*, 100 % of the calls; connect 3s, attempt 60s, first token 30s, with reasoning 120s, idle 30s
    whole call: 120s, streamed 600s, at /completion 30s
    attempts: 2 a target, 4 in all
    cache: off
  spread: round_robin
    -> main/openai/gpt-oss-120b, 60 % of the calls; connect 1s [provider], attempt 60s, first token 30s, with reasoning 120s, idle 30s
    -> other/m, 20 % of the calls; connect 3s, attempt 60s, first token 30s, with reasoning 120s, idle 30s
    -> ollama/llama3.2, 20 % of the calls; connect 3s, attempt 60s, first token 120s, idle 30s
    whole call: 120s, streamed 600s, at /completion 30s
    attempts: 2 a target, 4 in all
    cache: off
    hedge: one more target after 800ms [route]
    guarantee: buffered [route]
  any other model: round_robin, with fallback
    each attempt: connect 3s, attempt 60s, first token 30s, with reasoning 120s, idle 30s
    whole call: 120s, streamed 600s, at /completion 30s
    attempts: 2 a target, 4 in all
    cache: off

every target
  retries: at most 0.2 for each first attempt, after 100ms to 2s; when rate limited: failover
  breaker: opens at 33.5 % failures or 80 % slow calls (above 2s) of at least 10 within 30s
    open for 5s, twice as long each time, at most 120s; then 3 calls on trial
  asked for its models every 30s, within 5s

limits
  by key; all callers together: any number of calls a minute, any number a second
  tier premium: 500 calls at once, 5 a second, 1000 tokens a minute
  tier default: 100 calls at once, 1 a second
  tier enterprise: 1000 calls at once, 10 a second

keys
  team: tier premium; models fast; 5 USD each 30d; until 2027-01-01T00:00:00.000Z
  GATEWAY_ADMIN_KEY: admin
  tokens of https://idp for gateway, by the keys at https://idp/keys; name {sub}; tier default; models all
  tokens of other for gw, by the keys at http://o/k; name o:{email}; tier {t}; models {m}; admin if {roles} is or holds ops`,
    );
  });

  it('tells that anyone may call where no key is configured', () => {
    expect(describeConfig(loadConfig({ environment: {} }))).toContain('\nkeys\n  none: anyone may call');
  });
});
