import type { Part } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, type JsonObject } from './fields.ts';

/*
 * Claude signs its thoughts, and wants them back unchanged. Clients of OpenAI's API that know of such things echo them as
 * `reasoning_details`, in the form that OpenRouter has made common.
 */

const format = 'anthropic-claude-v1';

/** Marks what this gateway has told: nothing else needs to be kept of it. */
const idPrefix = 'anthropic-';

/** A thought and what is signed of it, as one of `reasoning_details`; undefined: it is not signed. */
export function reasoningDetail(text: string, extraJson: string | undefined, index: number): object | undefined {
  if (extraJson === undefined) return undefined;
  const { signature, data }: JsonObject = JSON.parse(extraJson);
  const rest = { id: `${idPrefix}${index}`, format, index };
  if (data !== undefined) return { type: 'reasoning.encrypted', data, ...rest };
  return signature === undefined ? undefined : { type: 'reasoning.text', text, signature, ...rest };
}

/** Whether all that is echoed was told by this gateway. */
export function areAllOurs(details: unknown): boolean {
  return (
    Array.isArray(details) && details.every((detail) => isObject(detail) && String(detail.id).startsWith(idPrefix))
  );
}

/**
 * Read the signed thoughts among echoed `reasoning_details` back into parts. `reasoning` is the text that was echoed beside
 * them: a client may keep the signature of a thought there, and its text only here.
 */
export function readSignedThoughts(details: unknown, reasoning: string): Part[] {
  if (!Array.isArray(details)) return [];
  const thoughts = joined(details).filter(isSigned);
  return thoughts.map(({ type, text, signature, data }) => {
    const said = typeof text === 'string' && text !== '' ? text : thoughts.length === 1 ? reasoning : '';
    const isHidden = type === 'reasoning.encrypted';
    return {
      $typeName: 'llmgateway.v1.Part',
      kind: { case: 'reasoning', value: isHidden ? '' : said },
      citations: [],
      extraJson: { anthropic: JSON.stringify(isHidden ? { data } : { signature }) },
    };
  });
}

/** Clients that put the chunks of a stream together as they are echo a thought in pieces. */
function joined(details: readonly unknown[]): JsonObject[] {
  const whole: JsonObject[] = [];
  for (const detail of details) {
    if (!isObject(detail)) continue;
    const last = whole.at(-1);
    const goesOn = last?.type === 'reasoning.text' && detail.type === last.type && detail.index === last.index;
    if (!last || !goesOn || last.signature) whole.push(detail);
    else whole[whole.length - 1] = { ...last, ...detail, text: `${last.text ?? ''}${detail.text ?? ''}` };
  }
  return whole;
}

function isSigned({ type, format: by, signature, data }: JsonObject): boolean {
  const isClaudes = typeof by === 'string' && by.startsWith('anthropic');
  if (type === 'reasoning.encrypted') return isClaudes && typeof data === 'string';
  const mayBeClaudes = isClaudes || by === undefined || by === null || by === 'unknown';
  return type === 'reasoning.text' && mayBeClaudes && typeof signature === 'string' && signature !== '';
}
