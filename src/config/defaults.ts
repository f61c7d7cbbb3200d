import { create, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';
import { type Duration, DurationSchema, durationMs } from '@bufbuild/protobuf/wkt';
import { RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  type Config,
  ConfigSchema,
  DropUnsupported,
  LimitBy,
  LogLevel,
  OnOutage,
  OnRateLimit,
  TierConfigSchema,
} from '../../gen/llmgateway/v1/config_pb.ts';
import type { Findings } from './findings.ts';
import { kindOf } from './kinds.ts';

function seconds(count: number): Duration {
  return create(DurationSchema, { seconds: BigInt(count) });
}

function milliseconds(count: number): Duration {
  return create(DurationSchema, { nanos: count * 1_000_000 });
}

/**
 * What the settings are that nobody gives.
 *
 * Two are not among them, as they depend on the call: `timeouts.first_token` (30s, but 120s for Ollama and calls that ask for
 * reasoning) and `breaker.slow_call` (half the first-token limit that applies).
 */
const defaults: MessageInitShape<typeof ConfigSchema> = {
  server: {
    host: '0.0.0.0',
    port: 8080,
    corsOrigins: ['*'],
    bodyLimitBytes: 20 * 1024 * 1024,
    maxInFlight: 1000,
    headerTimeout: seconds(10),
    requestTimeout: seconds(30),
    drainTimeout: seconds(25),
    maxConnectionAge: seconds(1200),
  },
  routing: { defaultStrategy: RoutingStrategy.ROUND_ROBIN, fallback: true },
  timeouts: {
    totalUnary: seconds(120),
    totalStream: seconds(600),
    totalNative: seconds(30),
    connect: seconds(3),
    attemptUnary: seconds(60),
    idle: seconds(30),
    heartbeat: seconds(10),
  },
  retry: {
    attemptsPerTarget: 2,
    attempts: 3,
    baseDelay: milliseconds(100),
    maxDelay: seconds(2),
    budgetRatio: 0.2,
    onRateLimit: OnRateLimit.FAILOVER,
  },
  breaker: {
    window: seconds(30),
    minCalls: 10,
    failureRatio: 0.5,
    slowCallRatio: 0.8,
    openFor: seconds(5),
    maxOpenFor: seconds(120),
    halfOpenCalls: 3,
  },
  healthProbe: { interval: seconds(30), timeout: seconds(5) },
  cache: { enabled: false, ttl: seconds(300), maxBytes: 256 * 1024 * 1024, shared: false },
  state: { keyPrefix: 'llmgw:', onOutage: OnOutage.LOCAL, replicas: 1 },
  limits: { limitBy: LimitBy.KEY, global: { requestsPerMinute: 0, requestsPerSecond: 0 } },
  idempotency: { ttl: seconds(600), maxBytes: 64 * 1024 * 1024 },
  overload: { eventLoopDelay: milliseconds(100), stopCachingAt: 0.85, refuseAt: 0.95 },
  telemetry: { logLevel: LogLevel.INFO, logPrompts: false, trustIncomingTrace: false, metrics: true },
};

/** The tiers known without any file. A tier of the file with one of these names changes only what it gives. */
export const builtInTiers = [
  { name: 'default', capacity: 100, refillPerSecond: 1 },
  { name: 'premium', capacity: 500, refillPerSecond: 5 },
  { name: 'enterprise', capacity: 1000, refillPerSecond: 10 },
];

const BUDGET_PERIOD = seconds(30 * 24 * 3600);

/** How tokens may be signed: by everything that has a public key, and nothing that has not. */
export const tokenAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

/**
 * Fill in every setting that was not given, so that nobody who reads the configuration has to know a default.
 *
 * What a route or a provider takes over from the top level stays unset there.
 */
export function fillDefaults(config: Config, findings: Findings): void {
  fill(ConfigSchema, config, defaults, '', findings);
  keepBelow(config, findings);
  fillProviders(config);
  fillTiers(config);
  for (const { targets } of config.routes) for (const target of targets) target.weight ??= 1;
  for (const issuer of config.jwt) {
    issuer.nameClaim ||= 'sub';
    issuer.adminValue ||= 'true';
    if (issuer.algorithms.length === 0) issuer.algorithms = [...tokenAlgorithms];
    issuer.clockTolerance ??= seconds(30);
  }
  for (const key of config.keys) {
    key.tier ||= 'default';
    key.budgetPeriod ??= BUDGET_PERIOD;
    key.sha256 = key.sha256.toLowerCase();
  }
}

function fill(schema: DescMessage, message: object, values: object, path: string, findings: Findings): void {
  const target = message as Record<string, unknown>;
  for (const [localName, value] of Object.entries(values)) {
    const field = schema.field[localName];
    if (!field) continue;
    const at = path === '' ? field.name : `${path}.${field.name}`;
    if (field.message && field.message.typeName !== DurationSchema.typeName) {
      target[localName] ??= create(field.message);
      fill(field.message, target[localName] as object, value as object, at, findings);
    } else if (!findings.isGiven(at)) {
      target[localName] = value;
    }
  }
}

/** A default gives way to the bound that was given for it: `attempts: 1` alone means one attempt a target, too. */
function keepBelow({ retry, breaker, overload }: Config, findings: Findings): void {
  if (retry && !findings.isGiven('retry.attempts_per_target')) {
    retry.attemptsPerTarget = Math.min(retry.attemptsPerTarget ?? 1, retry.attempts ?? 1);
  }
  if (retry && !findings.isGiven('retry.base_delay')) retry.baseDelay = shorter(retry.baseDelay, retry.maxDelay);
  if (breaker && !findings.isGiven('breaker.open_for')) breaker.openFor = shorter(breaker.openFor, breaker.maxOpenFor);
  if (overload && !findings.isGiven('overload.stop_caching_at')) {
    overload.stopCachingAt = Math.min(overload.stopCachingAt ?? 1, overload.refuseAt || 1);
  }
}

function shorter(a: Duration | undefined, b: Duration | undefined): Duration {
  return a && b && durationMs(a) > durationMs(b) ? b : (a as Duration);
}

function fillProviders({ providers }: Config): void {
  for (const provider of providers) {
    provider.baseUrl ||= kindOf(provider.kind).baseUrl;
    provider.defaultModel ||= kindOf(provider.kind).defaultModel;
    provider.dropUnsupported ||= DropUnsupported.ERROR;
  }
}

function fillTiers({ limits }: Config): void {
  const tiers = limits?.tiers ?? [];
  for (const builtIn of builtInTiers) {
    if (!tiers.some(({ name }) => name === builtIn.name)) tiers.push(create(TierConfigSchema, builtIn));
  }
  for (const tier of tiers) {
    const builtIn = builtInTiers.find(({ name }) => name === tier.name) ?? builtInTiers[0];
    tier.capacity ??= builtIn?.capacity as number;
    tier.refillPerSecond ??= builtIn?.refillPerSecond as number;
    tier.tokensPerMinute ??= 0;
    tier.maxConcurrent ??= 0;
  }
}
