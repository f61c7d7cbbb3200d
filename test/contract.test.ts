import { execFileSync } from 'node:child_process';
import { fromBinary } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  FieldDescriptorProto_Type,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';

/** Something in a .proto file that has a name: a message, field, oneof, enum, enum value, service or rpc. */
interface Named {
  readonly name: string;
  /** Its place in the file's descriptor, by which its comment is found. */
  readonly path: readonly number[];
}

function ourFiles(): FileDescriptorProto[] {
  const buf = new URL('../node_modules/.bin/buf', import.meta.url).pathname;
  const cwd = new URL('..', import.meta.url).pathname;
  const set = execFileSync(buf, ['build', '--as-file-descriptor-set', '-o', '-'], { cwd, maxBuffer: 16 << 20 });
  return fromBinary(FileDescriptorSetSchema, set).file.filter((file) => file.package.startsWith('llmgateway.'));
}

// The numbers in the paths are those of descriptor.proto: where a file, message, enum or service keeps its children.
const IN_FILE = { message: 4, enum: 5, service: 6 };
const IN_MESSAGE = { field: 2, message: 3, enum: 4, oneof: 8 };

function namedIn(file: FileDescriptorProto): Named[] {
  return [
    ...file.messageType.flatMap((message, at) => namedInMessage(message, [IN_FILE.message, at], message.name)),
    ...file.enumType.flatMap((enumeration, at) => namedInEnum(enumeration, [IN_FILE.enum, at], enumeration.name)),
    ...file.service.flatMap((service, at) => [
      { name: service.name, path: [IN_FILE.service, at] },
      ...service.method.map((rpc, index) => ({
        name: `${service.name}.${rpc.name}`,
        path: [IN_FILE.service, at, 2, index],
      })),
    ]),
  ];
}

function namedInMessage(message: DescriptorProto, path: number[], name: string): Named[] {
  if (message.options?.mapEntry) return [];
  return [
    { name, path },
    ...message.field.map((field, at) => ({ name: `${name}.${field.name}`, path: [...path, IN_MESSAGE.field, at] })),
    // A field that is `optional` sits in a oneof of its own, whose name begins with an underscore: nobody wrote it.
    ...message.oneofDecl.flatMap((oneof, at) =>
      oneof.name.startsWith('_') ? [] : [{ name: `${name}.${oneof.name}`, path: [...path, IN_MESSAGE.oneof, at] }],
    ),
    ...message.nestedType.flatMap((nested, at) =>
      namedInMessage(nested, [...path, IN_MESSAGE.message, at], `${name}.${nested.name}`),
    ),
    ...message.enumType.flatMap((enumeration, at) =>
      namedInEnum(enumeration, [...path, IN_MESSAGE.enum, at], `${name}.${enumeration.name}`),
    ),
  ];
}

function namedInEnum(enumeration: EnumDescriptorProto, path: number[], name: string): Named[] {
  return [
    { name, path },
    ...enumeration.value.map((value, at) => ({ name: `${name}.${value.name}`, path: [...path, 2, at] })),
  ];
}

function messagesIn(messages: readonly DescriptorProto[]): DescriptorProto[] {
  return messages.flatMap((message) => [message, ...messagesIn(message.nestedType)]);
}

describe('the contract', () => {
  const files = ourFiles();
  const messages = messagesIn(files.flatMap((file) => file.messageType));
  const enums = [...files.flatMap((file) => file.enumType), ...messages.flatMap((message) => message.enumType)];

  it('is all there', () => {
    expect(messages.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['CompletionRequest', 'CompletionEvent', 'EmbeddingRequest', 'Provider', 'Config']),
    );
  });

  it('comments every message, field, oneof, enum, enum value, service and rpc', () => {
    const silent = files.flatMap((file) => {
      const comments = new Map(
        file.sourceCodeInfo?.location.map(({ path, leadingComments }) => [path.join(), leadingComments.trim()]),
      );
      return namedIn(file).filter(({ path }) => !comments.get(path.join()));
    });
    expect(silent.map(({ name }) => name)).toEqual([]);
  });

  it('has no 64-bit integer: they become BigInt in code and texts in JSON', () => {
    const { INT64, UINT64, SINT64, FIXED64, SFIXED64 } = FieldDescriptorProto_Type;
    const wide: number[] = [INT64, UINT64, SINT64, FIXED64, SFIXED64];
    const fields = messages.flatMap(({ name, field }) => field.map((each) => ({ name: `${name}.${each.name}`, each })));
    expect(fields.filter(({ each }) => wide.includes(each.type)).map(({ name }) => name)).toEqual([]);
  });

  it('begins every enum with 0, unspecified', () => {
    const zeros = enums.map(({ value }) => value.find(({ number }) => number === 0)?.name);
    expect(zeros.length).toBeGreaterThan(0);
    expect(zeros.filter((name) => !name?.endsWith('_UNSPECIFIED'))).toEqual([]);
  });

  it('keeps shared fields of a completion and an embedding at the same numbers', () => {
    const numbers = (name: string) => {
      const own = messages.find((message) => message.name === name)?.field ?? [];
      return Object.fromEntries(own.filter(({ number }) => number !== 8).map((field) => [field.name, field.number]));
    };
    expect(numbers('EmbeddingResult')).toEqual(numbers('Completion'));
  });
});
