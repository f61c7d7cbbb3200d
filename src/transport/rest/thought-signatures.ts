import { isObject, type JsonObject } from './fields.ts';

/*
 * Gemini signs parts of its answer, its tool calls above all, and wants the signatures back with them. Clients echo them in one
 * of two forms: Google's own, beside the tool call, or OpenRouter's `reasoning_details`. They get both, and its adapter takes
 * either: nothing is to be done where they come in.
 */

const format = 'google-gemini-v1';

/** Gemini's signature of a part, among its extras; undefined: it has none. */
export function thoughtSignatureIn(extraJson: string | undefined): string | undefined {
  const extras: unknown = extraJson === undefined ? undefined : JSON.parse(extraJson);
  return isObject(extras) && typeof extras.thoughtSignature === 'string' ? extras.thoughtSignature : undefined;
}

/** The signature of a tool call as a key beside it. */
export function signatureBeside(signature: string): JsonObject {
  return { extra_content: { google: { thought_signature: signature } } };
}

/** The signature of a part as one of `reasoning_details`: of a tool call under its id, of a text without one. */
export function signatureDetail(of: 'thought' | 'text' | { id: string }, signature: string, index: number): object {
  if (of === 'thought') return { type: 'reasoning.text', signature, format, index };
  return { type: 'reasoning.encrypted', ...(of !== 'text' && { id: of.id }), data: signature, format, index };
}
