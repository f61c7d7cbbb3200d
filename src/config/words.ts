import type { DescEnum, DescField } from '@bufbuild/protobuf';

/** Words of the file that stand for another. */
const aliases: Readonly<Record<string, string>> = { quality: 'highest_quality' };

/** The words an enum has in the file: its values in lower case without the enum's name, and not `unspecified`. */
export function wordsOf(schema: DescEnum): string[] {
  return schema.values.filter(({ number }) => number !== 0).map(({ localName }) => localName.toLowerCase());
}

/** The number behind a word of the file; undefined: the enum has no such word. */
export function parseWord(schema: DescEnum, text: string): number | undefined {
  const direct = schema.values.find(({ number, localName }) => number !== 0 && localName.toLowerCase() === text);
  if (direct) return direct.number;
  const meant = Object.hasOwn(aliases, text) ? aliases[text] : undefined;
  return schema.values.find(({ localName }) => localName.toLowerCase() === meant)?.number;
}

/** The word of the file for a number. */
export function wordOf(schema: DescEnum, number: number): string {
  return schema.value[number]?.localName.toLowerCase() ?? `${number}`;
}

const secrets: ReadonlySet<string> = new Set([
  'llmgateway.v1.ProviderConfig.api_key',
  'llmgateway.v1.ProviderConfig.api_keys',
  'llmgateway.v1.ProviderConfig.headers',
  'llmgateway.v1.KeyConfig.sha256',
  'llmgateway.v1.StateConfig.redis_url',
]);

/** Whether messages must not show the values of a setting. */
export function isSecret({ parent, name }: DescField): boolean {
  return secrets.has(`${parent.typeName}.${name}`);
}
