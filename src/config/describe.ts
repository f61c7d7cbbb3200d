import { timestampDate } from '@bufbuild/protobuf/wkt';
import {
  type Config,
  DropUnsupportedSchema,
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

function describeServer({ server }: Config): string[] {
  if (!server) return [];
  const host = server.host.includes(':') ? `[${server.host}]` : server.host;
  const times = [
    ['headers within', server.headerTimeout],
    ['requests within', server.requestTimeout],
    ['drains for', server.drainTimeout],
  ] as const;
  return [
    `listens on ${server.tls ? 'https' : 'http'}://${host}:${server.port}`,
    `  at most ${server.maxInFlight} calls in flight and ${server.bodyLimitBytes} bytes a body`,
    `  ${times.map(([words, time]) => `${words} ${time && format(time)}`).join(', ')}`,
    `  pages that may call: ${server.corsOrigins.join(', ') || 'none'}`,
    ...(server.trustedProxies.length === 0
      ? []
      : [`  believes X-Forwarded-For of ${server.trustedProxies.join(', ')}`]),
  ];
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
  if (config.keys.length === 0) lines.unshift('none: anyone may call');
  return indent(lines);
}
