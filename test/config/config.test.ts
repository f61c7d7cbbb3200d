import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { create, toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { Guarantee, RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import { ConfigSchema, ProviderKind } from '../../gen/llmgateway/v1/config_pb.ts';
import { loadConfig } from '../../src/config.ts';
import { load } from './load.ts';

const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

/** The configuration of a text, as the JSON of its message. */
function read(yaml: string, environment: Record<string, string> = {}) {
  return toJson(ConfigSchema, load(yaml, environment).config, { useProtoFieldName: true }) as Record<string, unknown>;
}

const defaults = {
  server: {
    host: '0.0.0.0',
    port: 8080,
    cors_origins: ['*'],
    body_limit_bytes: 20971520,
    max_in_flight: 1000,
    header_timeout: '10s',
    request_timeout: '30s',
    drain_timeout: '25s',
    max_connection_age: '1200s',
  },
  providers: [
    {
      name: 'ollama',
      kind: 'PROVIDER_KIND_OLLAMA',
      base_url: 'http://127.0.0.1:11434',
      default_model: 'llama3.2',
      drop_unsupported: 'DROP_UNSUPPORTED_ERROR',
    },
  ],
  routing: { default_strategy: 'ROUTING_STRATEGY_ROUND_ROBIN', fallback: true },
  timeouts: {
    total_unary: '120s',
    total_stream: '600s',
    total_native: '30s',
    connect: '3s',
    attempt_unary: '60s',
    idle: '30s',
    heartbeat: '10s',
  },
  retry: {
    attempts_per_target: 2,
    attempts: 3,
    base_delay: '0.100s',
    max_delay: '2s',
    budget_ratio: 0.2,
    on_rate_limit: 'ON_RATE_LIMIT_FAILOVER',
  },
  breaker: {
    window: '30s',
    min_calls: 10,
    failure_ratio: 0.5,
    slow_call_ratio: 0.8,
    open_for: '5s',
    max_open_for: '120s',
    half_open_calls: 3,
  },
  health_probe: { interval: '30s', timeout: '5s' },
  cache: { enabled: false, ttl: '300s', max_bytes: 268435456, shared: false },
  state: { key_prefix: 'llmgw:', on_outage: 'ON_OUTAGE_LOCAL', replicas: 1 },
  limits: {
    limit_by: 'LIMIT_BY_KEY',
    global: { requests_per_minute: 0, requests_per_second: 0 },
    tiers: [
      { name: 'default', capacity: 100, refill_per_second: 1, tokens_per_minute: 0, max_concurrent: 0 },
      { name: 'premium', capacity: 500, refill_per_second: 5, tokens_per_minute: 0, max_concurrent: 0 },
      { name: 'enterprise', capacity: 1000, refill_per_second: 10, tokens_per_minute: 0, max_concurrent: 0 },
    ],
  },
  idempotency: { ttl: '600s', max_bytes: 67108864 },
  overload: { event_loop_delay: '0.100s', stop_caching_at: 0.85, refuse_at: 0.95 },
  telemetry: { log_level: 'LOG_LEVEL_INFO', log_prompts: false, trust_incoming_trace: false, metrics: true },
};

describe('defaults', () => {
  it('are filled in without a file', () => {
    const { config, ...rest } = loadConfig({ environment: {} });
    expect(toJson(ConfigSchema, config, { useProtoFieldName: true })).toEqual(defaults);
    expect(rest).toEqual({ ollama: 'detect', network: { noProxy: [] }, telemetry: { traces: false }, notices: [] });
  });

  it.each(['', '# nothing\n', '---\n', '{}', 'server:\nproviders: ~\nroutes: null\n', '\ufeff'])(
    'are filled in by the file %j',
    (yaml) => {
      expect(read(yaml)).toEqual(defaults);
    },
  );

  it('give way to what is given, and only to that', () => {
    const yaml = 'server: { port: 0, cors_origins: [] }\ntimeouts: { idle: 5m }\nstate: { key_prefix: "" }';
    const { server, timeouts, state } = load(yaml).config;
    expect(server).toMatchObject({ port: 0, corsOrigins: [], host: '0.0.0.0' });
    expect(timeouts).toMatchObject({ idle: { seconds: 300n }, connect: { seconds: 3n } });
    expect(state?.keyPrefix).toBe('');
  });

  it('keep below a bound that is given alone', () => {
    const { retry, breaker } = load('retry: { attempts: 1, max_delay: 50ms }\nbreaker: { max_open_for: 2s }').config;
    expect(retry).toMatchObject({ attemptsPerTarget: 1, baseDelay: { nanos: 50_000_000 } });
    expect(breaker?.openFor?.seconds).toBe(2n);
  });

  it('leave unset what depends on the call', () => {
    const { timeouts, breaker } = load('').config;
    expect([timeouts?.firstToken, breaker?.slowCall]).toEqual([undefined, undefined]);
  });

  it('are those of the kind for each provider', () => {
    const yaml =
      'providers: [{ name: a, kind: groq, api_key: k }, { name: b, kind: anthropic, api_key: k, base_url: http://h }]';
    expect(load(yaml).config.providers).toMatchObject([
      { name: 'a', baseUrl: 'https://api.groq.com/openai/v1', defaultModel: 'openai/gpt-oss-120b' },
      { name: 'b', baseUrl: 'http://h', defaultModel: '' },
      { name: 'ollama' },
    ]);
  });

  it('of an issuer take its subject as the name, and every algorithm with a public key', () => {
    const yaml = 'jwt: [{ issuer: i, audience: a, jwks_url: "https://i/keys" }]';
    expect(load(yaml).config.jwt).toMatchObject([
      { nameClaim: 'sub', namePrefix: '', tierClaim: '', modelsClaim: '', adminClaim: '', adminValue: 'true' },
    ]);
    expect(load(yaml).config.jwt[0]).toMatchObject({ clockTolerance: { seconds: 30n } });
    expect(load(yaml).config.jwt[0]?.algorithms).toHaveLength(11);
  });

  it('of a built-in tier hold for what the file does not give of it', () => {
    const yaml = 'limits: { tiers: [{ name: premium, capacity: 900 }, { name: trial, refill_per_second: 0.5 }] }';
    const key = `keys: [{ name: team, tier: trial, sha256: ${digest} }]`;
    expect(load(`${yaml}\n${key}`).config.limits?.tiers).toMatchObject([
      { name: 'premium', capacity: 900, refillPerSecond: 5 },
      { name: 'trial', capacity: 100, refillPerSecond: 0.5 },
      { name: 'default', capacity: 100, refillPerSecond: 1 },
      { name: 'enterprise', capacity: 1000, refillPerSecond: 10 },
    ]);
  });

  it('cannot be changed afterwards', () => {
    const { config } = load('');
    expect(() => config.providers.push(create(ConfigSchema).providers[0] as never)).toThrow(TypeError);
    expect(() => Object.assign(config.server ?? {}, { port: 1 })).toThrow(TypeError);
  });
});

describe('a file', () => {
  it('is read whole', () => {
    const yaml = `
      server: { host: "::1", trusted_proxies: [10.0.0.0/8, "::1"] }
      providers:
        - name: main
          kind: openai_compatible
          base_url: https://llm.example/v1
          api_keys: [one, two]
          default_model: m
          drop_unsupported: drop
          headers: { x-team: search, X-Empty: "" }
          limits: { requests_per_minute: 200, max_concurrent: 50 }
          timeouts: { connect: 800ms, first_token: 1.5s }
      models:
        - { id: m, provider: main, input_price: 0.15, output_price: 1, context_window: 131072, quality: 0.82 }
      routes:
        - model: fast
          strategy: quality
          targets: [{ provider: main, model: m, weight: 3 }, { provider: main }]
          cache: { enabled: true }
          timeouts: { total: 1h }
          retry: { attempts: 5 }
          hedge: { delay: 800ms }
          guarantee: buffered
        - { model: "gpt-*", targets: [{ provider: ollama }] }
      limits: { limit_by: key_and_user_id }
      keys:
        - name: team
          sha256: ${digest.toUpperCase()}
          tier: premium
          models: [fast, "main/*"]
          budget_usd: 50
          expires: 2027-01-01T00:00:00+01:00
        - { name: ops, sha256: ${digest.replace('9', '8')}, admin: true }
    `;
    const { config } = load(yaml);
    expect(config.server?.trustedProxies).toEqual(['10.0.0.0/8', '::1']);
    expect(config.providers[0]).toMatchObject({
      kind: ProviderKind.OPENAI_COMPATIBLE,
      apiKeys: ['one', 'two'],
      headers: { 'x-team': 'search', 'X-Empty': '' },
      limits: { requestsPerMinute: 200, maxConcurrent: 50 },
      timeouts: { connect: { nanos: 800_000_000 }, firstToken: { seconds: 1n, nanos: 500_000_000 } },
    });
    expect(config.models[0]).toMatchObject({ inputPrice: 0.15, outputPrice: 1, quality: 0.82 });
    expect(config.routes[0]).toMatchObject({
      strategy: RoutingStrategy.HIGHEST_QUALITY,
      targets: [
        { model: 'm', weight: 3 },
        { model: '', weight: 1 },
      ],
      timeouts: { total: { seconds: 3600n } },
      guarantee: Guarantee.BUFFERED,
    });
    expect(config.keys).toMatchObject([
      {
        sha256: digest,
        models: ['fast', 'main/*'],
        expires: { seconds: 1798758000n },
        budgetPeriod: { seconds: 2592000n },
      },
      { tier: 'default', admin: true },
    ]);
  });

  it('may be JSON', () => {
    expect(load('{"server": {"port": 81}, "providers": [{"name": "d", "kind": "demo"}]}').config).toMatchObject({
      server: { port: 81 },
      providers: [{ name: 'd' }, { name: 'ollama' }],
    });
  });

  it('may repeat itself by anchors and aliases', () => {
    const { timeouts } = load('timeouts: { idle: &patient 90s, connect: *patient }').config;
    expect([timeouts?.idle?.seconds, timeouts?.connect?.seconds]).toEqual([90n, 90n]);
  });

  it('may have Windows line ends', () => {
    expect(load('server:\r\n  port: 81\r\n  host: "::1"\r\n').config.server).toMatchObject({ port: 81, host: '::1' });
  });

  it.each([
    ['2027-01-01', 1798761600n],
    ['2027-01-01T00:00:00Z', 1798761600n],
    ['2027-01-01 00:00:00', 1798761600n],
    ['2027-01-01t01:30:00.5+01:30', 1798761600n],
    ['"2026-12-31 19:00:00 -5"', 1798761600n],
    ['2028-02-29', 1835395200n],
  ])('may write a time as %s', (text, seconds) => {
    expect(load(`keys: [{ name: a, sha256: ${digest}, expires: ${text} }]`).config.keys[0]?.expires?.seconds).toBe(
      seconds,
    );
  });
});

/** The header that a text gives, written in double quotes. */
function headerOf(text: string, environment: Record<string, string>): string | undefined {
  const yaml = `providers: [{ name: a, kind: demo, headers: { h: ${JSON.stringify(text)} } }]`;
  return load(yaml, environment).config.providers[0]?.headers.h;
}

describe('a reference to the environment', () => {
  it.each([
    [`\${A}`, { A: 'b' }, 'b'],
    [`-\${A}.\${B}-`, { A: 'b', B: 'c' }, '-b.c-'],
    [`\${A:-x y}`, {}, 'x y'],
    [`\${A:-x}`, { A: '' }, 'x'],
    [`\${A}`, { A: `\${B}: [1` }, `\${B}: [1`],
    [`$\${A}`, {}, `\${A}`],
    [`$A $$ {A}`, {}, '$A $$ {A}'],
  ])('%s with %j is %s', (text, environment, expected) => {
    expect(headerOf(text, { ...environment })).toBe(expected);
  });

  it('may stand for a number, a truth, a word or a duration', () => {
    const yaml = [
      `server: { port: "\${PORT_OF_FILE}" }`,
      `cache:\n  enabled: \${CACHE:-true}`,
      `routing: { default_strategy: '\${STRATEGY:-failover}' }`,
      `timeouts: { idle: "\${IDLE:-5s}" }`,
    ].join('\n');
    expect(load(yaml, { PORT_OF_FILE: '81' }).config).toMatchObject({
      server: { port: 81 },
      cache: { enabled: true },
      routing: { defaultStrategy: RoutingStrategy.FAILOVER },
      timeouts: { idle: { seconds: 5n } },
    });
  });

  it('that is empty leaves its setting unset', () => {
    const { config, notices } = load(`server: { port: "\${P:-}", host: "\${H:-}" }\ncache: { ttl: "\${T:-}" }`);
    expect(config).toMatchObject({ server: { port: 8080, host: '0.0.0.0' }, cache: { ttl: { seconds: 300n } } });
    expect(notices).toEqual([]);
  });
});

const replay = join(
  process.env.REPLAY_CORPUS ?? join(import.meta.dirname, '../../../shared/replay'),
  'check/replay/run.mjs',
);

describe.skipIf(!existsSync(replay))('the file of the replay check', () => {
  it('is read, with its hundreds of providers', () => {
    const json = execFileSync(process.execPath, [replay, '--config', '18931'], { encoding: 'utf8' });
    const { providers, models } = load(json).config;
    expect(providers.length).toBe(JSON.parse(json).providers.length + 1);
    expect(models.length).toBe(JSON.parse(json).models.length);
  });
});
