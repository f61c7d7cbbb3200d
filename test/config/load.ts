import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, type LoadedConfig, loadConfig, type Problem } from '../../src/config.ts';

/** Load a text as the configuration file, in an environment that holds nothing else. */
export function load(yaml: string | Uint8Array, environment: Record<string, string> = {}): LoadedConfig {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-config-'));
  try {
    const file = join(folder, 'gateway.yaml');
    writeFileSync(file, yaml);
    return loadConfig({ file, environment });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What is wrong with a text as the configuration file. */
export function problemsOf(yaml: string | Uint8Array, environment: Record<string, string> = {}): readonly Problem[] {
  return problemsFrom(() => load(yaml, environment));
}

/** What is wrong with an environment without a file. */
export function problemsOfEnvironment(environment: Record<string, string>): readonly Problem[] {
  return problemsFrom(() => loadConfig({ environment }));
}

/** The problems of the ConfigError that an action throws; none if it throws nothing. */
export function problemsFrom(action: () => unknown): readonly Problem[] {
  try {
    action();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}
