import { clone, create, type DescField, type DescMessage, type Message, ScalarType } from '@bufbuild/protobuf';
import { CompletionRequestSchema } from '../../gen/llmgateway/v1/completion_pb.ts';

type Fields = Record<string, unknown>;

/** A request, and the same one with one field changed. */
export interface Change {
  /** Where, and how: `messages[].parts[].text changed`. */
  readonly title: string;
  /** Names of the fields down to the changed one, as the contract has them. */
  readonly path: readonly string[];
  readonly before: Message;
  readonly after: Message;
}

/** As many of the ways in which a request can differ in one field as its descriptor tells: a field added later is among them. */
export function changesOfRequests(): Change[] {
  const changes = new Map<string, Change>();
  const mostMembers = 7;
  for (let member = 0; member < mostMembers; member++) {
    const before = filled(CompletionRequestSchema, member);
    for (const { title, path, apply } of editsOf(CompletionRequestSchema, (root) => root as Fields, [])) {
      const after = clone(CompletionRequestSchema, before as never) as Message;
      if (apply(after)) changes.set(title, { title, path, before, after });
    }
  }
  return [...changes.values()];
}

/** A message with every field set; of each oneof the member of that number. */
function filled(desc: DescMessage, member: number): Message {
  const message = create(desc) as Message & Fields;
  for (const each of desc.members) {
    if (each.kind === 'oneof') {
      const field = each.fields[member % each.fields.length] as DescField;
      message[each.localName] = { case: field.localName, value: valueFor(field, member) };
    } else message[each.localName] = valueFor(each, member);
  }
  return message;
}

function valueFor(field: DescField, member: number): unknown {
  const one = field.message ? filled(field.message, member) : scalarOf(field, 1);
  if (field.fieldKind === 'list') return [one];
  if (field.fieldKind === 'map') return { b: one };
  return one;
}

function scalarOf(field: DescField, value: number): unknown {
  if (field.enum) return value;
  switch ('scalar' in field ? field.scalar : undefined) {
    case ScalarType.STRING:
      return field.name.endsWith('json') ? `{"key":${value}}` : `text ${value}`;
    case ScalarType.BYTES:
      return new Uint8Array([value]);
    case ScalarType.BOOL:
      return value === 1;
    case ScalarType.INT64:
      return BigInt(value);
    default:
      return value;
  }
}

interface Edit {
  readonly title: string;
  readonly path: readonly string[];
  /** False where the message is not there to be edited. */
  apply(root: Message): boolean;
}

type Find = (root: Message) => Fields | undefined;

function editsOf(desc: DescMessage, find: Find, path: readonly string[]): Edit[] {
  return desc.fields.flatMap((field) => {
    const here = [...path, field.name];
    const at = here.join('.');
    const edit = (what: string, change: (slot: Slot) => void): Edit => ({
      title: `${at} ${what}`,
      path: here,
      apply(root) {
        const owner = find(root);
        const slot = owner && slotOf(owner, field);
        if (!slot) return false;
        change(slot);
        return true;
      },
    });
    const unset = edit('unset', (slot) => slot.set(undefined));
    const inside: Find = (root) => {
      const owner = find(root);
      const value = owner && slotOf(owner, field)?.get();
      return (Array.isArray(value) ? value[0] : value) as Fields | undefined;
    };
    const below = field.message && field.fieldKind !== 'map' ? editsOf(field.message, inside, here) : [];
    const other = field.message ? filled(field.message, 0) : scalarOf(field, 2);
    switch (field.fieldKind) {
      case 'list':
        return [
          edit('emptied', (slot) => slot.set([])),
          edit('made longer', (slot) => slot.set([...(slot.get() as unknown[]), other])),
          ...(field.message ? [] : [edit('changed', (slot) => slot.set([other]))]),
          ...below,
        ];
      case 'map':
        return [
          edit('emptied', (slot) => slot.set({})),
          edit('made longer', (slot) => slot.set({ ...(slot.get() as Fields), a: other })),
          edit('changed', (slot) => slot.set({ b: other })),
          edit('of another key', (slot) => slot.set({ c: scalarOf(field, 1) })),
        ];
      case 'message':
        return [unset, ...below];
      default: {
        const changed = edit('changed', (slot) => slot.set(other));
        const zero = edit('made zero', (slot) => slot.set(scalarOf(field, 0)));
        // A text or an enum without `optional` is unset by being zero; a member of a oneof may be empty.
        return field.fieldKind === 'scalar' && field.scalar !== ScalarType.STRING
          ? [changed, unset, zero]
          : [changed, unset];
      }
    }
  });
}

interface Slot {
  get(): unknown;
  set(value: unknown): void;
}

/** Where the value of a field is; undefined where another member of its oneof is set. */
function slotOf(owner: Fields, field: DescField): Slot | undefined {
  const { oneof, localName } = field;
  if (!oneof) {
    return {
      get: () => owner[localName],
      set(value) {
        owner[localName] = value === undefined ? zeroOf(field) : value;
      },
    };
  }
  const held = owner[oneof.localName] as { case: string; value: unknown };
  if (held.case !== localName) return undefined;
  return {
    get: () => held.value,
    set(value) {
      owner[oneof.localName] = value === undefined ? { case: undefined } : { case: localName, value };
    },
  };
}

/** What an unset field holds: nothing, or its zero where the contract cannot tell. */
function zeroOf(field: DescField): unknown {
  const isExplicit = field.fieldKind === 'message' || field.proto.proto3Optional;
  return isExplicit ? undefined : field.enum ? 0 : scalarZero(field);
}

function scalarZero(field: DescField): unknown {
  const one = scalarOf(field, 1);
  if (typeof one === 'string') return '';
  if (typeof one === 'boolean') return false;
  if (typeof one === 'bigint') return 0n;
  return one instanceof Uint8Array ? new Uint8Array() : 0;
}
