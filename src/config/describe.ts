import { timestampDate } from '@bufbuild/protobuf/wkt';
import { RoutingStrategySchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  type Config,
  DropUnsupportedSchema,
  Guarantee,
  LimitBySchema,
  OnRateLimitSchema,
  type ProviderConfig,
  ProviderKind,
  ProviderKindSchema,
  type RouteConfig,
  type TargetConfig,
} from '../../gen/llmgateway/v1/config_pb.ts';
import type { LoadedConfig } from '../config.ts';
import { formatDuration as format } from './durations.ts';
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
    ['routes', ...config.routes.flatMap((route) => describeRoute(route, config)), ...describeRest(config)],
    ['limits', ...describeLimits(config)],
    ['keys', ...describeKeys(loaded)],
    loaded.notices.length === 0 ? [] : ['not in effect yet', ...indent(loaded.notices.map(settingOf))],
  ]
    .filter((section) => section.length > 0)
    .map((section) => section.join('\n'))
    .join('\n\n');
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function settingOf(notice: string): string {
  return notice.replace(/: not in effect yet$/, '');
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
  ];
}

function describeProvider(provider: ProviderConfig, { ollama }: LoadedConfig): string[] {
  const keys = provider.apiKeys.length || (provider.apiKey === '' ? 0 : 1);
  const isDetected = provider.name === 'ollama' && ollama === 'detect';
  const place = provider.baseUrl === '' ? '' : ` at ${provider.baseUrl}`;
  return indent([
    `${provider.name}: ${wordOf(ProviderKindSchema, provider.kind)}${place}${isDetected ? ', if it answers' : ''}`,
    `  default model: ${provider.defaultModel || (provider.kind === ProviderKind.DEMO ? 'its own' : 'none')}; keys: ${keys}; fields it cannot take: ${wordOf(DropUnsupportedSchema, provider.dropUnsupported)}`,
    ...limitLines(provider),
  ]);
}

function limitLines({ limits }: ProviderConfig): string[] {
  if (!limits) return [];
  const parts = [
    [limits.requestsPerMinute, 'a minute'],
    [limits.requestsPerSecond, 'a second'],
    [limits.maxConcurrent, 'in flight'],
  ] as const;
  return [
    `  limits: ${parts.flatMap(([count, unit]) => (count ? [`${count} calls ${unit}`] : [])).join(', ') || 'none'}`,
  ];
}

function describeRoute(route: RouteConfig, config: Config): string[] {
  const strategy = route.strategy || config.routing?.defaultStrategy || 0;
  const { cache, retry, timeouts, hedge } = route;
  const attempts = retry?.attempts ?? config.retry?.attempts ?? 1;
  const perTarget = retry?.attemptsPerTarget ?? Math.min(config.retry?.attemptsPerTarget ?? 1, attempts);
  const enabled = cache?.enabled ?? config.cache?.enabled;
  const ttl = cache?.ttl ?? config.cache?.ttl;
  return indent([
    `${route.model}: ${wordOf(RoutingStrategySchema, strategy)}${mark(route.strategy || undefined)}`,
    ...route.targets.map((target) => `  -> ${describeTarget(target, route, config)}`),
    `  whole call: ${timeouts?.total ? `${format(timeouts.total)} [route]` : wholeCall(config)}`,
    `  retry: ${perTarget} attempts a target${mark(retry?.attemptsPerTarget)}, ${attempts} in all${mark(retry?.attempts)}`,
    `  cache: ${enabled ? `on, for ${ttl && format(ttl)}` : 'off'}${mark(cache)}`,
    ...(hedge?.delay ? [`  hedge: one more target after ${format(hedge.delay)} [route]`] : []),
    ...(route.guarantee === Guarantee.BUFFERED ? ['  guarantee: buffered [route]'] : []),
  ]);
}

function mark(own: unknown): string {
  return own === undefined ? '' : ' [route]';
}

function describeTarget({ provider: name, model, weight }: TargetConfig, route: RouteConfig, config: Config): string {
  const provider = config.providers.find((candidate) => candidate.name === name);
  const asked = model || (route.model.includes('*') ? '*' : provider?.defaultModel) || 'its own model';
  return `${name}/${asked}, weight ${weight}; ${attemptTimeouts(config, provider, route)}`;
}

/** What binds one attempt, with where it comes from: the route, else the provider, else everybody's. */
function attemptTimeouts({ timeouts: general }: Config, provider?: ProviderConfig, route?: RouteConfig): string {
  const slow = provider?.kind === ProviderKind.OLLAMA ? '120s' : '30s, with reasoning 120s';
  const rows = [
    ['connect', 'connect', undefined],
    ['attempt', 'attemptUnary', route?.timeouts?.attemptUnary],
    ['first token', 'firstToken', route?.timeouts?.firstToken],
    ['idle', 'idle', route?.timeouts?.idle],
  ] as const;
  return rows
    .map(([words, field, ofRoute]) => {
      const ofProvider = provider?.timeouts?.[field];
      if (ofRoute) return `${words} ${format(ofRoute)} [route]`;
      if (ofProvider) return `${words} ${format(ofProvider)} [provider]`;
      const ofAll = general?.[field];
      return `${words} ${ofAll ? format(ofAll) : slow}`;
    })
    .join(', ');
}

function wholeCall({ timeouts }: Config): string {
  const { totalUnary, totalStream, totalNative } = timeouts ?? {};
  if (!totalUnary || !totalStream || !totalNative) return 'unlimited';
  return `${format(totalUnary)}, streamed ${format(totalStream)}, at /completion ${format(totalNative)}`;
}

/** What binds the models that no route names. */
function describeRest(config: Config): string[] {
  const { routing, retry, cache } = config;
  const limited = wordOf(OnRateLimitSchema, retry?.onRateLimit ?? 0);
  return indent([
    `any other model: ${wordOf(RoutingStrategySchema, routing?.defaultStrategy ?? 0)}, ${routing?.fallback ? 'with' : 'without'} fallback`,
    `  each attempt: ${attemptTimeouts(config)}`,
    `  whole call: ${wholeCall(config)}`,
    `  retry: ${retry?.attemptsPerTarget} attempts a target, ${retry?.attempts} in all; when rate limited: ${limited}`,
    `  cache: ${cache?.enabled && cache.ttl ? `on, for ${format(cache.ttl)}` : 'off'}`,
  ]);
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
