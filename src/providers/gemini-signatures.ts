import type { Message, Part } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';

/**
 * What Gemini takes in place of a signature that got lost, from its documentation: from the third generation on it refuses a
 * turn whose first function call has none.
 */
export const dummySignature = Buffer.from('skip_thought_signature_validator').toString('base64');

/** Keys under which clients of OpenAI's API send signatures back. */
const echoKeys = new Set(['extra_content', 'reasoning_details']);

/**
 * The thought signatures of a model's turn that came back by way of OpenAI's API, by part.
 *
 * Two forms are about: Google's `extra_content.google.thought_signature` on a tool call or the message, and OpenRouter's
 * `reasoning_details` on the message, of which one with the id of a tool call is that call's.
 */
export function echoedSignatures({ parts, extraJson }: Message): Map<Part, string> {
  const signatures = new Map<Part, string>();
  const add = (part: Part | undefined, signature: string) => {
    if (part && signature !== '' && !signatures.has(part)) signatures.set(part, signature);
  };
  for (const part of parts) add(part, signatureIn(openaiExtras(part.extraJson)));
  const beside = openaiExtras(extraJson);
  if (!beside) return signatures;
  const text = parts.findLast(({ kind }) => kind.case === 'text');
  const firstCall = parts.find(({ kind }) => kind.case === 'toolCall');
  const details = Array.isArray(beside.reasoning_details) ? beside.reasoning_details.filter(isGoogles) : [];
  // Those of calls first: one without an id is the first call's only if nothing else is.
  details.sort((a, b) => Number(Boolean(b.id)) - Number(Boolean(a.id)));
  for (const { type, id, data, signature } of details) {
    if (type === 'reasoning.encrypted') {
      const call = parts.find(({ kind }) => kind.case === 'toolCall' && kind.value.id === id);
      add(call ?? (id ? firstCall : (text ?? firstCall)), textOf(data));
    } else {
      add(
        parts.find(({ kind }) => kind.case === 'reasoning'),
        textOf(signature),
      );
    }
  }
  add(text ?? firstCall, signatureIn(beside));
  return signatures;
}

/** Extras without those that hold nothing but signatures which `echoedSignatures` reads. */
export function withoutEchoes(extraJson: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const echoes = openaiExtras(extraJson);
  if (!echoes || Object.keys(echoes).some((key) => !echoKeys.has(key))) return extraJson;
  const { openai, ...others } = extraJson;
  return others;
}

function openaiExtras({ openai }: Readonly<Record<string, string>>): JsonObject | undefined {
  const extras: unknown = openai === undefined ? undefined : JSON.parse(openai);
  return isObject(extras) ? extras : undefined;
}

function signatureIn(extras: JsonObject | undefined): string {
  const content = extras?.extra_content;
  const google = isObject(content) ? content.google : undefined;
  return isObject(google) ? textOf(google.thought_signature) : '';
}

/** Other providers' signatures have the same shape, and mean nothing to Gemini. */
function isGoogles(detail: unknown): detail is JsonObject {
  return isObject(detail) && textOf(detail.format).startsWith('google');
}
