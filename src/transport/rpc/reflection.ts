import { type DescFile, toBinary } from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';

/** What a client asks, in either version of the protocol: they differ in their package only. */
interface Request {
  readonly host: string;
  readonly messageRequest: Question;
}

type Question =
  | { case: 'listServices' | 'fileByFilename' | 'fileContainingSymbol' | 'allExtensionNumbersOfType'; value: string }
  | { case: 'fileContainingExtension'; value: { containingType: string; extensionNumber: number } }
  | { case: undefined; value?: undefined };

type Answer =
  | { case: 'listServicesResponse'; value: { service: { name: string }[] } }
  | { case: 'fileDescriptorResponse'; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: 'allExtensionNumbersResponse'; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: 'errorResponse'; value: { errorCode: Code; errorMessage: string } };

/** Answers a stream of questions, one by one. */
export type Reflection = <R extends Request>(
  requests: AsyncIterable<R>,
) => AsyncGenerator<{ validHost: string; originalRequest: R; messageResponse: Answer }>;

/** Tell clients what the contract is, so that grpcurl and the like need no files: all of `files` and what they import. */
export function createReflection(services: readonly string[], files: readonly DescFile[]): Reflection {
  let made: Index | undefined;
  return async function* reflect(requests) {
    made ??= createIndex(files);
    const sent = new Set<DescFile>();
    for await (const originalRequest of requests) {
      const { host: validHost, messageRequest } = originalRequest;
      yield { validHost, originalRequest, messageResponse: answer(messageRequest, services, made, sent) };
    }
  };
}

/** What can be asked for. */
interface Index {
  readonly byName: ReadonlyMap<string, DescFile>;
  readonly bySymbol: ReadonlyMap<string, DescFile>;
  /** The file of each extension, by the message it extends and its number. */
  readonly extensions: ReadonlyMap<string, ReadonlyMap<number, DescFile>>;
}

function createIndex(files: readonly DescFile[]): Index {
  const byName = new Map<string, DescFile>();
  const bySymbol = new Map<string, DescFile>();
  const extensions = new Map<string, Map<number, DescFile>>();
  const add = (file: DescFile) => {
    if (byName.has(file.proto.name)) return;
    byName.set(file.proto.name, file);
    for (const type of nestedTypes(file)) {
      bySymbol.set(type.typeName, file);
      for (const member of membersOf(type)) bySymbol.set(`${type.typeName}.${member}`, file);
      if (type.kind !== 'extension') continue;
      const numbers = extensions.get(type.extendee.typeName) ?? new Map<number, DescFile>();
      extensions.set(type.extendee.typeName, numbers.set(type.number, file));
    }
    file.dependencies.forEach(add);
  };
  files.forEach(add);
  return { byName, bySymbol, extensions };
}

function membersOf(type: ReturnType<typeof nestedTypes> extends Iterable<infer Type> ? Type : never): string[] {
  if (type.kind === 'message') return type.members.map(({ name }) => name);
  return type.kind === 'service' ? type.methods.map(({ name }) => name) : [];
}

function answer(question: Question, services: readonly string[], index: Index, sent: Set<DescFile>): Answer {
  switch (question.case) {
    case 'listServices':
      return { case: 'listServicesResponse', value: { service: services.map((name) => ({ name })) } };
    case 'fileByFilename':
      return files(index.byName.get(question.value), question, sent);
    case 'fileContainingSymbol':
      return files(index.bySymbol.get(question.value), question, sent);
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = question.value;
      return files(index.extensions.get(containingType)?.get(extensionNumber), question, sent);
    }
    case 'allExtensionNumbersOfType': {
      const baseTypeName = question.value;
      if (!index.bySymbol.has(baseTypeName)) return notFound(question);
      const extensionNumber = [...(index.extensions.get(baseTypeName)?.keys() ?? [])];
      return { case: 'allExtensionNumbersResponse', value: { baseTypeName, extensionNumber } };
    }
    default:
      return failure(Code.InvalidArgument, 'nothing is asked');
  }
}

/** A file with all it imports, without what this stream has sent before. */
function files(file: DescFile | undefined, question: Question, sent: Set<DescFile>): Answer {
  if (file === undefined) return notFound(question);
  const fileDescriptorProto: Uint8Array[] = [];
  const add = (one: DescFile) => {
    if (sent.has(one) && one !== file) return;
    sent.add(one);
    fileDescriptorProto.push(toBinary(FileDescriptorProtoSchema, one.proto));
    one.dependencies.forEach(add);
  };
  add(file);
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function notFound(question: Question): Answer {
  const { value } = question;
  const asked = typeof value === 'object' ? `${value.containingType} extension ${value.extensionNumber}` : value;
  return failure(Code.NotFound, `not found: ${asked}`);
}

function failure(errorCode: Code, errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode, errorMessage } };
}
