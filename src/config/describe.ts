import { type Duration, durationMs, timestampDate } from '@bufbuild/protobuf/wkt';
import {
  type Config,
  DropUnsupportedSchema,
  type JwtConfig,
  LimitBySchema,
  type ProviderConfig,
  ProviderKind,
  ProviderKindSchema,
} from '../../gen/llmgateway/v1/config_pb.ts';
import { describePolicies } from './describe-policies.ts';
import { describeRoutes } from './describe-routes.ts';
import { formatDuration as format } from './durations.ts';
import type { LoadedConfig } from './loaded-config.ts';
import { wordOf } from './words.ts';

/**
 * Say what a configuration means: what listens, and which timeouts, retries, caches and limits bind to which route.
 *
 * What a route or provider sets itself is marked `[route]` or `[provider]`; the rest is general. Holds no keys and no digests.
 */
export function describeConfig(loaded: LoadedConfig): string {
  const { config } = loaded;
  return [
    describeServer(config),
    ['providers', ...config.providers.flatMap((provider) => describeProvider(provider, loaded))],
    ['routes', ...indent(describeRoutes(config))],
    ['every target', ...indent(describePolicies(config))],
    ['limits', ...describeLimits(config)],
    ['keys', ...describeKeys(loaded)],
    loaded.notices.length === 0 ? [] : ['notices', ...indent(loaded.notices)],
  ]
    .filter((section) => section.length > 0)
    .map((section) => section.join('\n'))
    .join('\n\n');
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function describeServer({ server, overload }: Config): string[] {
  if (!server) return [];
  const host = server.host.includes(':') ? `[${server.host}]` : server.host;
  const times = [
    ['headers within', server.headerTimeout],
    ['requests within', server.requestTimeout],
    ['drains for', server.drainTimeout],
    ...(isSome(server.maxConnectionAge) ? [['connections for', server.maxConnectionAge] as const] : []),
  ] as const;
  return [
    `listens on ${server.tls ? 'https' : 'http'}://${host}:${server.port}`,
    `  at most ${server.maxInFlight} calls in flight and ${server.bodyLimitBytes} bytes a body`,
    `  ${overloadWords(overload)}`,
    `  ${times.map(([words, time]) => `${words} ${time && format(time)}`).join(', ')}`,
    `  pages that may call: ${server.corsOrigins.join(', ') || 'none'}`,
    ...(server.trustedProxies.length === 0
      ? []
      : [`  believes X-Forwarded-For of ${server.trustedProxies.join(', ')}`]),
  ];
}

function isSome(duration: Duration | undefined): duration is Duration {
  return duration !== undefined && durationMs(duration) > 0;
}

function overloadWords(overload: Config['overload']): string {
  const { eventLoopDelay, refuseAt = 1 } = overload ?? {};
  const bounds = [
    isSome(eventLoopDelay) ? `the event loop is ${format(eventLoopDelay)} late` : '',
    refuseAt < 1 ? `${refuseAt * 100} % of memory is in use` : '',
  ].filter((bound) => bound !== '');
  return `refuses calls when ${bounds.join(', or ') || 'there are too many of them'}`;
}

function describeProvider(provider: ProviderConfig, { config, ollama }: LoadedConfig): string[] {
  const keys = provider.apiKeys.length || (provider.apiKey === '' ? 0 : 1);
  const isDetected = provider.name === 'ollama' && ollama === 'detect';
  const place = provider.baseUrl === '' ? '' : ` at ${provider.baseUrl}`;
  return indent([
    `${provider.name}: ${wordOf(ProviderKindSchema, provider.kind)}${place}${isDetected ? ', if it answers' : ''}`,
    `  default model: ${provider.defaultModel || (provider.kind === ProviderKind.DEMO ? 'its own' : 'none')}; keys: ${keys}; fields it cannot take: ${wordOf(DropUnsupportedSchema, provider.dropUnsupported)}`,
    ...limitLines(provider, config),
  ]);
}

/** Limits of a provider bind all that goes to it, by whatever name. */
function limitLines({ name, limits }: ProviderConfig, { routes }: Config): string[] {
  if (!limits) return [];
  const parts = [
    [limits.requestsPerMinute, 'a minute'],
    [limits.requestsPerSecond, 'a second'],
    [limits.maxConcurrent, 'in flight'],
  ] as const;
  const bound = routes.filter(({ targets }) => targets.some(({ provider }) => provider === name));
  const who = [...bound.map(({ model }) => model), 'its models by their own names'];
  const what = parts.flatMap(([count, unit]) => (count ? [`${count} calls ${unit}`] : [])).join(', ');
  return [`  limits: ${what || 'none'}${what && `; they bind ${who.join(', ')}`}`];
}

function describeLimits({ limits }: Config): string[] {
  if (!limits) return [];
  const { requestsPerMinute: minute, requestsPerSecond: second } = limits.global ?? {};
  return indent([
    `by ${wordOf(LimitBySchema, limits.limitBy)}; all callers together: ${minute || 'any number of'} calls a minute, ${second || 'any number'} a second`,
    ...limits.tiers.map(({ name, capacity, refillPerSecond, tokensPerMinute, maxConcurrent }) => {
      const more = `${tokensPerMinute ? `, ${tokensPerMinute} tokens a minute` : ''}${maxConcurrent ? `, ${maxConcurrent} in flight` : ''}`;
      return `tier ${name}: ${capacity} calls at once, ${refillPerSecond} a second${more}`;
    }),
  ]);
}

function describeIssuer(jwt: JwtConfig): string {
  const { issuer, audience, jwksUrl, jwksFile, namePrefix, nameClaim, tierClaim, modelsClaim } = jwt;
  return [
    `tokens of ${issuer} for ${audience}, by the keys at ${jwksUrl || jwksFile}`,
    `name ${namePrefix}{${nameClaim}}`,
    `tier ${tierClaim === '' ? 'default' : `{${tierClaim}}`}`,
    `models ${modelsClaim === '' ? 'all' : `{${modelsClaim}}`}`,
    ...(jwt.adminClaim === '' ? [] : [`admin if {${jwt.adminClaim}} is or holds ${jwt.adminValue}`]),
  ].join('; ');
}

function describeKeys({ config, adminKeySha256 }: LoadedConfig): string[] {
  const lines = config.keys.map(({ name, tier, models, budgetUsd, budgetPeriod, expires, admin }) =>
    [
      `${name}: tier ${tier}`,
      `models ${models.join(', ') || 'all'}`,
      ...(budgetUsd === undefined ? [] : [`${budgetUsd} USD each ${budgetPeriod && format(budgetPeriod)}`]),
      ...(expires ? [`until ${timestampDate(expires).toISOString()}`] : []),
      ...(admin ? ['admin'] : []),
    ].join('; '),
  );
  if (adminKeySha256 !== undefined) lines.push('GATEWAY_ADMIN_KEY: admin');
  lines.push(...config.jwt.map(describeIssuer));
  if (config.keys.length === 0 && config.jwt.length === 0) lines.unshift('none: anyone may call');
  return indent(lines);
}
