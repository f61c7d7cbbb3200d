import type { CompletionEvent } from '../../gen/llmgateway/v1/completion_pb.ts';
import { AtOnce } from '../at-once.ts';
import { GatewayError } from '../errors.ts';
import { type HttpClient, type HttpRequest, type ResponseBody, type ResponseHeaders, readWhole } from './http.ts';
import { isObject } from './json-value.ts';
import { readSse } from './sse.ts';

/** Reads one answer of a dialect into events. */
export interface AnswerReader {
  /** Filled by the reading functions, emptied by whoever yields them. */
  readonly events: CompletionEvent[];
  /** Read one chunk of a stream; `event` is the type of the server-sent event, where it has one. */
  readChunk(chunk: unknown, event: string | undefined): void;
  /** Read an answer that is not a stream. */
  readWhole(body: unknown): void;
  /** The upstream has nothing more to say: tell the end. Throws unless the answer is certain to be complete. */
  end(): void;
  /** The failure of an answer that cannot be understood. */
  unreadable(what: string, cause?: unknown): GatewayError;
}

/** One request to a provider for a completion, and how to understand what comes back. */
export interface Asking {
  readonly http: HttpClient;
  readonly provider: string;
  readonly request: HttpRequest;
  readonly reader: AnswerReader;
  /** Judges an answer that is an error, by its status or in spite of it (200). */
  readonly refusal: (status: number, headers: ResponseHeaders, body: unknown) => GatewayError;
}

/** One piece of a streamed answer, as its framing gives it. */
export interface Frame {
  readonly event?: string | undefined;
  readonly data: string;
}

/** How a dialect cuts a streamed answer into pieces: all of one read together, since a promise for each would cost more. */
export interface Framing {
  frames(
    body: AsyncIterable<Uint8Array>,
    options: { provider: string; onBareText: (text: string) => void },
  ): AsyncIterable<readonly Frame[]>;
  /** Whether a piece says that nothing more comes. */
  isEnd(data: string): boolean;
  /** Whether an answer that begins like JSON cannot be a stream. */
  readonly jsonIsWhole: boolean;
}

/** Server-sent events, ended by `[DONE]` where the provider sends it. */
export const sseFraming: Framing = {
  frames: readSse,
  isEnd: (data) => data.startsWith('[DONE]'),
  jsonIsWhole: true,
};

/** Ask for a whole answer, and tell it. A request that cannot be made fails like one that is refused: once it is read. */
export function tellWhole(ask: () => Asking): AtOnce<CompletionEvent> {
  return new AtOnce(eventsOf(ask));
}

async function eventsOf(ask: () => Asking): Promise<readonly CompletionEvent[]> {
  const { http, request, reader, refusal } = ask();
  const { status, headers, body } = await http.fetch(request);
  if (!isSuccess(status)) throw refusal(status, headers, jsonOrText(body));
  readAll(reader, body);
  reader.end();
  return reader.events;
}

/**
 * Ask for a stream, and tell it as it comes.
 *
 * Content types lie, in both directions: an answer that begins like JSON where no stream does is read as a whole one.
 */
export async function* tellStreamed(ask: () => Asking, framing: Framing): AsyncGenerator<CompletionEvent> {
  const asking = ask();
  const { http, provider, request, reader, refusal } = asking;
  const { status, headers, body } = await http.stream(request);
  try {
    if (!isSuccess(status)) throw refusal(status, headers, jsonOrText(await readWhole(provider, body)));
    if (framing.jsonIsWhole && beginsAsJson(await body.peek())) {
      readAll(reader, await readWhole(provider, body));
    } else {
      for await (const events of readFrames(asking, framing, body)) {
        // Not `yield*`: over an array it makes two more promises an event.
        for (const event of events) yield event;
      }
    }
    reader.end();
    for (const event of reader.events) yield event;
  } finally {
    await body.return();
  }
}

/** What each read of the body tells, together: a promise for each event would cost more than the event. */
async function* readFrames(
  { provider, reader, refusal }: Asking,
  framing: Framing,
  body: ResponseBody,
): AsyncGenerator<CompletionEvent[]> {
  let bareText = '';
  const onBareText = (text: string) => {
    bareText = text;
  };
  for await (const frames of framing.frames(body, { provider, onBareText })) {
    let ended = false;
    let failure: GatewayError | undefined;
    try {
      for (const { event, data } of frames) {
        ended = framing.isEnd(data);
        if (ended) break;
        if (data.trim() === '') continue;
        const chunk = parse(reader, data);
        if (event === 'error') throw refusal(200, {}, asError(chunk));
        reader.readChunk(chunk, event);
      }
    } catch (cause) {
      failure = blame(reader, cause);
    }
    if (ended) body.release();
    // What came before a failure is told before it.
    if (reader.events.length > 0) yield reader.events.splice(0);
    if (failure) throw failure;
    if (ended) return;
  }
  const bare = bareText === '' ? undefined : jsonOrText(Buffer.from(bareText));
  if (isObject(bare) && bare.error) throw refusal(200, {}, bare);
}

/** Whatever an answer makes a reader stumble over, such as lists a hundred thousand deep, is the provider's fault, not a bug. */
function blame(reader: AnswerReader, cause: unknown): GatewayError {
  return cause instanceof GatewayError ? cause : reader.unreadable('the answer cannot be understood', cause);
}

function readAll(reader: AnswerReader, bytes: Buffer): void {
  try {
    reader.readWhole(parse(reader, bytes.toString()));
  } catch (cause) {
    throw blame(reader, cause);
  }
}

function parse(reader: AnswerReader, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw reader.unreadable('the answer is not JSON', cause);
  }
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** A body as JSON, or as the text that it is. */
export function jsonOrText(bytes: Buffer): unknown {
  const text = bytes.toString();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function beginsAsJson(bytes: Buffer | undefined): boolean {
  return /^\s*[{[]/.test(bytes?.subarray(0, 64).toString('latin1') ?? '');
}

/** What stands in an event of type `error`: an error with or without `error` around it. */
function asError(data: unknown): unknown {
  return isObject(data) && data.error ? data : { error: data };
}
