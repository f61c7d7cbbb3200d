import { type Message, type Part, Role, type Tool, type ToolCall } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { ExtrasReader } from './extras.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';
import { isObject } from './json-value.ts';

/** What writing a piece of a request needs to know and to tell. */
export interface OllamaWriting {
  readonly extras: ExtrasReader;
  /** Names what has no place on this wire: a part or a tool, and what of it. */
  readonly refuse: (item: Part | Tool, field: string) => void;
}

/** Write the conversation as Ollama's list of messages. */
export function writeOllamaMessages(messages: readonly Message[], writing: OllamaWriting): string {
  const toolNames = new Map<string, string>();
  return array(messages.map((message) => writeMessage(message, toolNames, writing)));
}

/**
 * One message: its content is one text, images lie beside it, and what the model thought and called has keys of its own.
 *
 * `toolNames` has the tools by id of their calls so far: results are known by the tool's name on this wire.
 */
function writeMessage(message: Message, toolNames: Map<string, string>, { extras, refuse }: OllamaWriting): string {
  let beside = extras.read(message.extraJson, 'messages');
  const texts: string[] = [];
  const images: string[] = [];
  const calls: string[] = [];
  let thinking: string | undefined;
  for (const part of message.parts) {
    const { kind } = part;
    const own = extras.read(part.extraJson, 'messages.parts');
    switch (kind.case) {
      case 'text':
      case 'refusal':
        texts.push(kind.value);
        break;
      case 'reasoning':
        thinking = (thinking ?? '') + kind.value;
        break;
      case 'toolCall':
        toolNames.set(kind.value.id, kind.value.name);
        calls.push(objectOver(own, ...writeToolCall(kind.value)));
        continue;
      case 'image':
      case 'audio':
      case 'file': {
        const { source } = kind.value;
        const place = source.case === 'fileId' ? 'file_id' : (source.case ?? 'source');
        if (kind.case === 'image' && source.case === 'data') images.push(base64(source.value));
        else refuse(part, `${kind.case}.${place}`);
        break;
      }
    }
    if (own) beside = { ...beside, ...own };
  }
  // What the model wrote itself was one text; what others wrote in pieces were paragraphs.
  const content = texts.join(message.role === Role.ASSISTANT ? '' : '\n');
  return objectOver(
    beside,
    member('role', roleWords[message.role]),
    member('content', content),
    member('thinking', thinking),
    member('images', images.length > 0 ? images : undefined),
    calls.length > 0 ? rawMember('tool_calls', array(calls)) : '',
    ...(message.role === Role.TOOL ? writeResult(message, toolNames, extras) : []),
  );
}

const roleWords: Readonly<Record<Role, string>> = {
  [Role.UNSPECIFIED]: 'user',
  [Role.USER]: 'user',
  [Role.SYSTEM]: 'system',
  [Role.DEVELOPER]: 'system',
  [Role.ASSISTANT]: 'assistant',
  [Role.TOOL]: 'tool',
};

function writeResult(message: Message, toolNames: ReadonlyMap<string, string>, extras: ExtrasReader): string[] {
  // The wire has no word for it; what the tool said has to tell that it failed.
  if (message.toolFailed) extras.leaveOut('messages.tool_failed');
  const { toolCallId } = message;
  return [member('tool_name', message.name || toolNames.get(toolCallId)), member('tool_call_id', toolCallId)];
}

function writeToolCall({ id, name, arguments: args, custom }: ToolCall): string[] {
  const called = object(member('name', name), rawMember('arguments', custom ? wrapped(args) : objectText(args)));
  return [member('id', id), rawMember('function', called)];
}

/** The wire wants an object. What the model wrote that is none, or not even JSON, is shown to it as the object's `input`. */
function objectText(args: string): string {
  if (args.trim() === '') return '{}';
  try {
    if (isObject(JSON.parse(args))) return args;
  } catch {
    // Not JSON: like JSON that is no object.
  }
  return wrapped(args);
}

function wrapped(args: string): string {
  return object(member('input', args));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}
