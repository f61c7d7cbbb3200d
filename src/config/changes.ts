import { isDeepStrictEqual } from 'node:util';
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { type Config, ConfigSchema, ServerConfigSchema, StateConfigSchema } from '../../gen/llmgateway/v1/config_pb.ts';
import type { Problem } from './problems.ts';
import { show } from './show.ts';
import { isSecret } from './words.ts';

/** The sections that differ between two configurations, as the file names them. */
export function changedSections(before: Config, after: Config): string[] {
  return changedFields(ConfigSchema, before, after).map(({ name }) => name);
}

/** What the listener was opened with. */
const ofListener: ReadonlySet<string> = new Set([
  'host',
  'port',
  'tls',
  'header_timeout',
  'request_timeout',
  'max_connection_age',
]);

/** What holds as long as the process does: the listener is open, and so are the stores. */
const fixed: readonly (readonly ['server' | 'state', DescMessage, (field: DescField) => boolean])[] = [
  ['server', ServerConfigSchema, ({ name }) => ofListener.has(name)],
  ['state', StateConfigSchema, () => true],
];

/** Why a running gateway cannot go over from one configuration to another; nothing: it can. */
export function fixedChanges(before: Config, after: Config): Problem[] {
  const problems: Problem[] = [];
  for (const [section, schema, isFixed] of fixed) {
    const [was, is] = [before[section] ?? {}, after[section] ?? {}];
    for (const field of changedFields(schema, was, is)) {
      if (isFixed(field)) problems.push({ path: `${section}.${field.name}`, message: messageOf(field, was, is) });
    }
  }
  // A file that was cut off in the middle is often still YAML.
  if (!isOpen(before) && isOpen(after)) {
    const message = 'has no key any more, which would open the gateway to everybody; restart it if that is meant';
    problems.push({ path: 'keys', message });
  }
  return problems;
}

function isOpen({ keys, jwt }: Config): boolean {
  return keys.length === 0 && jwt.length === 0;
}

function changedFields(schema: DescMessage, before: object, after: object): DescField[] {
  return schema.fields.filter((field) => !isDeepStrictEqual(settingIn(before, field), settingIn(after, field)));
}

function settingIn(message: object, { localName }: DescField): unknown {
  return (message as Record<string, unknown>)[localName];
}

function messageOf(field: DescField, before: object, after: object): string {
  if (field.fieldKind !== 'scalar' || isSecret(field)) return 'cannot change while the gateway runs; restart it';
  const [was, is] = [before, after].map((message) => shown(settingIn(message, field)));
  return `is ${was}, and cannot become ${is} while the gateway runs; restart it`;
}

function shown(value: unknown): string {
  return typeof value === 'string' ? show(value) : String(value);
}
