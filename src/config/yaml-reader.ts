import { create, type DescField, type DescMessage, type MessageShape, ScalarType } from '@bufbuild/protobuf';
import {
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Scalar,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import type { Findings } from './findings.ts';
import { type Environment, hasReferences, interpolate } from './interpolate.ts';
import { expectedOf, readScalar, type ScalarKind } from './scalars.ts';
import { show, suggest } from './show.ts';
import { isSecret } from './words.ts';
import type { YamlDocument } from './yaml-document.ts';

/** Aliases let a small file say a lot; this is 50 times what 300 providers need. */
const MAX_VALUES = 250_000;

/** What a message is made from: its set fields by their local names. */
type Fields = Record<string, unknown>;

/**
 * Read a YAML document as a message, driven by the message's descriptor: field names as in the proto, enums and durations in
 * their short forms, `${NAME}` replaced, `null` the same as unset.
 *
 * Goes on after each problem, so that findings hold all of them; whatever could not be read is left unset. Undefined: the
 * document is no map, or too large.
 */
export function readYaml<Desc extends DescMessage>(
  schema: Desc,
  document: YamlDocument,
  environment: Environment,
  findings: Findings,
): MessageShape<Desc> | undefined {
  const { root } = document;
  const isEmpty = root === null || (isScalar(root) && root.value === null);
  const reader = new YamlReader(document, environment, findings);
  const fields = isEmpty ? {} : reader.readMessage(schema, root, '');
  return fields && !reader.isExhausted ? create(schema, fields as never) : undefined;
}

class YamlReader {
  readonly #document: YamlDocument;
  readonly #environment: Environment;
  readonly #findings: Findings;
  #values = 0;

  constructor(document: YamlDocument, environment: Environment, findings: Findings) {
    this.#document = document;
    this.#environment = environment;
    this.#findings = findings;
  }

  /** Whether it gave up in the middle. */
  get isExhausted(): boolean {
    return this.#values > MAX_VALUES;
  }

  readMessage(schema: DescMessage, node: Node, path: string): Fields | undefined {
    const map = this.#mapAt(node, path);
    if (!map) return undefined;
    const names = schema.fields.map(({ name }) => name);
    const fields: Fields = {};
    for (const { key, value, at, line } of this.#entriesOf(
      map,
      (name) => (path === '' ? name : `${path}.${name}`),
      path,
    )) {
      const field = schema.fields.find(({ name }) => name === key);
      if (!field) this.#findings.refuseKey(at, `unknown key "${printable(key)}"${suggest(key, names)}`, line);
      else if (value && !this.#isNull(value)) {
        this.#give(field, value, at, line);
        fields[field.localName] = this.#readField(field, value, at);
      }
    }
    return fields;
  }

  #readField(field: DescField, node: Node, path: string): unknown {
    switch (field.fieldKind) {
      case 'list':
        return this.#readList(field, node, path);
      case 'map':
        return this.#readMap(field, node, path);
      default:
        return this.#readValue(field, node, path);
    }
  }

  #readValue(field: DescField, node: Node, path: string): unknown {
    const kind = kindOf(field);
    return typeof kind === 'object' && kind.kind === 'message'
      ? this.readMessage(kind, node, path)
      : this.#readScalar(kind, node, path, isSecret(field));
  }

  #readList(field: DescField & { fieldKind: 'list' }, node: Node, path: string): unknown[] {
    const list: YAMLSeq | undefined = this.#resolve(node, isSeq, 'a list', path);
    const items: unknown[] = [];
    for (const [index, item] of (list?.items ?? []).entries()) {
      if (this.isExhausted) break;
      const at = `${path}[${index}]`;
      this.#give(field, item as Node, at, this.#document.lineOf(item as Node));
      const value = this.#isNull(item as Node) ? undefined : this.#readValue(field, item as Node, at);
      if (value === undefined) this.#findings.refuse(at, 'must not be empty');
      // What could not be read keeps its place, so that the paths of its neighbours stay right.
      items.push(value ?? (field.listKind === 'message' ? {} : field.listKind === 'scalar' ? '' : 0));
    }
    return items;
  }

  #readMap(field: DescField & { fieldKind: 'map' }, node: Node, path: string): Record<string, unknown> {
    const map = this.#mapAt(node, path);
    const values: Record<string, unknown> = {};
    if (!map) return values;
    for (const { key, value, at, line } of this.#entriesOf(map, (name) => `${path}[${JSON.stringify(name)}]`, path)) {
      if (key === '__proto__') this.#findings.refuseKey(at, 'the key "__proto__" is not allowed', line);
      else if (value && !this.#isNull(value)) {
        this.#give(field, value, at, line);
        const text = this.#readScalar(ScalarType.STRING, value, at, isSecret(field));
        if (text !== undefined) values[key] = text;
      }
    }
    return values;
  }

  #readScalar(kind: ScalarKind, node: Node, path: string, secret: boolean): unknown {
    const scalar: Scalar | undefined = this.#resolve(node, isScalar, expectedOf(kind), path);
    if (!scalar) return undefined;
    const value = plainValue(scalar);
    const shown = secret ? undefined : shownScalar(scalar);
    const interpolated = typeof value === 'string' && hasReferences(value);
    const replaced = interpolated ? interpolate(value, this.#environment) : { text: value };
    if ('problem' in replaced) {
      this.#findings.refuse(path, replaced.problem);
      return undefined;
    }
    // An optional variable that is not there leaves its setting unset.
    if (interpolated && replaced.text === '') {
      this.#findings.give(path, { ...this.#findings.origin(path), isEmpty: true });
      return undefined;
    }
    const read = readScalar(kind, { value: replaced.text, interpolated, shown });
    if ('value' in read) return read.value;
    this.#findings.refuse(path, read.problem);
    return undefined;
  }

  /** The pairs of a map, with keys that come twice and keys that are no texts refused. */
  *#entriesOf(map: YAMLMap, pathOf: (key: string) => string, path: string) {
    const lines = new Map<string, number>();
    for (const pair of map.items) {
      if (this.isExhausted) return;
      const keyNode = pair.key as Node | null;
      const line = this.#document.lineOf(keyNode ?? map);
      const resolved = isAlias(keyNode) ? this.#document.targetOf(keyNode) : keyNode;
      if (!isScalar(resolved) || resolved.value === null) {
        this.#findings.refuseKey(path, 'has a key that is not a text', line);
        continue;
      }
      const key = String(resolved.source ?? resolved.value);
      const at = pathOf(printable(key));
      const before = lines.get(key);
      if (before !== undefined) {
        this.#findings.refuseKey(at, `given twice: on line ${before} already`, line);
        continue;
      }
      lines.set(key, line);
      yield { key, value: pair.value as Node | null, at, line };
    }
  }

  #mapAt(node: Node, path: string): YAMLMap | undefined {
    return this.#resolve(node, isMap, 'a map', path);
  }

  /** The node itself, or what it is an alias of, if it has the shape that its setting wants. */
  #resolve<Shape extends Node>(
    node: Node,
    hasShape: (node: unknown) => node is Shape,
    expected: string,
    path: string,
  ): Shape | undefined {
    this.#values++;
    if (this.#values === MAX_VALUES + 1) {
      this.#findings.refuse('', `has more than ${MAX_VALUES} values, those behind aliases counted each time`, 1);
    }
    const target = isAlias(node) ? this.#document.targetOf(node) : node;
    if (hasShape(target)) return target;
    const got = isMap(target) ? 'a map' : isSeq(target) ? 'a list' : 'a single value';
    const line = path === '' ? this.#document.lineOf(node) : undefined;
    this.#findings.refuse(path, `${path === '' ? 'the file ' : ''}must be ${expected}, not ${got}`, line);
    return undefined;
  }

  #isNull(node: Node): boolean {
    const target = isAlias(node) ? this.#document.targetOf(node) : node;
    return isScalar(target) && target.value === null;
  }

  #give(field: DescField, node: Node, path: string, line: number): void {
    const target = isAlias(node) ? this.#document.targetOf(node) : node;
    let text: string | undefined;
    if (isScalar(target))
      text = isSecret(field) ? `a text of ${String(target.value).length} characters` : shownScalar(target);
    else if (isCollection(target) && target.items.length === 0) text = isMap(target) ? '{}' : '[]';
    this.#findings.give(path, { line, ...(text === undefined ? {} : { text }) });
  }
}

function kindOf(field: DescField): ScalarKind | DescMessage {
  if (field.enum) return field.enum;
  if (!field.message) return field.scalar as ScalarType;
  switch (field.message.typeName) {
    case 'google.protobuf.Duration':
      return 'duration';
    case 'google.protobuf.Timestamp':
      return 'timestamp';
    default:
      return field.message;
  }
}

/** Unlike 1.2, YAML 1.1 has dates and bytes, too: here those are texts. */
function plainValue({ value, source }: Scalar): string | number | boolean {
  const isPlain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return isPlain ? value : (source ?? '');
}

/** References are shown as written, never what they stand for. */
function shownScalar({ value, source }: Scalar): string {
  return typeof value === 'string' ? show(value) : (source ?? String(value));
}

function printable(key: string): string {
  return JSON.stringify(key.length <= 80 ? key : `${key.slice(0, 80)}…`).slice(1, -1);
}
