import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ProviderKind } from '../../gen/llmgateway/v1/config_pb.ts';
import { loadConfig } from '../../src/config.ts';
import { load, problemsOf, problemsOfEnvironment } from './load.ts';

function digest(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

function loadEnvironment(environment: Record<string, string>) {
  return loadConfig({ environment });
}

const groqOfFile = 'providers: [{ name: groq, kind: groq, api_keys: [a, b], base_url: http://file, default_model: m }]';

describe('variables of the server', () => {
  it('override the file', () => {
    const environment = { HOST: '::1', PORT: '81', CORS_ORIGINS: 'https://a.example, http://b:8000' };
    const yaml = 'server: { host: a, port: 80, cors_origins: ["*"], max_in_flight: 5 }';
    expect(load(yaml, environment).config.server).toMatchObject({
      host: '::1',
      port: 81,
      corsOrigins: ['https://a.example', 'http://b:8000'],
      maxInFlight: 5,
    });
  });

  it('count as unset when empty', () => {
    const names =
      'HOST PORT CORS_ORIGINS GATEWAY_API_KEYS GATEWAY_ADMIN_KEY REDIS_URL ENABLE_GROQ ENABLE_OLLAMA OLLAMA_BASE_URL';
    const empty = Object.fromEntries(names.split(' ').map((name) => [name, '']));
    expect(loadEnvironment(empty)).toEqual(loadEnvironment({}));
  });
});

describe('variables of providers', () => {
  it('bring each provider with its key, in their own order', () => {
    const { config } = loadEnvironment({
      ENABLE_GITHUB_MODELS: 'TRUE',
      ENABLE_GROQ: 'yes',
      ENABLE_GEMINI: '1',
      GITHUB_TOKEN: 'h',
      GROQ_API_KEY: 'g',
      GEMINI_API_KEY: 'e',
      GROQ_BASE_URL: 'http://proxy/v1',
      GEMINI_DEFAULT_MODEL: 'gemini-9',
    });
    expect(config.providers).toMatchObject([
      { name: 'gemini', kind: ProviderKind.GEMINI, apiKey: 'e', defaultModel: 'gemini-9' },
      { name: 'groq', kind: ProviderKind.GROQ, apiKey: 'g', baseUrl: 'http://proxy/v1' },
      { name: 'github_models', apiKey: 'h', baseUrl: 'https://models.github.ai/inference' },
      { name: 'ollama' },
    ]);
  });

  it('override a provider of that name in the file', () => {
    const environment = { GROQ_API_KEY: 'c', GROQ_BASE_URL: 'http://environment', GROQ_DEFAULT_MODEL: 'n' };
    expect(load(groqOfFile, environment).config.providers[0]).toMatchObject({
      apiKey: 'c',
      apiKeys: [],
      baseUrl: 'http://environment',
      defaultModel: 'n',
    });
  });

  it('do not add a provider twice', () => {
    expect(load(groqOfFile, { ENABLE_GROQ: 'true' }).config.providers.map(({ name }) => name)).toEqual([
      'groq',
      'ollama',
    ]);
  });

  it('give the key that a provider of the file lacks', () => {
    const yaml = 'providers: [{ name: groq, kind: groq }]';
    expect(load(yaml, { GROQ_API_KEY: 'c' }).config.providers[0]?.apiKey).toBe('c');
  });

  it('change nothing of providers that are not enabled', () => {
    expect(loadEnvironment({ GROQ_API_KEY: 'c', GROQ_BASE_URL: 'nonsense' })).toEqual(loadEnvironment({}));
  });

  it('switch off a provider of the file by false', () => {
    expect(load(groqOfFile, { ENABLE_GROQ: 'False' }).config.providers.map(({ name }) => name)).toEqual(['ollama']);
  });

  it('are named where a route needs what they switched off', () => {
    const yaml = `${groqOfFile}\nroutes: [{ model: a, targets: [{ provider: groq }] }]`;
    const message = 'unknown provider "groq"; ENABLE_GROQ switches it off';
    expect(problemsOf(yaml, { ENABLE_GROQ: '0' })).toEqual([
      { path: 'routes[0].targets[0].provider', line: 2, message },
    ]);
  });
});

describe('ollama', () => {
  const listed = 'providers: [{ name: ollama, kind: ollama, base_url: http://gpu:11434 }]';
  it.each([
    ['', {}, 'detect', ['http://127.0.0.1:11434']],
    [groqOfFile, {}, 'detect', ['http://file', 'http://127.0.0.1:11434']],
    ['', { OLLAMA_DEFAULT_MODEL: 'm' }, 'detect', ['http://127.0.0.1:11434']],
    ['', { ENABLE_OLLAMA: 'true' }, 'configured', ['http://127.0.0.1:11434']],
    ['', { OLLAMA_BASE_URL: 'http://b:1' }, 'configured', ['http://b:1']],
    [listed, {}, 'configured', ['http://gpu:11434']],
    [listed, { OLLAMA_BASE_URL: 'http://b:1' }, 'configured', ['http://b:1']],
    ['', { ENABLE_OLLAMA: 'no' }, 'off', []],
    ['', { ENABLE_OLLAMA: 'no', OLLAMA_BASE_URL: 'http://b:1' }, 'off', []],
    [listed, { ENABLE_OLLAMA: 'false' }, 'off', []],
  ])('with the file "%s" and %j is %s', (yaml, environment, mode, urls) => {
    const { ollama, config } = load(yaml, { ...environment });
    expect([ollama, config.providers.map(({ baseUrl }) => baseUrl)]).toEqual([mode, urls]);
  });
});

describe('keys of the environment', () => {
  it('are added to those of the file, as digests', () => {
    const yaml = `keys: [{ name: file, sha256: ${digest('f')} }]`;
    const { config } = load(yaml, { GATEWAY_API_KEYS: 'alice:premium:k1, bob:default:k:2,' });
    expect(config.keys).toMatchObject([
      { name: 'file' },
      { name: 'alice', tier: 'premium', sha256: digest('k1'), admin: false },
      { name: 'bob', tier: 'default', sha256: digest('k:2') },
    ]);
  });

  it('may use a tier of the file', () => {
    const yaml = 'limits: { tiers: [{ name: gold }] }';
    expect(load(yaml, { GATEWAY_API_KEYS: 'a:gold:k' }).config.keys[0]?.tier).toBe('gold');
  });

  it('are nowhere in what is loaded', () => {
    const loaded = loadEnvironment({ GATEWAY_API_KEYS: 'alice:premium:sk-clear', GATEWAY_ADMIN_KEY: 'sk-admin' });
    const text = JSON.stringify(loaded, (_, value) => (typeof value === 'bigint' ? Number(value) : value));
    expect(text).not.toContain('sk-');
  });

  it('of the administrator stand apart, and do not close the open mode', () => {
    const { adminKeySha256, config } = loadEnvironment({ GATEWAY_ADMIN_KEY: 'root' });
    expect([adminKeySha256, config.keys]).toEqual([digest('root'), []]);
  });
});

describe('variables of limits and state', () => {
  it('change the default tier, over the file', () => {
    const yaml = 'limits: { tiers: [{ name: default, capacity: 5, refill_per_second: 6, max_concurrent: 7 }] }';
    const { limits } = load(yaml, { DEFAULT_RATE_LIMIT_CAPACITY: '50' }).config;
    expect(limits?.tiers[0]).toMatchObject({ name: 'default', capacity: 50, refillPerSecond: 6, maxConcurrent: 7 });
    const { limits: alone } = loadEnvironment({ DEFAULT_RATE_LIMIT_REFILL_RATE: '2.5' }).config;
    expect(alone?.tiers.find(({ name }) => name === 'default')).toMatchObject({ capacity: 100, refillPerSecond: 2.5 });
  });

  it('give the URL of Redis, over the file', () => {
    const yaml = 'state: { redis_url: redis://file, replicas: 2 }';
    expect(load(yaml, { REDIS_URL: 'rediss://:pw@h:1/2' }).config.state).toMatchObject({
      redisUrl: 'rediss://:pw@h:1/2',
      replicas: 2,
    });
  });
});

describe('a wrong variable', () => {
  it.each([
    [{ PORT: '80a' }, 'PORT', 'must be a whole number from 0 to 65535, not "80a"'],
    [{ PORT: '65536' }, 'PORT', 'must be less than or equal to 65535, not "65536"'],
    [{ PORT: '-1' }, 'PORT', 'must be a whole number from 0 to 65535, not "-1"'],
    [{ HOST: 'a:80' }, 'HOST', 'must be an IP address or a host name, without port, not "a:80"'],
    [
      { CORS_ORIGINS: '*,example' },
      'CORS_ORIGINS',
      'must be * or an origin such as https://app.example.com, not "example"',
    ],
    [{ ENABLE_GROQ: 'on' }, 'ENABLE_GROQ', 'must be true or false, not "on"'],
    [{ ENABLE_GROQ: 'true' }, 'GROQ_API_KEY', 'is not set, but ENABLE_GROQ is true'],
    [{ ENABLE_GEMINI: 'true' }, 'GEMINI_API_KEY', 'is not set, but ENABLE_GEMINI is true'],
    [{ ENABLE_GITHUB_MODELS: '1', GITHUB_TOKEN: '' }, 'GITHUB_TOKEN', 'is not set, but ENABLE_GITHUB_MODELS is true'],
    [
      { ENABLE_GROQ: '1', GROQ_API_KEY: 'k\n' },
      'GROQ_API_KEY',
      'must consist of printable ASCII characters, without spaces or line breaks',
    ],
    [
      { OLLAMA_BASE_URL: 'gpu:11434' },
      'OLLAMA_BASE_URL',
      'must be an http or https URL, not "gpu:11434"; did you mean "http://gpu:11434"?',
    ],
    [
      { REDIS_URL: 'localhost:6379' },
      'REDIS_URL',
      expect.stringMatching(/^must be a URL such as redis:\/\/localhost:6379\/0, rediss:.*redis\+cluster:/),
    ],
    [{ DEFAULT_RATE_LIMIT_CAPACITY: 'many' }, 'DEFAULT_RATE_LIMIT_CAPACITY', 'must be a number, not "many"'],
    [
      { DEFAULT_RATE_LIMIT_CAPACITY: '0' },
      'DEFAULT_RATE_LIMIT_CAPACITY',
      'must be greater than or equal to 1, not "0"',
    ],
    [{ GATEWAY_API_KEYS: 'sk-1' }, 'GATEWAY_API_KEYS', 'entry 1 of 1: must be name:tier:key'],
    [{ GATEWAY_API_KEYS: 'a:default:k,b::k2' }, 'GATEWAY_API_KEYS', 'entry 2 of 2: must be name:tier:key'],
    [
      { GATEWAY_API_KEYS: ' , ' },
      'GATEWAY_API_KEYS',
      'has no entry; give name:tier:key, or unset it to let everybody call',
    ],
    [
      { GATEWAY_API_KEYS: 'a:gold:k' },
      'GATEWAY_API_KEYS',
      'entry 1: unknown tier; must be default, premium or enterprise',
    ],
    [
      { GATEWAY_API_KEYS: 'a b:default:k' },
      'GATEWAY_API_KEYS',
      'entry 1: must match `^[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$`',
    ],
    [
      { GATEWAY_API_KEYS: 'a:default:k,b:premium:k' },
      'GATEWAY_API_KEYS',
      'entry 2: is the digest of the same key as GATEWAY_API_KEYS, entry 1',
    ],
    [
      { GATEWAY_ADMIN_KEY: 'a b' },
      'GATEWAY_ADMIN_KEY',
      'must consist of printable ASCII characters, without spaces or line breaks',
    ],
  ] as const)('is refused: %j', (environment, path, message) => {
    expect(problemsOfEnvironment({ ...environment })).toEqual([{ path, message }]);
  });
});

describe('messages', () => {
  it('show no secret, wherever one was put', () => {
    const secret = 'sk-secret';
    const yaml = [
      'providers:',
      `  - { name: a, kind: groq, api_key: [${secret}] }`,
      `  - { name: b, kind: groq, api_keys: ${secret} }`,
      `  - { name: c, kind: groq, api_key: "${secret} ${secret}", headers: { x: "${secret}\\n", y: [${secret}] } }`,
      `  - { name: d, kind: ollama, base_url: "https://u:${secret}@h" }`,
      `  - { name: e, kind: ollama, base_url: "https://${secret}@h" }`,
      `  - { name: f, kind: ollama, base_url: "https://h?key=${secret}" }`,
      `  - { name: g, kind: "\${SECRET}", base_url: "\${SECRET}", api_key: "\${SECRET}\${NONE}" }`,
      `server: { port: "\${SECRET}", host: "\${SECRET}/", cors_origins: ["\${SECRET}"], trusted_proxies: ["\${SECRET}"] }`,
      `state: { redis_url: "http://:${secret}@h", sqlite_path: "\${SECRET}/a/b" }`,
      `keys: [{ name: a, sha256: ${secret}, tier: "\${SECRET}" }, { name: b, sha256: [${secret}] }]`,
      `models: [{ id: a, provider: "\${SECRET}" }, { id: "\${SECRET}", provider: ollama }, { id: "\${SECRET}", provider: ollama }]`,
      `routes: [{ model: "\${SECRET}**", targets: [{ provider: "\${SECRET}" }] }]`,
      `limits: { tiers: [{ name: "\${SECRET}" }, { name: "\${SECRET}" }] }`,
    ].join('\n');
    const environment = {
      SECRET: secret,
      GATEWAY_API_KEYS: `${secret},a:${secret}:default,${secret} :default:a,a:default:${secret} b`,
      GATEWAY_ADMIN_KEY: `${secret} b`,
      REDIS_URL: `http://:${secret}@h`,
      ENABLE_GROQ: 'true',
      GROQ_API_KEY: `${secret}\n`,
      GROQ_BASE_URL: `http://u:${secret}@h`,
    };
    const problems = problemsOf(yaml, environment);
    expect(problems.length).toBeGreaterThan(25);
    expect(problems.filter(({ message, path }) => `${path}${message}`.includes(secret))).toEqual([]);
  });

  it.each([
    'api_key: "sk-secret" sk-secret',
    'api_key: @sk-secret',
    'api_key: |sk-secret',
    'api_key: *sk-secret',
    'api_key: !sk-secret',
    'api_key: {sk-secret}} sk-secret',
    'api_key: [sk-secret',
  ])('show no piece of a text that is not YAML: %s', (line) => {
    const problems = problemsOf(`providers:\n  - ${line}\n`);
    expect(problems.length).toBeGreaterThan(0);
    expect(JSON.stringify(problems)).not.toContain('sk-secret');
  });
});
