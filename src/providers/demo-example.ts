import { isObject, type JsonObject } from './json-value.ts';

const maxDepth = 8;

/** A value that fits a JSON Schema, the same one every time: `text` where a string is free. */
export function exampleOf(schema: unknown, text: string, root: unknown = schema, depth = 0): unknown {
  if (!isObject(schema) || depth > maxDepth) return text;
  if ('const' in schema) return schema.const;
  if ('default' in schema) return schema.default;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if (typeof schema.$ref === 'string') return exampleOf(definition(schema.$ref, root), text, root, depth + 1);
  for (const key of ['anyOf', 'oneOf', 'allOf']) {
    const options = schema[key];
    if (Array.isArray(options) && options.length > 0) return exampleOf(options[0], text, root, depth + 1);
  }
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  switch (type ?? (schema.properties ? 'object' : 'string')) {
    case 'object':
      return exampleObject(schema, text, root, depth);
    case 'array':
      return Array.from({ length: Math.min(number(schema.minItems) ?? 1, 10) }, () =>
        exampleOf(schema.items, text, root, depth + 1),
      );
    case 'integer':
      return Math.ceil(number(schema.minimum) ?? Math.min(1, number(schema.maximum) ?? 1));
    case 'number':
      return number(schema.minimum) ?? Math.min(1, number(schema.maximum) ?? 1);
    case 'boolean':
      return true;
    case 'null':
      return null;
    default:
      return text;
  }
}

function exampleObject(schema: JsonObject, text: string, root: unknown, depth: number): JsonObject {
  const properties = isObject(schema.properties) ? schema.properties : {};
  return Object.fromEntries(
    Object.entries(properties).map(([name, property]) => [name, exampleOf(property, text, root, depth + 1)]),
  );
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

/** What a reference within the schema points at. */
function definition(reference: string, root: unknown): unknown {
  let at: unknown = root;
  for (const step of reference.replace(/^#\/?/, '').split('/').filter(Boolean)) {
    at = isObject(at) ? at[step] : undefined;
  }
  return at;
}
