import { StringDecoder } from 'node:string_decoder';
import { GatewayError } from '../errors.ts';

/** A line of a stream of JSON values. */
export interface JsonLine {
  /** The text of one JSON value. */
  readonly data: string;
}

/** The most characters of a line. */
export const maxLineCharacters = 1024 * 1024;

/**
 * Read newline-delimited JSON from bytes: one value a line, ended by LF or CRLF, empty lines left out.
 *
 * All lines of one read are handed over as one array: a promise a read, not one a line. At the end of the body a line without
 * its line feed counts.
 */
export async function* readNdjson(
  body: AsyncIterable<Uint8Array>,
  { provider }: { readonly provider: string },
): AsyncGenerator<JsonLine[]> {
  const decoder = new StringDecoder('utf8');
  let waiting: string[] = [];
  let waitingLength = 0;
  const wait = (text: string) => {
    waiting.push(text);
    waitingLength += text.length;
    if (waitingLength > maxLineCharacters) throw tooLong(provider);
  };

  for await (const bytes of body) {
    const [first = '', ...rest] = decoder.write(bytes as Buffer).split('\n');
    wait(first);
    const last = rest.pop();
    if (last === undefined) continue;
    const lines = linesOf(provider, [waiting.join(''), ...rest]);
    waiting = [];
    waitingLength = 0;
    wait(last);
    if (lines.length > 0) yield lines;
  }

  wait(decoder.end());
  const lines = linesOf(provider, [waiting.join('')]);
  if (lines.length > 0) yield lines;
}

function linesOf(provider: string, texts: readonly string[]): JsonLine[] {
  if (texts.some(({ length }) => length > maxLineCharacters)) throw tooLong(provider);
  return texts.filter((text) => text.trim() !== '').map((data) => ({ data }));
}

function tooLong(provider: string): GatewayError {
  return new GatewayError('provider_protocol', `${provider} sent a line of more than ${maxLineCharacters} characters`, {
    provider,
  });
}
