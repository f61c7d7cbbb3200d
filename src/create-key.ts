import { createHash, randomBytes } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { durationMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { createValidator } from '@bufbuild/protovalidate';
import { KeyConfigSchema } from '../gen/llmgateway/v1/config_pb.ts';
import { parseDuration } from './config/durations.ts';
import { show, suggest } from './config/show.ts';
import { parseTimestamp } from './config/timestamps.ts';

/** What a new key shall be, in the words of the command line. */
export interface KeyWishes {
  readonly name: string;
  readonly tier?: string | undefined;
  readonly admin?: boolean | undefined;
  /** Patterns, with commas between. */
  readonly models?: string | undefined;
  /** A time, or how long from now. */
  readonly expires?: string | undefined;
}

/** A key that nobody else has seen. */
export interface NewKey {
  readonly key: string;
  /** Its entry for `keys` of the configuration file, which holds the digest only. */
  readonly yaml: string;
}

/** Wishes that cannot be met: everything that is wrong with them. */
export class BadWishes extends Error {
  override readonly name = 'BadWishes';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

const validator = createValidator();

const SECRET_BYTES = 32;
const ID_BYTES = 4;
const YEAR_10000 = Date.UTC(10_000);

/**
 * Make a key: `gw_`, eight digits by which people can tell it from others, and 256 random bits in characters that need no
 * quoting in a URL or a shell.
 *
 * It is printed once and kept nowhere. So many random bits need neither salt nor a slow hash: SHA-256 is enough.
 */
export function createKey(wishes: KeyWishes, tiers: readonly string[], nowMs: number): NewKey {
  const { name, tier, admin } = wishes;
  const models = wishes.models?.split(',').map((model) => model.trim());
  const expires = wishes.expires === undefined ? undefined : timeOf(wishes.expires, nowMs);
  const problems = problemsWith(wishes, models, expires, tiers, nowMs);
  if (problems.length > 0) throw new BadWishes(problems);

  const id = randomBytes(ID_BYTES).toString('hex');
  const key = `gw_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  // In quotes: a digest may look like a number.
  const fields = [
    `name: ${JSON.stringify(name)}`,
    `sha256: ${JSON.stringify(createHash('sha256').update(key).digest('hex'))}`,
    ...(tier === undefined ? [] : [`tier: ${JSON.stringify(tier)}`]),
    ...(models === undefined ? [] : [`models: ${JSON.stringify(models)}`]),
    ...(expires === undefined ? [] : [`expires: ${new Date(expires).toISOString()}`]),
    ...(admin ? ['admin: true'] : []),
  ];
  return { key, yaml: `  # gw_${id}_…\n  - ${fields.join('\n    ')}\n` };
}

function problemsWith(
  { name, tier, expires: written }: KeyWishes,
  models: readonly string[] | undefined,
  expires: number | undefined,
  tiers: readonly string[],
  nowMs: number,
): string[] {
  const problems: string[] = [];
  // The rule beside the field in config.proto: only of the name, as a digest is not there yet.
  const { violations = [] } = validator.validate(KeyConfigSchema, create(KeyConfigSchema, { name }));
  for (const { field, message } of violations) {
    if (field[0]?.kind === 'field' && field[0].localName === 'name') {
      problems.push(`NAME: ${message.replace('does not match', 'must match')}, not ${show(name)}`);
    }
  }
  if (tier !== undefined && !tiers.includes(tier)) {
    problems.push(`--tier: unknown tier ${show(tier)}${suggest(tier, tiers)}`);
  }
  if (models?.includes('')) {
    problems.push('--models: must be names or patterns with commas between, such as fast,groq/*, and has an empty one');
  }
  if (written !== undefined && expires === undefined) {
    problems.push(
      `--expires: must be a time such as 2027-01-01T00:00:00Z or a duration such as 90d, not ${show(written)}`,
    );
  } else if (expires !== undefined && expires <= nowMs) {
    problems.push(`--expires: must be in the future, not ${show(written ?? '')}`);
  } else if (expires !== undefined && expires >= YEAR_10000) {
    problems.push(`--expires: must be before the year 10000, not ${show(written ?? '')}`);
  }
  return problems;
}

/** In milliseconds since 1970; undefined: neither a time nor a duration. */
function timeOf(text: string, nowMs: number): number | undefined {
  const duration = parseDuration(text);
  if (duration) return nowMs + durationMs(duration);
  const time = parseTimestamp(text);
  return time && timestampMs(time);
}
