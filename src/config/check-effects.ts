import type { Config, ProviderConfig, RouteConfig } from '../../gen/llmgateway/v1/config_pb.ts';
import { builtInTiers } from './defaults.ts';
import type { Findings } from './findings.ts';

/**
 * Refuse settings that bind to nothing: whoever wrote them believes that they do something.
 *
 * Only what can never have an effect, whatever a call asks for. A weight under a strategy without shares is none of these: a call
 * may ask for another strategy.
 */
export function checkEffects(config: Config, findings: Findings): void {
  for (const [index, provider] of config.providers.entries()) checkProvider(provider, `providers[${index}]`, findings);
  for (const [index, route] of config.routes.entries()) checkRoute(route, `routes[${index}]`, findings);
  checkTiers(config, findings);
}

function checkProvider({ limits }: ProviderConfig, path: string, findings: Findings): void {
  refuseEmpty(`${path}.timeouts`, findings);
  refuseEmpty(`${path}.limits`, findings);
  const { requestsPerMinute, requestsPerSecond, maxConcurrent } = limits ?? {};
  const given = [requestsPerMinute, requestsPerSecond, maxConcurrent].filter((limit) => limit !== undefined);
  if (given.length === 0 || given.some((limit) => limit > 0) || isByEnvironment(`${path}.limits`, findings)) return;
  findings.refuse(`${path}.limits`, 'limits nothing: 0 is no limit; leave it out, or give a number above 0');
}

/** One file may serve many environments, and some of them set no limit. */
function isByEnvironment(path: string, findings: Findings): boolean {
  const names = ['requests_per_minute', 'requests_per_second', 'max_concurrent'];
  return names.some((name) => findings.origin(`${path}.${name}`)?.text?.includes('${'));
}

function checkRoute({ model, targets, hedge }: RouteConfig, path: string, findings: Findings): void {
  if (model === 'auto') {
    findings.refuse(
      `${path}.model`,
      'must not be "auto", which stands for the default models of all providers: nobody would get here',
    );
  }
  if (hedge && targets.length === 1) {
    const why = 'the route has 1 target, and no other that could be asked beside it';
    findings.refuse(`${path}.hedge`, `binds to nothing: ${why}`);
  }
  for (const section of ['retry', 'cache', 'timeouts']) refuseEmpty(`${path}.${section}`, findings);
}

/** Not a section with misspelt keys: these are told already. */
function refuseEmpty(path: string, findings: Findings): void {
  if (findings.origin(path)?.text === '{}') findings.refuse(path, 'is empty, and changes nothing; leave it out');
}

/** Not told while a key has a tier that nobody knows: it may be the one that is meant. Nor where tokens may name any. */
function checkTiers({ limits, keys, jwt }: Config, findings: Findings): void {
  if (jwt.some(({ tierClaim }) => tierClaim !== '')) return;
  const tiers = limits?.tiers ?? [];
  const names = tiers.map(({ name }) => name);
  if (findings.isRefused('keys') || keys.some(({ tier }) => !names.includes(tier))) return;
  for (const [index, name] of names.entries()) {
    const isBuiltIn = builtInTiers.some((builtIn) => builtIn.name === name);
    const isTold = name === '' || names.indexOf(name) < index;
    if (isBuiltIn || isTold || keys.some(({ tier }) => tier === name)) continue;
    const path = `limits.tiers[${index}]`;
    findings.refuse(path, `binds to nothing: no key has the tier ${findings.shown(`${path}.name`, name)}`);
  }
}
