import { create } from '@bufbuild/protobuf';
import { ConfigSchema } from '../gen/llmgateway/v1/config_pb.ts';
import { checkEffects } from './config/check-effects.ts';
import { checkJwt } from './config/check-jwt.ts';
import { checkKeys } from './config/check-keys.ts';
import { checkProviders } from './config/check-providers.ts';
import { checkBounds, checkRoutes } from './config/check-routes.ts';
import { checkRules } from './config/check-rules.ts';
import { checkServer, checkState } from './config/check-server.ts';
import { readConfigFile } from './config/config-file.ts';
import { fillDefaults } from './config/defaults.ts';
import { adminKeyDigest, applyVariables } from './config/environment.ts';
import { readNetwork } from './config/environment-network.ts';
import { applyProviderVariables } from './config/environment-providers.ts';
import { readTelemetry } from './config/environment-telemetry.ts';
import { Findings } from './config/findings.ts';
import type { Environment } from './config/interpolate.ts';
import type { LoadedConfig } from './config/loaded-config.ts';
import { noticesOf } from './config/not-in-effect.ts';

export { describeConfig } from './config/describe.ts';
export type { LoadedConfig } from './config/loaded-config.ts';
export { ConfigError, formatProblems, type Problem } from './config/problems.ts';

/** What the configuration is made from. */
export interface ConfigSources {
  /** Path of the YAML file; undefined: there is none. */
  readonly file?: string | undefined;
  /** The environment, as `process.env` is. */
  readonly environment: Environment;
  /** Whether the file has been read before: a pipe cannot be read twice. */
  readonly again?: boolean;
}

/**
 * Load the configuration: defaults, then the YAML file, then the environment.
 *
 * Throws a ConfigError that lists everything that is wrong, at once; no message shows a secret.
 */
export function loadConfig({ file, environment, again = false }: ConfigSources): LoadedConfig {
  const findings = new Findings();
  const read = file === undefined ? create(ConfigSchema) : readConfigFile({ file, again }, environment, findings);
  const config = read ?? create(ConfigSchema);
  applyVariables(config, environment, findings);
  const { ollama, switchedOff } = applyProviderVariables(config, environment, findings);
  const network = readNetwork(environment, findings);
  const telemetry = readTelemetry(environment, findings);
  const adminKeySha256 = adminKeyDigest(environment, findings);
  // Without the file everything that refers to it would look wrong.
  if (!read) findings.finish();

  fillDefaults(config, findings);
  checkRules(config, findings);
  checkServer(config.server, findings);
  checkProviders(config, switchedOff, findings);
  checkRoutes(config, switchedOff, findings);
  checkBounds(config, findings);
  checkState(config.state, findings);
  checkKeys(config, findings);
  checkEffects(config, findings);
  checkJwt(config, findings);
  findings.finish();

  config.providers = config.providers.filter(({ name }) => !switchedOff.has(name));
  return {
    config: freeze(config),
    ...(adminKeySha256 === undefined ? {} : { adminKeySha256 }),
    ollama,
    network,
    telemetry,
    notices: noticesOf(findings.given()),
  };
}

/**
 * The names of the tiers that a configuration has, whatever may be wrong or missing in it otherwise.
 *
 * Throws a ConfigError if its file cannot be read.
 */
export function tiersOf({ file, environment }: ConfigSources): string[] {
  const findings = new Findings();
  const read =
    file === undefined ? create(ConfigSchema) : readConfigFile({ file, again: false }, environment, findings);
  if (!read) findings.finish();
  const config = read ?? create(ConfigSchema);
  fillDefaults(config, findings);
  return (config.limits?.tiers ?? []).map(({ name }) => name);
}

function freeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) {
    if (typeof inner === 'object' && inner !== null && !Object.isFrozen(inner)) freeze(inner);
  }
  return Object.freeze(value);
}
