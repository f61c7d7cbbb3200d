import { StringDecoder } from 'node:string_decoder';
import { createParser } from 'eventsource-parser';
import { GatewayError } from '../errors.ts';

/** A server-sent event. */
export interface SseEvent {
  /** Its type; undefined: `message`. */
  readonly event?: string | undefined;
  readonly data: string;
}

/** What may be known of a stream of events. */
export interface SseOptions {
  /** The provider's name, for messages. */
  readonly provider: string;
  /**
   * Called at the end with all lines that are no SSE, joined by line feeds, if there were any: Gemini appends the error of a
   * broken stream as bare JSON, which a plain SSE reader drops, and with it the failure.
   */
  readonly onBareText?: (text: string) => void;
}

/** The most characters of a line, of an event, and of all bare lines together. */
export const maxSseCharacters = 1024 * 1024;

/**
 * Read server-sent events from bytes, by the rules of the WHATWG: CR, LF and CRLF, a BOM, comments, data of several lines.
 *
 * All events of one read are handed over as one array: a promise a read, not one an event. At the end of the body an event
 * without its blank line counts: providers forget it.
 */
export async function* readSse(body: AsyncIterable<Uint8Array>, options: SseOptions): AsyncGenerator<SseEvent[]> {
  const decoder = new StringDecoder('utf8');
  const bare: string[] = [];
  let bareLength = 0;
  let events: SseEvent[] = [];
  let waiting: string[] = [];
  let waitingLength = 0;
  const tooLong = () =>
    new GatewayError(
      'provider_protocol',
      `${options.provider} sent a line of more than ${maxSseCharacters} characters`,
      {
        provider: options.provider,
      },
    );
  const parser = createParser({
    maxBufferSize: maxSseCharacters,
    onEvent: (event) => events.push(event),
    onError(error) {
      if (error.type === 'max-buffer-size-exceeded') throw tooLong();
      if (error.type !== 'unknown-field' || error.line === undefined) return;
      bareLength += error.line.length;
      if (bareLength > maxSseCharacters) throw tooLong();
      bare.push(error.line);
    },
  });

  for await (const bytes of body) {
    const text = decoder.write(bytes as Buffer);
    // The parser sees whole lines only: of a line that it does not know it would drop what one read brought of it.
    const end = Math.max(text.lastIndexOf('\n'), text.lastIndexOf('\r')) + 1;
    if (end === 0 || waitingLength > 0) {
      waitingLength += end === 0 ? text.length : end;
      if (waitingLength > maxSseCharacters) throw tooLong();
    }
    if (end === 0) {
      waiting.push(text);
      continue;
    }
    if (waitingLength > 0) {
      waiting.push(text.slice(0, end));
      parser.feed(waiting.join(''));
    } else parser.feed(end === text.length ? text : text.slice(0, end));
    waiting = end === text.length ? [] : [text.slice(end)];
    waitingLength = text.length - end;
    if (events.length > 0) {
      yield events;
      events = [];
    }
  }

  parser.feed(`${waiting.join('')}${decoder.end()}\n\n`);
  if (events.length > 0) yield events;
  if (bare.length > 0) options.onBareText?.(bare.join('\n'));
}
