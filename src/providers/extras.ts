import { GatewayError } from '../errors.ts';
import { membersOf } from './json-text.ts';
import { isObject, type JsonObject } from './json-value.ts';

/** Entries of `extra_json` by family. */
type ExtraJson = Readonly<Record<string, string>>;

/**
 * Reads the extras that are meant for one provider: those of its wire family, and over them those of its own name.
 *
 * Entries of others are never sent. What is left out is remembered, for `dropped_fields`.
 */
export class ExtrasReader {
  readonly #own: readonly string[];
  readonly #leftOut = new Set<string>();

  constructor(family: string, provider: string) {
    this.#own = family === provider ? [family] : [family, provider];
  }

  /** Names of all that was left out so far. */
  get leftOut(): readonly string[] {
    return [...this.#leftOut];
  }

  leaveOut(field: string): void {
    this.#leftOut.add(field);
  }

  /** Whether blocks and tools of a family are for this provider. */
  isOwn(family: string): boolean {
    return this.#own.includes(family);
  }

  /** The entries of a part, a message or a tool as one object; undefined: there are none. */
  read(extraJson: ExtraJson, place: string): JsonObject | undefined {
    let extras: JsonObject | undefined;
    for (const family in extraJson) if (!this.isOwn(family)) this.leaveOut(`${place}.extra_json.${family}`);
    for (const family of this.#own) {
      const text = extraJson[family];
      if (text !== undefined) extras = { ...extras, ...parseObject(text, `${place}.extra_json`) };
    }
    return extras;
  }

  /**
   * The entries of a request: as text for the wire, and as an object to look things up.
   *
   * A key which a typed field stands for is refused: limits and budgets would be passed by. `typed` names such keys, those
   * within other objects by their path (`options.seed`).
   */
  readRequest(extraJson: ExtraJson, typed: ReadonlySet<string>): { members: string; object: JsonObject } {
    const texts: string[] = [];
    let object: JsonObject = {};
    for (const family in extraJson) if (!this.isOwn(family)) this.leaveOut(`extra_json.${family}`);
    for (const family of this.#own) {
      const text = extraJson[family];
      if (text === undefined) continue;
      const extras = parseObject(text, `extra_json.${family}`);
      refuseTypedKeys(extras, typed, family);
      object = { ...object, ...extras };
      texts.push(text);
    }
    const [only, ...more] = texts;
    return {
      members: membersOf(only === undefined ? '{}' : more.length === 0 ? only : JSON.stringify(object)),
      object,
    };
  }
}

function parseObject(text: string, field: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // Refused below, like every other text that is no object.
  }
  const description = 'must be the text of a JSON object';
  throw new GatewayError('invalid_request', `${field} ${description}`, { violations: [{ field, description }] });
}

function refuseTypedKeys(extras: JsonObject, typed: ReadonlySet<string>, family: string): void {
  const violations = [...typed]
    .filter((path) => holds(extras, path))
    .map((path) => ({ field: `extra_json.${family}.${path}`, description: 'has a field of its own' }));
  const [first] = violations;
  if (first) throw new GatewayError('invalid_request', `${first.field} ${first.description}`, { violations });
}

function holds(extras: JsonObject, path: string): boolean {
  let at: unknown = extras;
  for (const key of path.split('.')) {
    if (!isObject(at) || !Object.hasOwn(at, key)) return false;
    at = at[key];
  }
  return true;
}
