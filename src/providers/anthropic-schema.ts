import { isObject, type JsonObject } from './json-value.ts';

/** What Anthropic's schemas may say; all else it answers with 400. https://platform.claude.com/docs/en/build-with-claude/structured-outputs */
const knownKeys: ReadonlySet<string> = new Set([
  'type',
  'properties',
  'required',
  'additionalProperties',
  'items',
  'enum',
  'const',
  'anyOf',
  'allOf',
  '$ref',
  '$defs',
  'definitions',
  'default',
  'description',
  'title',
  'pattern',
]);

const knownFormats: ReadonlySet<unknown> = new Set([
  'date-time',
  'time',
  'date',
  'duration',
  'email',
  'hostname',
  'uri',
  'ipv4',
  'ipv6',
  'uuid',
]);

/**
 * Write a JSON Schema so that Anthropic takes it: objects are closed, and what it does not know stands in the description, for
 * the model to read. The keys keep their order.
 */
export function adaptSchema(schema: unknown): unknown {
  if (!isObject(schema)) return schema;
  const adapted: JsonObject = {};
  const told: string[] = [];
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'properties' || key === '$defs' || key === 'definitions') adapted[key] = adaptEach(value);
    else if (key === 'items') adapted[key] = adaptSchema(value);
    else if (key === 'anyOf' || key === 'allOf') adapted[key] = adaptAll(value);
    // One of several is as near as it gets.
    else if (key === 'oneOf') adapted.anyOf = adaptAll(value);
    else if (key === 'additionalProperties') adapted[key] = false;
    else if (isKnown(key, value)) adapted[key] = value;
    else if (key !== '$schema' && key !== '$id') told.push(`${key}: ${JSON.stringify(value)}`);
  }
  if (adapted.type === 'object' || isObject(adapted.properties)) adapted.additionalProperties = false;
  if (told.length > 0) {
    const text = `{${told.join(', ')}}`;
    adapted.description = typeof schema.description === 'string' ? `${schema.description}\n\n${text}` : text;
  }
  return adapted;
}

function isKnown(key: string, value: unknown): boolean {
  if (key === 'format') return knownFormats.has(value);
  if (key === 'minItems') return value === 0 || value === 1;
  return knownKeys.has(key);
}

function adaptAll(schemas: unknown): unknown {
  return Array.isArray(schemas) ? schemas.map(adaptSchema) : schemas;
}

function adaptEach(schemas: unknown): unknown {
  if (!isObject(schemas)) return schemas;
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, adaptSchema(schema)]));
}
