import { type Media, type Message, type Part, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../errors.ts';
import type { ExtrasReader } from './extras.ts';
import { geminiFamily } from './gemini-generations.ts';
import { dummySignature, echoedSignatures, withoutEchoes } from './gemini-signatures.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';
import { isObject, textOf } from './json-value.ts';

/** What writing the conversation needs to know. */
export interface GeminiWriting {
  readonly provider: string;
  /** The generation of the model that is asked. */
  readonly generation: number;
  readonly extras: ExtrasReader;
}

/** A conversation as JSON texts; empty: there is none. */
export interface WrittenConversation {
  readonly systemInstruction: string;
  readonly contents: string;
}

interface Turn {
  readonly role: 'user' | 'model';
  readonly parts: string[];
}

/**
 * Write the conversation as Gemini's turns of `user` and `model`, which alternate: what one role says in a row is one turn, and
 * so are the results of parallel tool calls. Instructions stand beside it.
 */
export function writeConversation(messages: readonly Message[], writing: GeminiWriting): WrittenConversation {
  const instructions: string[] = [];
  const turns: Turn[] = [];
  const toolNames = new Map<string, string>();
  const say = (role: Turn['role'], parts: readonly string[]) => {
    const last = turns.at(-1);
    if (parts.length === 0) return;
    if (last?.role === role) last.parts.push(...parts);
    else turns.push({ role, parts: [...parts] });
  };
  for (const [index, message] of messages.entries()) {
    switch (message.role) {
      case Role.ASSISTANT:
        for (const { kind } of message.parts) {
          if (kind.case === 'toolCall') toolNames.set(kind.value.id, kind.value.name);
        }
        say('model', writeModelTurn(message, writing));
        break;
      case Role.TOOL: {
        const name = toolNames.get(message.toolCallId) ?? message.name;
        if (name === '') throw unknownCall(index, message.toolCallId, writing);
        say('user', writeToolResult(message, name, writing));
        break;
      }
      case Role.USER:
        say('user', writeParts(message, writing));
        break;
      default:
        instructions.push(...writeParts(message, writing));
    }
  }
  // Gemini answers no instructions alone.
  if (turns.length === 0) say('user', instructions.splice(0));
  return {
    systemInstruction: instructions.length > 0 ? object(rawMember('parts', array(instructions))) : '',
    contents: array(turns.map(({ role, parts }) => object(member('role', role), rawMember('parts', array(parts))))),
  };
}

function unknownCall(index: number, id: string, { provider }: GeminiWriting): GatewayError {
  const field = `messages[${index}].tool_call_id`;
  const description = `${JSON.stringify(id)} is the id of no tool call before it, and ${provider} needs the tool's name`;
  return new GatewayError('invalid_request', `${field}: ${description}`, {
    provider,
    violations: [{ field, description }],
  });
}

/** Extras of a message have no place: a turn has nothing but its role and its parts. */
function leaveOutExtras({ extraJson }: Message, { extras }: GeminiWriting): void {
  if (extras.read(withoutEchoes(extraJson), 'messages')) extras.leaveOut(`messages.extra_json.${geminiFamily}`);
}

function writeParts(message: Message, writing: GeminiWriting): string[] {
  leaveOutExtras(message, writing);
  return message.parts.map((part) => writePart(part, undefined, writing)).filter(Boolean);
}

function writeModelTurn(message: Message, writing: GeminiWriting): string[] {
  leaveOutExtras(message, writing);
  const signatures = echoedSignatures(message);
  const firstCall = message.parts.find(({ kind }) => kind.case === 'toolCall');
  return message.parts
    .map((part) => {
      // Who echoes nothing must still be answered: the turn then goes without what the model had thought.
      const substitute = part === firstCall && writing.generation >= 3 ? dummySignature : undefined;
      return writePart(part, signatures.get(part) ?? substitute, writing);
    })
    .filter(Boolean);
}

/** Write one part; empty where there is nothing to write. A signature of its own extras counts before the one that is given. */
function writePart(part: Part, given: string | undefined, { extras }: GeminiWriting): string {
  const own = extras.read(withoutEchoes(part.extraJson), 'messages.parts');
  const { kind } = part;
  const signature = textOf(own?.thoughtSignature) ? '' : member('thoughtSignature', given);
  const isSigned = signature !== '' || own?.thoughtSignature !== undefined;
  switch (kind.case) {
    case undefined:
      return own ? objectOver(own) : '';
    case 'text':
    case 'refusal':
      // Gemini refuses an empty text, unless it is there for its signature.
      return kind.value === '' && !isSigned ? '' : objectOver(own, member('text', kind.value), signature);
    case 'reasoning':
      if (kind.value === '' && !isSigned) return '';
      return objectOver(own, member('text', kind.value), member('thought', true), signature);
    case 'toolCall': {
      const { id, name, arguments: args, custom } = kind.value;
      const call = object(member('id', id), member('name', name), rawMember('args', writeArguments(args, custom)));
      return objectOver(own, rawMember('functionCall', call), signature);
    }
    default:
      return objectOver(own, writeMedia(kind.case, kind.value), signature);
  }
}

/** Arguments are an object on this wire; what is none (free text, or JSON that the model got wrong) is put into one. */
function writeArguments(args: string, custom: boolean): string {
  if (args === '') return '{}';
  return (custom ? undefined : asObject(args)) ?? object(member('input', args));
}

/** A text, if it is JSON of an object: it is written as it is, numbers and order kept. */
function asObject(text: string): string | undefined {
  return text.trimStart().startsWith('{') && isObject(parsed(text)) ? text : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The result of a tool, an object on this wire too: a text that is none stands under `result`, or `error` if the tool failed. */
function writeToolResult(message: Message, name: string, writing: GeminiWriting): string[] {
  const own = writing.extras.read(withoutEchoes(message.extraJson), 'messages');
  const texts = message.parts.map(({ kind }) => (kind.case === 'text' ? kind.value : ''));
  const media = message.parts.filter(({ kind }) => kind.case !== 'text');
  const attached = media.map((part) => writePart(part, undefined, writing)).filter(Boolean);
  // Before the third generation a result holds nothing but JSON: what else there is stands beside it.
  const inside = writing.generation >= 3 && attached.length > 0;
  const result = objectOver(
    own,
    member('id', message.toolCallId),
    member('name', name),
    rawMember('response', writeResponse(texts.join(''), message.toolFailed)),
    inside ? rawMember('parts', array(attached)) : '',
  );
  return [object(rawMember('functionResponse', result)), ...(inside ? [] : attached)];
}

function writeResponse(text: string, failed: boolean): string {
  if (failed) return object(member('error', text));
  const isList = text.trimStart().startsWith('[') && Array.isArray(parsed(text));
  return asObject(text) ?? object(isList ? rawMember('result', text) : member('result', text));
}

/** What bytes are, where nobody says it. */
const likelyTypes = { image: 'image/png', audio: 'audio/wav', file: 'application/pdf' } as const;

/** Media by their bytes or by address, which Google fetches; a sound of which only the words are left is a text. */
function writeMedia(kind: 'image' | 'audio' | 'file', { source, mimeType, transcript }: Media): string {
  if (source.case === 'data') {
    const { buffer, byteOffset, byteLength } = source.value;
    const data = Buffer.from(buffer, byteOffset, byteLength).toString('base64');
    return member('inlineData', { mimeType: mimeType || likelyTypes[kind], data });
  }
  if (source.case === 'url') return member('fileData', { mimeType: mimeType || undefined, fileUri: source.value });
  if (transcript !== '') return member('text', transcript);
  return member('fileData', { mimeType: mimeType || undefined, fileUri: source.value });
}
