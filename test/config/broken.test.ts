import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError, formatProblems, loadConfig } from '../../src/config.ts';
import { problemsFrom, problemsOf } from './load.ts';

/** A broken file: its text, and the one problem it has. */
type Broken = readonly [yaml: string, path: string, line: number, message: string];

const demo = 'providers: [{ name: demo, kind: demo }]\n';
const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';
const otherDigest = digest.replace('9', '8');
const thirdDigest = digest.replace('9', '7');
const duration = 'must be a duration such as 800ms, 15s, 5m, 1h or 30d';
const uint32 = 'must be a whole number from 0 to 4294967295';
const origin = 'must be * or an origin such as https://app.example.com';
const sections =
  'server, providers, models, routes, routing, timeouts, retry, breaker, health_probe, cache, state, limits, keys, telemetry, jwt, idempotency, overload';

const shapes: Broken[] = [
  ['- a', '', 1, 'the file must be a map, not a list'],
  ['hello', '', 1, 'the file must be a map, not a single value'],
  ['\nserver: 5', 'server', 2, 'must be a map, not a single value'],
  ['providers: {}', 'providers', 1, 'must be a list, not a map'],
  ['providers: [5]', 'providers[0]', 1, 'must be a map, not a single value'],
  ['server: { host: [a] }', 'server.host', 1, 'must be a text, not a list'],
  ['server:\n  prot: 80', 'server.prot', 2, 'unknown key "prot"; did you mean "port"?'],
  [
    'server: { bodyLimitBytes: 2000 }',
    'server.bodyLimitBytes',
    1,
    'unknown key "bodyLimitBytes"; did you mean "body_limit_bytes"?',
  ],
  ['zzz: 1', 'zzz', 1, `unknown key "zzz"; known: ${sections}`],
  ['__proto__: { port: 1 }', '__proto__', 1, `unknown key "__proto__"; known: ${sections}`],
  ['server: { constructor: 1, tls: ~ }', 'server.constructor', 1, expect.stringMatching(/^unknown key "constructor"/)],
  ['cache: {}\nserver: {}\ncache: {}', 'cache', 3, 'given twice: on line 1 already'],
  ['server:\n  port: 80\n  port: 81', 'server.port', 3, 'given twice: on line 2 already'],
  ['server: { [a]: 1 }', 'server', 1, 'has a key that is not a text'],
];

const values: Broken[] = [
  ['server: { port: 70000 }', 'server.port', 1, 'must be less than or equal to 65535, not 70000'],
  ['server: { port: -1 }', 'server.port', 1, `${uint32}, not -1`],
  ['server: { port: 80.5 }', 'server.port', 1, `${uint32}, not 80.5`],
  ['server: { port: "8080" }', 'server.port', 1, `${uint32}, not "8080"; leave out the quotes`],
  ['server: { port: http }', 'server.port', 1, `${uint32}, not "http"`],
  ['cache: { max_bytes: 5000000000 }', 'cache.max_bytes', 1, `${uint32}, not 5000000000`],
  [
    'server: { body_limit_bytes: 1000 }',
    'server.body_limit_bytes',
    1,
    'must be greater than or equal to 1024, not 1000',
  ],
  ['server: { max_in_flight: 0 }', 'server.max_in_flight', 1, 'must be greater than or equal to 1, not 0'],
  ['server: { host: "" }', 'server.host', 1, 'must not be empty'],
  ['server: { host: 127 }', 'server.host', 1, 'must be a text, not 127; put it in quotes'],
  ['cache: { enabled: yes }', 'cache.enabled', 1, 'must be true or false, not "yes"'],
  ['cache: { enabled: "true" }', 'cache.enabled', 1, 'must be true or false, not "true"; leave out the quotes'],
  [
    'retry: { budget_ratio: 1.5 }',
    'retry.budget_ratio',
    1,
    'must be greater than or equal to 0 and less than or equal to 1, not 1.5',
  ],
  [
    'breaker: { failure_ratio: .nan }',
    'breaker.failure_ratio',
    1,
    'must be greater than 0 and less than or equal to 1, not .nan',
  ],
  [
    'retry: { attempts: 21 }',
    'retry.attempts',
    1,
    'must be greater than or equal to 1 and less than or equal to 20, not 21',
  ],
  ['timeouts: { idle: 30 }', 'timeouts.idle', 1, `${duration}, not 30; write 30s for seconds or 30ms for milliseconds`],
  [
    'timeouts: { idle: "30" }',
    'timeouts.idle',
    1,
    `${duration}, not "30"; write 30s for seconds or 30ms for milliseconds`,
  ],
  ['timeouts: { idle: 30sec }', 'timeouts.idle', 1, `${duration}, not "30sec"`],
  ['timeouts: { idle: -3s }', 'timeouts.idle', 1, `${duration}, not "-3s"`],
  [
    'timeouts: { connect: 0s }',
    'timeouts.connect',
    1,
    'must be greater than 0s and less than or equal to 300s, not "0s"',
  ],
  [
    'timeouts: { total_stream: 2h }',
    'timeouts.total_stream',
    1,
    'must be greater than 0s and less than or equal to 3600s, not "2h"',
  ],
  [
    'telemetry: { log_level: loud }',
    'telemetry.log_level',
    1,
    'must be trace, debug, info, warn, error, fatal or silent, not "loud"',
  ],
  [
    'telemetry: { log_level: INFO }',
    'telemetry.log_level',
    1,
    'must be trace, debug, info, warn, error, fatal or silent, not "INFO"; did you mean "info"?',
  ],
  [
    'routing: { default_strategy: unspecified }',
    'routing.default_strategy',
    1,
    expect.stringMatching(/^must be round_robin, .* or failover, not "unspecified"$/),
  ],
  [
    'routing: { default_strategy: 3 }',
    'routing.default_strategy',
    1,
    expect.stringMatching(/^must be round_robin, .* or failover, not 3$/),
  ],
  [
    'state: { key_prefix: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa }',
    'state.key_prefix',
    1,
    expect.stringMatching(/^must be at most 64 characters, not "a{65}"$/),
  ],
];

const servers: Broken[] = [
  [
    'server: { host: "http://localhost" }',
    'server.host',
    1,
    'must be an IP address or a host name, without port, not "http://localhost"',
  ],
  [
    'server:\n  cors_origins:\n    - "*"\n    - https://a.example/',
    'server.cors_origins[1]',
    4,
    `${origin}, not "https://a.example/"; did you mean "https://a.example"?`,
  ],
  [
    'server: { cors_origins: ["https://*.example.com"] }',
    'server.cors_origins[0]',
    1,
    `${origin}, not "https://*.example.com"; patterns are not supported`,
  ],
  ['server: { cors_origins: [example.com] }', 'server.cors_origins[0]', 1, `${origin}, not "example.com"`],
  ['server: { cors_origins: [~] }', 'server.cors_origins[0]', 1, 'must not be empty'],
  [
    'server: { trusted_proxies: [10.0.0.0/33] }',
    'server.trusted_proxies[0]',
    1,
    'must be an IP address or a network such as 10.0.0.0/8, not "10.0.0.0/33"',
  ],
  ['server: { tls: { key_file: package.json } }', 'server.tls.cert_file', 1, 'is required'],
  [
    'server: { tls: { cert_file: no.pem, key_file: package.json } }',
    'server.tls.cert_file',
    1,
    'cannot read "no.pem": ENOENT',
  ],
  [
    'server: { tls: { cert_file: package.json, key_file: package.json } }',
    'server.tls',
    1,
    expect.stringMatching(/^cert_file and key_file are no certificate with its key: /),
  ],
  [
    'state: { redis_url: "http://localhost" }',
    'state.redis_url',
    1,
    expect.stringMatching(/^must be a URL such as redis:\/\/localhost:6379\/0, rediss:.*redis\+cluster:/),
  ],
  [
    'state: { sqlite_path: /no/such/usage.db }',
    'state.sqlite_path',
    1,
    'the folder of "/no/such/usage.db" does not exist',
  ],
  [
    `state: { redis_url: "redis://localhost", sqlite_path: ${join(tmpdir(), 'usage.db')} }`,
    'state.sqlite_path',
    1,
    'is for a single node: not together with redis_url',
  ],
  [`state: { sqlite_path: ${tmpdir()} }`, 'state.sqlite_path', 1, `must be a file, and "${tmpdir()}" is a folder`],
];

const providers: Broken[] = [
  ['providers:\n  - kind: demo', 'providers[0].name', 2, 'is required'],
  [
    'providers:\n  - name: a b\n    kind: demo',
    'providers[0].name',
    2,
    'must match `^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`, not "a b"',
  ],
  [
    'providers:\n  - name: a',
    'providers[0].kind',
    2,
    'is required: gemini, groq, github_models, ollama, anthropic, openai_compatible or demo',
  ],
  [
    'providers:\n  - name: a\n    kind: grok\n    api_key: k',
    'providers[0].kind',
    3,
    'must be gemini, groq, github_models, ollama, anthropic, openai_compatible or demo, not "grok"; did you mean "groq"?',
  ],
  [
    `${demo.trim().slice(0, -1)}, { name: demo, kind: demo }]`,
    'providers[1].name',
    1,
    'the name "demo" is taken by providers[0]',
  ],
  [
    'providers: [{ name: a, kind: openai_compatible }]',
    'providers[0].base_url',
    1,
    'is required for the kind openai_compatible',
  ],
  [
    'providers: [{ name: a, kind: ollama, base_url: ftp://x }]',
    'providers[0].base_url',
    1,
    'must be an http or https URL, not "ftp://x"',
  ],
  [
    'providers: [{ name: a, kind: ollama, base_url: "localhost:11434" }]',
    'providers[0].base_url',
    1,
    'must be an http or https URL, not "localhost:11434"; did you mean "http://localhost:11434"?',
  ],
  [
    'providers: [{ name: a, kind: ollama, base_url: "http://h/v1?x=1" }]',
    'providers[0].base_url',
    1,
    expect.stringMatching(/^must not have a query/),
  ],
  [
    'providers: [{ name: a, kind: ollama, base_url: "http://h/v1#x" }]',
    'providers[0].base_url',
    1,
    'must not have a fragment ("#")',
  ],
  [
    'providers: [{ name: a, kind: ollama, base_url: "http://u:p@h/v1" }]',
    'providers[0].base_url',
    1,
    'must not hold a user name or password; give the key as api_key',
  ],
  ['providers: [{ name: a, kind: anthropic }]', 'providers[0].api_key', 1, 'is required for the kind anthropic'],
  [
    'providers: [{ name: groq, kind: groq }]',
    'providers[0].api_key',
    1,
    'is required for the kind groq, here or as GROQ_API_KEY',
  ],
  [
    'providers: [{ name: a, kind: groq, api_key: k, api_keys: [l] }]',
    'providers[0].api_keys',
    1,
    'must not be given together with api_key; put all keys into api_keys',
  ],
  [
    'providers: [{ name: a, kind: groq, api_keys: [k, l, k] }]',
    'providers[0].api_keys[2]',
    1,
    'is the same key as providers[0].api_keys[0]',
  ],
  [
    'providers: [{ name: a, kind: groq, api_key: "k\\n" }]',
    'providers[0].api_key',
    1,
    'must consist of printable ASCII characters, without spaces or line breaks',
  ],
  [
    `providers: [{ name: a, kind: groq, api_key: "\${KEY}" }]`,
    'providers[0].api_key',
    1,
    'needs the environment variable KEY, which is not set',
  ],
  [
    `providers: [{ name: a, kind: groq, api_key: "\${KEY-x}" }]`,
    'providers[0].api_key',
    1,
    expect.stringMatching(/^has a "\$\{" that is neither/),
  ],
  [
    'providers: [{ name: a, kind: demo, headers: { "a b": x } }]',
    'providers[0].headers["a b"]',
    1,
    '"a b" is no name of a header',
  ],
  [
    'providers: [{ name: a, kind: demo, headers: { Content-Length: "1" } }]',
    'providers[0].headers["Content-Length"]',
    1,
    'the gateway sets the header "content-length" itself',
  ],
  [
    'providers: [{ name: a, kind: demo, headers: { x-a: b, X-A: c } }]',
    'providers[0].headers["X-A"]',
    1,
    'the header "x-a" is given twice, in different case',
  ],
  [
    'providers: [{ name: a, kind: demo, headers: { x: "a\\r\\nb" } }]',
    'providers[0].headers["x"]',
    1,
    'must not hold line breaks or other control characters',
  ],
  [
    'providers: [{ name: a, kind: demo, headers: { __proto__: x } }]',
    'providers[0].headers["__proto__"]',
    1,
    'the key "__proto__" is not allowed',
  ],
];

const references: Broken[] = [
  [
    `${demo}models:\n  - { id: x, provider: dmeo }`,
    'models[0].provider',
    3,
    'unknown provider "dmeo"; did you mean "demo"?',
  ],
  [
    `${demo}models:\n  - { id: x, provider: demo }\n  - { id: x, provider: demo }`,
    'models[1].id',
    4,
    'the same provider\'s "x" is given by models[0]',
  ],
  [
    `${demo}models: [{ id: x, provider: demo, quality: 1.2 }]`,
    'models[0].quality',
    2,
    'must be greater than or equal to 0 and less than or equal to 1, not 1.2',
  ],
  [
    `${demo}models: [{ id: x, provider: demo, input_price: .inf }]`,
    'models[0].input_price',
    2,
    'must be finite, not .inf',
  ],
  [
    `${demo}routes:\n  - model: fast\n    targets:\n      - provider: zzzzzz`,
    'routes[0].targets[0].provider',
    5,
    'unknown provider "zzzzzz"; known: demo, ollama',
  ],
  [`${demo}routes:\n  - model: fast`, 'routes[0].targets', 3, 'is required'],
  [`${demo}routes: [{ model: fast, targets: [] }]`, 'routes[0].targets', 2, 'must contain at least 1 item, not []'],
  [
    `${demo}routes:\n  - { model: a, targets: [{ provider: demo }] }\n  - { model: a, targets: [{ provider: demo }] }`,
    'routes[1].model',
    4,
    'the name "a" is taken by routes[0]',
  ],
  [
    `${demo}routes: [{ model: "a*b*", targets: [{ provider: demo }] }]`,
    'routes[0].model',
    2,
    'must have at most 1 "*", not 2 as in "a*b*"',
  ],
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo, weight: 0 }, { provider: ollama, weight: 0 }] }]`,
    'routes[0].targets',
    2,
    'must have at least 1 target with a weight above 0, and all weights are 0',
  ],
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo, weight: -1 }] }]`,
    'routes[0].targets[0].weight',
    2,
    'must be greater than or equal to 0, not -1',
  ],
  [
    `providers: [{ name: o, kind: openai_compatible, base_url: "http://h" }]\nroutes: [{ model: a, targets: [{ provider: o }] }]`,
    'routes[0].targets[0].model',
    2,
    'is required: the provider "o" has no default_model',
  ],
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo }, { provider: ollama }], hedge: {} }]`,
    'routes[0].hedge.delay',
    2,
    'is required',
  ],
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo }], guarantee: most }]`,
    'routes[0].guarantee',
    2,
    'must be buffered or none, not "most"',
  ],
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo }], retry: { attempts_per_target: 4 } }]`,
    'routes[0].retry.attempts_per_target',
    2,
    'must be at most retry.attempts (3), not 4',
  ],
  [
    'retry: { attempts_per_target: 3, attempts: 2 }',
    'retry.attempts_per_target',
    1,
    'must be at most retry.attempts (2), not 3',
  ],
  ['retry: { base_delay: 3s }', 'retry.base_delay', 1, 'must be at most retry.max_delay (2s), not 3s'],
  [
    'breaker: { open_for: 10s, max_open_for: 800ms }',
    'breaker.open_for',
    1,
    'must be at most breaker.max_open_for (800ms), not 10s',
  ],
  [
    'overload: { stop_caching_at: 0.9, refuse_at: 0.8 }',
    'overload.stop_caching_at',
    1,
    'must be at most overload.refuse_at (0.8), not 0.9',
  ],
  ['overload: { refuse_at: 0 }', 'overload.refuse_at', 1, 'must be greater than 0 and less than or equal to 1, not 0'],
  [
    'idempotency: { ttl: 500ms }',
    'idempotency.ttl',
    1,
    'must be greater than or equal to 1s and less than or equal to 604800s, not "500ms"',
  ],
  ['cache: { ttl: 31d }', 'cache.ttl', 1, 'must be greater than 0s and less than or equal to 2592000s, not "31d"'],
];

const callers: Broken[] = [
  ['limits: { tiers: [{ capacity: 5 }] }', 'limits.tiers[0].name', 1, 'is required'],
  [
    'limits: { tiers: [{ name: premium, capacity: 0 }] }',
    'limits.tiers[0].capacity',
    1,
    'must be greater than or equal to 1, not 0',
  ],
  [
    'limits:\n  tiers:\n    - { name: premium }\n    - { name: premium }',
    'limits.tiers[1].name',
    4,
    'the name "premium" is taken by limits.tiers[0]',
  ],
  [
    'keys: [{ name: a, sha256: 9f86d0 }]',
    'keys[0].sha256',
    1,
    'must match `^[0-9A-Fa-f]{64}$`, not a text of 6 characters',
  ],
  ['keys: [{ name: a }]', 'keys[0].sha256', 1, 'is required'],
  [
    `keys: [{ name: a, sha256: ${digest}, tier: premum }]`,
    'keys[0].tier',
    1,
    'unknown tier "premum"; did you mean "premium"?',
  ],
  [
    `keys:\n  - { name: a, sha256: ${digest} }\n  - { name: b, sha256: ${digest.toUpperCase()} }`,
    'keys[1].sha256',
    3,
    'is the digest of the same key as keys[0]',
  ],
  [
    `keys: [{ name: a, sha256: ${digest}, expires: 2027-02-30 }]`,
    'keys[0].expires',
    1,
    'must be a time such as 2027-01-01T00:00:00Z, not "2027-02-30"',
  ],
  [
    `keys: [{ name: a, sha256: ${digest}, budget_period: 30s }]`,
    'keys[0].budget_period',
    1,
    'must be greater than or equal to 60s, not "30s"',
  ],
  [
    `keys: [{ name: a, sha256: ${digest}, budget_usd: -1 }]`,
    'keys[0].budget_usd',
    1,
    'must be greater than or equal to 0, not -1',
  ],
  [
    `keys:\n  - { name: a, sha256: ${digest}, budget_usd: 1 }\n  - { name: a, sha256: ${otherDigest} }\n  - { name: a, sha256: ${thirdDigest}, budget_usd: 2 }`,
    'keys[2].budget_usd',
    4,
    'must be as that of keys[0], which has the same name',
  ],
  [
    `keys:\n  - { name: a, sha256: ${digest}, budget_usd: 1 }\n  - { name: a, sha256: ${otherDigest}, budget_usd: 1, budget_period: 1d }`,
    'keys[1].budget_period',
    3,
    'must be as that of keys[0], which has the same name',
  ],
  [`keys: [{ name: a, sha256: ${digest}, admin: 1 }]`, 'keys[0].admin', 1, 'must be true or false, not 1'],
  [
    `keys: [{ name: a, sha256: ${digest}, models: "groq/*" }]`,
    'keys[0].models',
    1,
    'must be a list, not a single value',
  ],
];

const jwt = 'jwt: [{ issuer: "https://idp.example", audience: gateway';
const algorithms = 'must be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA or Ed25519';

const issuers: Broken[] = [
  ['jwt: [{ audience: a, jwks_url: "https://a" }]', 'jwt[0].issuer', 1, 'is required'],
  ['jwt: [{ issuer: a, jwks_url: "https://a" }]', 'jwt[0].audience', 1, 'is required'],
  [`${jwt} }]`, 'jwt[0].jwks_url', 1, 'is required, or jwks_file'],
  [`${jwt}, jwks_url: "https://a", jwks_file: b }]`, 'jwt[0].jwks_file', 1, 'not together with jwks_url'],
  [`${jwt}, jwks_url: idp.example }]`, 'jwt[0].jwks_url', 1, 'must be an http or https URL, not "idp.example"'],
  [
    `${jwt}, jwks_url: "file:///etc/keys" }]`,
    'jwt[0].jwks_url',
    1,
    'must be an http or https URL, not "file:///etc/keys"',
  ],
  [
    `${jwt}, jwks_url: "https://ann:secret@a" }]`,
    'jwt[0].jwks_url',
    1,
    'must have no user and no password: key sets are public',
  ],
  [`${jwt}, jwks_file: /nowhere/keys.json }]`, 'jwt[0].jwks_file', 1, 'cannot read "/nowhere/keys.json": ENOENT'],
  [
    `${jwt}, jwks_file: package.json }]`,
    'jwt[0].jwks_file',
    1,
    '"package.json" is no JSON Web Key Set: {"keys": [...]}',
  ],
  [`${jwt}, jwks_file: 5 }]`, 'jwt[0].jwks_file', 1, 'must be a text, not 5; put it in quotes'],
  [
    `${jwt}, jwks_url: "https://a", algorithms: [HS256] }]`,
    'jwt[0].algorithms[0]',
    1,
    `${algorithms}, not "HS256": it has no public key`,
  ],
  [
    `${jwt}, jwks_url: "https://a", algorithms: [ES256, none] }]`,
    'jwt[0].algorithms[1]',
    1,
    `${algorithms}, not "none": it signs nothing`,
  ],
  [`${jwt}, jwks_url: "https://a", algorithms: [rs256] }]`, 'jwt[0].algorithms[0]', 1, `${algorithms}, not "rs256"`],
  [
    `${jwt}, jwks_url: "https://a", clock_tolerance: 10m }]`,
    'jwt[0].clock_tolerance',
    1,
    expect.stringMatching(/300s, not "10m"$/),
  ],
  [
    `${jwt}, jwks_url: "https://a", name_prefix: "a b" }]`,
    'jwt[0].name_prefix',
    1,
    expect.stringMatching(/^must match/),
  ],
  [
    `jwt:\n  - &a { issuer: i, audience: a, jwks_url: "https://a" }\n  - *a`,
    'jwt[1].issuer',
    2,
    'its tokens for this audience are taken by jwt[0] already',
  ],
];

const syntax: Broken[] = [
  ['server:\n\tport: 1', '', 2, 'not valid YAML: a tab is used as indentation; use spaces'],
  ['server: {}\n---\nserver: {}', '', 2, 'not valid YAML: a second document begins with ---, and only one is read'],
  ['server:\n  host: "a', '', 2, 'not valid YAML: missing closing "quote'],
  ['{"server": {"port": 1}', '', 1, expect.stringMatching(/^not valid YAML: .* end with a \}$/)],
  [`state: { redis_url: \${REDIS_URL} }`, '', 1, expect.stringMatching(/^not valid YAML: .*; put \$\{…\} in quotes$/)],
  [
    'server: *defaults',
    '',
    1,
    'not valid YAML: an alias has no anchor before it; put a text that begins with * in quotes',
  ],
  ['server: !env PORT', '', 1, 'not valid YAML: unresolved tag'],
  ['providers: &a [*a]', 'providers[0]', 1, 'must be a map, not a list'],
  ['['.repeat(20_000), '', 1, 'not valid YAML: it is nested too deeply'],
];

const nothing = 'is empty, and changes nothing; leave it out';

const withoutEffect: Broken[] = [
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo }], hedge: { delay: 1s } }]`,
    'routes[0].hedge',
    2,
    'binds to nothing: the route has 1 target, and no other that could be asked beside it',
  ],
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo }, { provider: demo, model: b }], retry: { attempts: 1 }, hedge: { delay: 1s } }]`,
    'routes[0].hedge',
    2,
    'binds to nothing: with attempts 1 no other target is asked',
  ],
  [
    `${demo}retry: { budget_ratio: 0 }\nroutes: [{ model: a, targets: [{ provider: demo }, { provider: demo, model: b }], hedge: { delay: 1s } }]`,
    'routes[0].hedge',
    3,
    'binds to nothing: retry.budget_ratio 0 allows none',
  ],
  [
    `${demo}routes: [{ model: a, targets: [{ provider: demo, model: b }, { provider: demo, model: b }] }]`,
    'routes[0].targets[1]',
    2,
    'is the same as targets[0]; give one of them more weight',
  ],
  [`${demo}routes: [{ model: a, targets: [{ provider: demo }], retry: {} }]`, 'routes[0].retry', 2, nothing],
  [`${demo}routes: [{ model: a, targets: [{ provider: demo }], cache: {} }]`, 'routes[0].cache', 2, nothing],
  [`${demo}routes: [{ model: a, targets: [{ provider: demo }], timeouts: {} }]`, 'routes[0].timeouts', 2, nothing],
  [
    `${demo}routes: [{ model: auto, targets: [{ provider: demo }] }]`,
    'routes[0].model',
    2,
    'must not be "auto", which stands for the default models of all providers: nobody would get here',
  ],
  ['providers: [{ name: demo, kind: demo, limits: {} }]', 'providers[0].limits', 1, nothing],
  ['providers: [{ name: demo, kind: demo, timeouts: {} }]', 'providers[0].timeouts', 1, nothing],
  [
    'providers: [{ name: demo, kind: demo, limits: { max_concurrent: 0, requests_per_minute: 0 } }]',
    'providers[0].limits',
    1,
    'limits nothing: 0 is no limit; leave it out, or give a number above 0',
  ],
  [
    `limits:\n  tiers:\n    - { name: premium }\n    - { name: gold }\nkeys: [{ name: a, sha256: ${digest} }]`,
    'limits.tiers[1]',
    4,
    'binds to nothing: no key has the tier "gold"',
  ],
];

describe.each([
  ['a file of the wrong shape', shapes],
  ['a wrong value', values],
  ['a wrong server or state', servers],
  ['a wrong provider', providers],
  ['a wrong model, route or bound', references],
  ['a wrong tier or key', callers],
  ['a setting that binds to nothing', withoutEffect],
  ['a wrong issuer of tokens', issuers],
  ['a text that is not YAML', syntax],
])('%s', (_, broken) => {
  it.each(broken.map((row) => [row[0].length < 200 ? row[0] : `${row[0].slice(0, 40)}…`, row] as const))(
    'is refused: %s',
    (_title, [yaml, path, line, message]) => {
      expect(problemsOf(yaml)).toEqual([{ path, line, message }]);
    },
  );
});

describe('loading', () => {
  it('tells everything that is wrong at once, in the order of the file, and of the environment after it', () => {
    const yaml = [
      'server:',
      '  port: 70000',
      '  hots: a',
      'providers:',
      '  - name: a',
      '    kind: openai_compatible',
      '  - name: a',
      '    kind: groq',
      `    api_key: "\${MISSING}"`,
      'routes:',
      '  - model: fast',
      '    targets: [{ provider: b }]',
      'timeouts: { idle: 5, connect: 1h }',
      'server: {}',
    ].join('\n');
    expect(problemsOf(yaml, { HOST: 'a:b', ENABLE_GROQ: 'maybe' }).map(({ path, line }) => [line, path])).toEqual([
      [2, 'server.port'],
      [3, 'server.hots'],
      [5, 'providers[0].base_url'],
      [7, 'providers[1].name'],
      [9, 'providers[1].api_key'],
      [12, 'routes[0].targets[0].provider'],
      [13, 'timeouts.idle'],
      [13, 'timeouts.connect'],
      [14, 'server'],
      [undefined, 'ENABLE_GROQ'],
      [undefined, 'HOST'],
    ]);
  });

  it('does not blame routes for a provider whose own name is missing', () => {
    const yaml = 'providers:\n  - nmae: groq\n    kind: demo\nroutes:\n  - { model: a, targets: [{ provider: groq }] }';
    expect(problemsOf(yaml).map(({ path }) => path)).toEqual(['providers[0].nmae', 'providers[0].name']);
  });

  it('does not call what is misspelt empty, nor a tier unused that a misspelt key may mean', () => {
    const yaml = [
      'providers: [{ name: demo, kind: demo, limits: { max_concurent: 5 }, timeouts: { idl: 5s } }]',
      'routes: [{ model: a, targets: [{ provider: demo }], retry: { attemps: 5 } }]',
      'limits: { tiers: [{ name: gold }] }',
      `keys: [{ name: a, sha256: ${digest}, tier: glod }]`,
    ].join('\n');
    expect(problemsOf(yaml).map(({ path }) => path)).toEqual([
      'providers[0].limits.max_concurent',
      'providers[0].timeouts.idl',
      'routes[0].retry.attemps',
      'keys[0].tier',
    ]);
  });

  it('takes a tier that only tokens may name', () => {
    const issuer = 'issuer: i, audience: a, jwks_url: "https://i"';
    const tiers = 'limits: { tiers: [{ name: gold }] }';
    expect(problemsOf(`${tiers}\njwt: [{ ${issuer}, tier_claim: t }]`)).toEqual([]);
    expect(problemsOf(`${tiers}\njwt: [{ ${issuer} }]`)).toMatchObject([{ path: 'limits.tiers[0]' }]);
  });

  it('takes a tier that only a key of the environment has, and sections that are commented out', () => {
    const yaml = 'limits: { tiers: [{ name: gold }] }\nproviders:\n  - name: demo\n    kind: demo\n    limits: # none';
    expect(problemsOf(yaml, { GATEWAY_API_KEYS: 'team:gold:a-long-enough-key' })).toEqual([]);
  });

  it('takes a limit that the environment leaves at 0', () => {
    const yaml = `providers: [{ name: demo, kind: demo, limits: { max_concurrent: "\${MOST:-0}" } }]`;
    expect(problemsOf(yaml)).toEqual([]);
    expect(problemsOf(yaml, { MOST: '5' })).toEqual([]);
  });

  it('does not blame keys for a tier whose own name is missing', () => {
    const yaml = `limits: { tiers: [{ nmae: gold }] }\nkeys: [{ name: a, sha256: ${digest}, tier: gold }]`;
    expect(problemsOf(yaml).map(({ path }) => path)).toEqual(['limits.tiers[0].nmae', 'limits.tiers[0].name']);
  });

  it('tells of wrong variables also when the file cannot be read, but not what the file may have settled', () => {
    const environment = { PORT: 'x', GATEWAY_API_KEYS: 'a:of-the-file:k' };
    expect(problemsOf('a: [', environment).map(({ path }) => path)).toEqual(['', 'PORT']);
  });

  it.each([
    ['/no/such/gateway.yaml', 'cannot read "/no/such/gateway.yaml": there is no such file'],
    [tmpdir(), `cannot read "${tmpdir()}": it is a folder`],
    ['/dev/zero', 'cannot read "/dev/zero": it is not a file'],
  ])('refuses %s as the file', (file, message) => {
    expect(problemsFrom(() => loadConfig({ file, environment: {} }))).toEqual([{ path: '', message }]);
  });

  it('does not wait for a pipe that it has read before', () => {
    const folder = mkdtempSync(join(tmpdir(), 'gateway-config-'));
    const file = join(folder, 'pipe');
    execFileSync('mkfifo', [file]);
    const message = `cannot read "${file}": it is a pipe, which was read at the start`;
    expect(problemsFrom(() => loadConfig({ file, environment: {}, again: true }))).toEqual([{ path: '', message }]);
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['UTF-16', Buffer.from('\ufeffserver: {}', 'utf16le'), /it is not UTF-8 text$/],
    ['5 MB', Buffer.alloc(5_000_000, ' '), /it has 5000000 bytes, and at most 4194304 are read$/],
  ])('refuses a file of %s', (_, bytes, message) => {
    expect(problemsOf(bytes)).toEqual([{ path: '', message: expect.stringMatching(message) }]);
  });

  it('gives up on aliases that multiply', () => {
    const list = (item: string) => `[${Array(1000).fill(item).join(', ')}]`;
    const bomb = `keys: &k ${list('x')}\nproviders: ${list(`{ name: a, kind: demo, api_keys: *k }`)}`;
    expect(problemsOf(bomb)).toContainEqual({
      path: '',
      line: 1,
      message: 'has more than 250000 values, those behind aliases counted each time',
    });
  });
});

describe('formatProblems', () => {
  it('writes one line for each problem, with file, line and path', () => {
    const error = new ConfigError([
      { path: 'PORT', message: 'must be b' },
      { path: 'server.host', line: 3, message: 'must be a' },
      { path: '', line: 1, message: 'not valid YAML' },
    ]);
    expect(formatProblems(error, 'gateway.yaml').split('\n')).toEqual([
      'gateway.yaml:1: not valid YAML',
      'gateway.yaml:3: server.host: must be a',
      'PORT: must be b',
    ]);
  });
});
