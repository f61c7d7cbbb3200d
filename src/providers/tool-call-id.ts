import { newId } from '../new-id.ts';

/** Make an id for a tool call of a provider that gave none. */
export function makeToolCallId(): string {
  return `call_${newId().slice(0, 24)}`;
}
