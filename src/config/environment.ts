import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import {
  type Config,
  KeyConfigSchema,
  LimitsConfigSchema,
  ServerConfigSchema,
  StateConfigSchema,
  TierConfigSchema,
} from '../../gen/llmgateway/v1/config_pb.ts';
import type { Findings } from './findings.ts';
import type { Environment } from './interpolate.ts';
import { show } from './show.ts';

/** Lay the variables of the server, the limits, the state and the keys over what the file gave. An empty variable is unset. */
export function applyVariables(config: Config, environment: Environment, findings: Findings): void {
  applyServer(config, environment, findings);
  applyLimits(config, environment, findings);
  applyKeys(config, environment.GATEWAY_API_KEYS, findings);
  if (environment.REDIS_URL) {
    config.state ??= create(StateConfigSchema);
    config.state.redisUrl = environment.REDIS_URL;
    findings.give('state.redis_url', { variable: 'REDIS_URL' });
  }
}

function applyServer(config: Config, environment: Environment, findings: Findings): void {
  const { HOST, PORT, CORS_ORIGINS } = environment;
  config.server ??= create(ServerConfigSchema);
  const { server } = config;
  if (HOST) {
    server.host = HOST;
    findings.give('server.host', { variable: 'HOST', text: show(HOST) });
  }
  if (PORT) {
    findings.give('server.port', { variable: 'PORT', text: show(PORT) });
    const port = numberOf(PORT);
    if (port === undefined || !Number.isInteger(port)) {
      findings.refuse('server.port', `must be a whole number from 0 to 65535, not ${show(PORT)}`);
    } else {
      server.port = port;
    }
  }
  if (CORS_ORIGINS) {
    server.corsOrigins = CORS_ORIGINS.split(',').map((origin) => origin.trim());
    findings.give('server.cors_origins', { variable: 'CORS_ORIGINS', text: show(CORS_ORIGINS) });
    for (const [index, origin] of server.corsOrigins.entries()) {
      findings.give(`server.cors_origins[${index}]`, { variable: 'CORS_ORIGINS', text: show(origin) });
    }
  }
}

function applyLimits(config: Config, environment: Environment, findings: Findings): void {
  const settings = [
    ['DEFAULT_RATE_LIMIT_CAPACITY', 'capacity', 'capacity'],
    ['DEFAULT_RATE_LIMIT_REFILL_RATE', 'refillPerSecond', 'refill_per_second'],
  ] as const;
  for (const [variable, field, name] of settings) {
    const text = environment[variable];
    if (!text) continue;
    config.limits ??= create(LimitsConfigSchema);
    const { tiers } = config.limits;
    let index = tiers.findIndex((tier) => tier.name === 'default');
    if (index < 0) index = tiers.push(create(TierConfigSchema, { name: 'default' })) - 1;
    const path = `limits.tiers[${index}].${name}`;
    findings.give(path, { variable, text: show(text) });
    const number = numberOf(text);
    if (number === undefined) findings.refuse(path, `must be a number, not ${show(text)}`);
    else (tiers[index] as (typeof tiers)[number])[field] = number;
  }
}

/**
 * Add the keys of `name:tier:key,…` to those of the file.
 *
 * Only digests are kept. Messages count the entries and show none of their pieces: in an entry that went wrong, any of them may
 * be the key.
 */
function applyKeys(config: Config, list: string | undefined, findings: Findings): void {
  if (!list) return;
  const variable = 'GATEWAY_API_KEYS';
  const entries = list.split(',').map((entry) => entry.trim());
  if (entries.every((entry) => entry === '')) {
    findings.refuseVariable(variable, 'has no entry; give name:tier:key, or unset it to let everybody call');
  }
  for (const [index, entry] of entries.entries()) {
    if (entry === '') continue;
    const part = `entry ${index + 1}`;
    const [, name, tier, key] = /^([^:]*):([^:]*):(.*)$/s.exec(entry) ?? [];
    if (!name || !tier || !key) {
      findings.refuseVariable(variable, `${part} of ${entries.length}: must be name:tier:key`);
    } else if (!isSendable(key)) {
      findings.refuseVariable(variable, `${part}: the key ${notSendable}`);
    } else {
      const at = config.keys.push(create(KeyConfigSchema, { name, tier, sha256: digest(key) })) - 1;
      for (const field of ['', '.name', '.tier', '.sha256']) findings.give(`keys[${at}]${field}`, { variable, part });
    }
  }
}

/** The digest of GATEWAY_ADMIN_KEY; undefined: unset. */
export function adminKeyDigest(environment: Environment, findings: Findings): string | undefined {
  const key = environment.GATEWAY_ADMIN_KEY;
  if (!key) return undefined;
  if (!isSendable(key)) findings.refuseVariable('GATEWAY_ADMIN_KEY', notSendable);
  return digest(key);
}

/** Why a key is refused that could not be sent in a header. */
export const notSendable = 'must consist of printable ASCII characters, without spaces or line breaks';

/** Whether a key can be sent in a header: a line break at its end is the usual slip. */
export function isSendable(key: string): boolean {
  return /^[\x21-\x7e]+$/.test(key);
}

function digest(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

function numberOf(text: string): number | undefined {
  return /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : undefined;
}

/** Read a variable that says yes or no; undefined: it is unset, or neither, which findings then hold. */
export function readFlag(environment: Environment, name: string, findings: Findings): boolean | undefined {
  const text = environment[name];
  if (!text) return undefined;
  if (/^(?:true|1|yes)$/i.test(text)) return true;
  if (/^(?:false|0|no)$/i.test(text)) return false;
  findings.refuseVariable(name, `must be true or false, not ${show(text)}`);
  return undefined;
}
