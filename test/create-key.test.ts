import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BadWishes, createKey } from '../src/create-key.ts';
import { load } from './config/load.ts';

const now = Date.parse('2026-01-01T00:00:00Z');
const tiers = ['default', 'premium'];

function problemsWith(wishes: Partial<Parameters<typeof createKey>[0]>): readonly string[] {
  try {
    createKey({ name: 'team', ...wishes }, tiers, now);
  } catch (error) {
    if (error instanceof BadWishes) return error.problems;
    throw error;
  }
  return [];
}

describe('a new key', () => {
  it('has 256 random bits, in characters that a URL and a shell leave alone', () => {
    const keys = Array.from({ length: 50 }, () => createKey({ name: 'team' }, tiers, now).key);
    expect(keys.filter((key) => !/^gw_[0-9a-f]{8}_[\w-]{43}$/.test(key))).toEqual([]);
    expect(new Set(keys.map((key) => key.slice(-43))).size).toBe(50);
  });

  it('comes with the entry by which the configuration knows it, and which does not hold it', () => {
    const wishes = { name: 'team', tier: 'premium', models: 'fast, groq/*', expires: '30d', admin: true };
    const { key, yaml } = createKey(wishes, tiers, now);
    const [entry] = load(`keys:\n${yaml}`).config.keys;
    expect(entry).toMatchObject({ name: 'team', tier: 'premium', models: ['fast', 'groq/*'], admin: true });
    expect(entry?.sha256).toBe(createHash('sha256').update(key).digest('hex'));
    expect(Number(entry?.expires?.seconds) * 1000).toBe(now + 30 * 24 * 3_600_000);
    expect(yaml).not.toContain(key.slice(-43));
    expect(yaml).toContain(`# ${key.slice(0, 12)}…`);
  });

  it('has what the configuration gives to keys unless it is told otherwise', () => {
    const { yaml } = createKey({ name: '2026' }, tiers, now);
    const [entry] = load(`keys:\n${yaml}`).config.keys;
    expect(entry).toMatchObject({ name: '2026', tier: 'default', models: [], admin: false });
    expect(entry?.expires).toBeUndefined();
  });

  it.each([
    [{ name: 'a b' }, /^NAME: .*must match .*, not "a b"$/],
    [{ name: '' }, /^NAME: /],
    [{ name: 'x'.repeat(129) }, /^NAME: /],
    [{ tier: 'premiun' }, /^--tier: unknown tier "premiun"; did you mean "premium"\?$/],
    [{ tier: '' }, /^--tier: unknown tier ""; known: default, premium$/],
    [{ models: 'fast,,slow' }, /^--models: /],
    [{ models: '' }, /^--models: /],
    [{ expires: 'tomorrow' }, /^--expires: must be a time such as .* not "tomorrow"$/],
    [{ expires: '2025-12-31' }, /^--expires: must be in the future, not "2025-12-31"$/],
    [{ expires: '0s' }, /^--expires: must be in the future/],
    [{ expires: '3650000d' }, /^--expires: must be before the year 10000/],
  ])('is refused for %j', (wishes, message) => {
    expect(problemsWith(wishes)).toEqual([expect.stringMatching(message)]);
  });

  it('is refused for everything that is wrong at once', () => {
    expect(problemsWith({ name: '-', tier: 'x', models: ',', expires: 'x' })).toHaveLength(4);
  });
});

describe('llm-gateway keys create', () => {
  const run = (...given: string[]) =>
    spawnSync(process.execPath, ['src/main.ts', ...given], { encoding: 'utf8', env: { PATH: process.env.PATH } });

  it('prints a key and its entry, without a configuration', () => {
    const { stdout, stderr, status } = run('keys', 'create', 'team', '--tier', 'enterprise', '--models', 'fast');
    const key = stdout.split('\n', 1)[0] ?? '';
    const [entry] = load(stdout.slice(stdout.indexOf('keys:'))).config.keys;
    expect(entry).toMatchObject({ name: 'team', tier: 'enterprise', models: ['fast'] });
    expect(entry?.sha256).toBe(createHash('sha256').update(key).digest('hex'));
    expect([stderr, status]).toEqual(['', 0]);
  });

  it('takes a tier of the configuration, whatever else that lacks here', () => {
    const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-keys-'));
    const file = join(folder, 'gateway.yaml');
    writeFileSync(
      file,
      `providers: [{ name: a, kind: groq, api_key: "\${MISSING}" }]\nlimits: { tiers: [{ name: gold }] }`,
    );
    const { stdout, status } = run('keys', 'create', 'team', '--tier', 'gold', '--config', file);
    expect([stdout.includes('tier: "gold"'), status]).toEqual([true, 0]);
    writeFileSync(file, 'providers: [');
    const broken = run('keys', 'create', 'team', '--config', file);
    expect([broken.stdout, broken.status]).toEqual(['', 78]);
    expect(broken.stderr).toMatch(/gateway\.yaml:1: not valid YAML/);
    rmSync(folder, { recursive: true });
  });

  it.each([
    [['keys', 'create', 'team', '--tier', 'gold'], /^--tier: unknown tier "gold"/],
    [['keys', 'create', 'a b'], /^NAME: /],
    [['keys', 'create'], /^usage: /],
    [['keys', 'create', 'a', 'b'], /^usage: /],
    [['keys', 'remove', 'a'], /^usage: /],
    [['keys', 'create', 'a', '--color', 'red'], /^Unknown option '--color'/],
    [['check', '--admin'], /^usage: /],
  ])('ends with 2 for %j, and says why', (given, message) => {
    const { stdout, stderr, status } = run(...given);
    expect(stderr).toMatch(message);
    expect([stdout, status]).toEqual(['', 2]);
  });
});
