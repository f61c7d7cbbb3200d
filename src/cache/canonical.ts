import type { DescField, DescMessage, MessageShape } from '@bufbuild/protobuf';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';

/** What is kept between two messages; a larger one takes memory of its own, once. */
const KEPT_BYTES = 1024 * 1024;

/** Grows as it is written. */
class Output {
  #bytes = Buffer.allocUnsafe(16 * 1024);
  #at = 0;

  number(value: number): void {
    this.#reserve(8);
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  /** A field's number, or how many follow. */
  count(value: number): void {
    this.#reserve(4);
    this.#at = this.#bytes.writeUInt32LE(value, this.#at);
  }

  text(value: string): void {
    this.#reserve(4 + 3 * value.length);
    const size = this.#bytes.write(value, this.#at + 4);
    this.#bytes.writeUInt32LE(size, this.#at);
    this.#at += 4 + size;
  }

  bytes(value: Uint8Array): void {
    this.count(value.byteLength);
    this.#reserve(value.byteLength);
    this.#bytes.set(value, this.#at);
    this.#at += value.byteLength;
  }

  /** What was written, good until the next message is. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#at);
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = Buffer.allocUnsafe(16 * 1024);
    this.#at = 0;
    return taken;
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#at + size, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

type Write = (value: unknown, out: Output) => void;
type Fields = Record<string, unknown>;

/** How to write one field, or the one member of a oneof that is set. */
interface Place {
  readonly name: string;
  /** By the name of the member, for a oneof. */
  readonly members?: ReadonlyMap<string, { readonly number: number; readonly write: Write }>;
  readonly number: number;
  /** Whether the value counts as unset. */
  readonly isUnset: (value: unknown) => boolean;
  readonly write: Write;
}

/**
 * Make a function that writes messages of one kind as bytes: equal exactly where the messages are.
 *
 * - It goes by the descriptor, so that a field which the contract gets later is written without a change here.
 * - Unset and zero differ where the contract lets them; maps are sorted by key, as their order says nothing.
 * - What its fields are named by (`llmgateway.v1.Part.cache_breakpoint`) in `leftOut` is not written.
 * - Unknown fields are not written: what this gateway does not know cannot change what it does.
 *
 * The bytes are good until the next message is written. protobuf's own binary form would not do: it keeps the order of maps.
 */
export function canonicalWriter<Desc extends DescMessage>(
  desc: Desc,
  leftOut: ReadonlySet<string>,
): (message: MessageShape<Desc>, preface?: readonly string[]) => Uint8Array {
  const out = new Output();
  const write = messageWriter(desc, leftOut, new Map());
  return (message, preface = []) => {
    for (const text of preface) out.text(text);
    write(message, out);
    return out.take();
  };
}

function messageWriter(desc: DescMessage, leftOut: ReadonlySet<string>, known: Map<string, Write>): Write {
  const before = known.get(desc.typeName);
  if (before) return before;
  const places: Place[] = [];
  const write: Write = (message, out) => {
    for (const { name, members, number, isUnset, write: writeValue } of places) {
      const value = (message as Fields)[name];
      if (isUnset(value)) continue;
      if (members === undefined) {
        out.count(number);
        writeValue(value, out);
        continue;
      }
      const { case: set, value: inner } = value as { case: string; value: unknown };
      const member = members.get(set);
      if (member === undefined) continue;
      out.count(member.number);
      member.write(inner, out);
    }
    // No field has the number 0: it ends the message.
    out.count(0);
  };
  known.set(desc.typeName, write);
  const isKept = (field: DescField) => !leftOut.has(`${desc.typeName}.${field.name}`);
  for (const member of desc.members) {
    if (member.kind === 'oneof') {
      const kept = member.fields.filter(isKept);
      const members = new Map(
        kept.map((field) => [field.localName, { number: field.number, write: fieldWriter(field, leftOut, known) }]),
      );
      places.push({ name: member.localName, members, number: 0, isUnset: hasNoCase, write: nothing });
    } else if (isKept(member)) {
      const writeField = fieldWriter(member, leftOut, known);
      places.push({ name: member.localName, number: member.number, isUnset: unsetTest(member), write: writeField });
    }
  }
  return write;
}

function nothing(): void {}

function hasNoCase(value: unknown): boolean {
  return (value as { case?: string }).case === undefined;
}

function unsetTest(field: DescField): (value: unknown) => boolean {
  switch (field.fieldKind) {
    case 'list':
      return (value) => (value as readonly unknown[]).length === 0;
    case 'map':
      return isEmpty;
    case 'message':
      return (value) => value === undefined;
    default:
      // Where the contract has no `optional`, a scalar's zero is the same as none.
      return field.presence === FeatureSet_FieldPresence.IMPLICIT ? isZero : (value) => value === undefined;
  }
}

function isZero(value: unknown): boolean {
  return value instanceof Uint8Array ? value.byteLength === 0 : !value;
}

function isEmpty(map: unknown): boolean {
  for (const _ in map as object) return false;
  return true;
}

function fieldWriter(field: DescField, leftOut: ReadonlySet<string>, known: Map<string, Write>): Write {
  const writeOne = field.message ? messageWriter(field.message, leftOut, known) : writeScalar;
  if (field.fieldKind === 'list') {
    return (value, out) => {
      const items = value as readonly unknown[];
      out.count(items.length);
      for (const item of items) writeOne(item, out);
    };
  }
  if (field.fieldKind === 'map') {
    return (value, out) => {
      const map = value as Record<string, unknown>;
      const keys = Object.keys(map).sort();
      out.count(keys.length);
      for (const key of keys) {
        out.text(key);
        writeOne(map[key], out);
      }
    };
  }
  return writeOne;
}

/** Which of these a field holds is in its descriptor, so the bytes need not say. */
function writeScalar(value: unknown, out: Output): void {
  if (typeof value === 'string') out.text(value);
  else if (value instanceof Uint8Array) out.bytes(value);
  else if (typeof value === 'bigint') out.text(String(value));
  else out.number(Number(value));
}
