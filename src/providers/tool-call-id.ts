import { randomUUID } from 'node:crypto';

/** Make an id for a tool call of a provider that gave none. */
export function makeToolCallId(): string {
  return `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`;
}
