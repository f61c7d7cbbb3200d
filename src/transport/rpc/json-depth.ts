import { Code, ConnectError } from '@connectrpc/connect';

/** No message of the contract comes near. */
const MAX_DEPTH = 64;

const decoder = new TextDecoder('utf-8', { fatal: true });

const [QUOTE, BACKSLASH, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = Buffer.from('"\\[]{}');

/**
 * Decode the bytes of a JSON text, and refuse one that is nested too deeply or is not UTF-8.
 *
 * What reads messages recurses, and says in its errors what it found: 200,000 brackets overflow the stack of both.
 */
export function decodeShallowJson(bytes: Uint8Array): string {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) quoted = false;
    } else if (byte === QUOTE) quoted = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (++depth > MAX_DEPTH) throw new ConnectError(`JSON is nested deeper than ${MAX_DEPTH}`, Code.InvalidArgument);
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
  }
  return decoder.decode(bytes);
}
