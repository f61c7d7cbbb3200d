import type { CompletionEvent } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../errors.ts';
import { accountHeaders } from '../account-headers.ts';
import type { OpenCall } from '../call.ts';
import type { Exchange, Headers } from './exchange.ts';
import { eventStreamHeaders, SseWriter } from './sse-writer.ts';

/** Turns the events of one completion into frames of one door's shape. */
export interface FrameWriter {
  /** What an event looks like; empty: nothing to show. */
  frames(event: CompletionEvent): string;
  /** What stands after the last event of a whole answer. */
  done(): string;
  /** What stands after a failure. */
  failed(error: GatewayError): string;
}

/** A sign of life that every parser of server-sent events skips. */
const PING = ': ping\n\n';

/** What streams are written with. */
export interface StreamOptions {
  /** Whether frames that come together may share a piece. Node joins what is written in one turn: if not, a turn is waited. */
  readonly joining: boolean;
  /** How long a reader may read nothing, in milliseconds. */
  readonly stallMs: number;
  /** The caller's name for a field of the contract. */
  readonly nameOf: (field: string) => string;
}

/**
 * Answer with the events of a call as they come.
 *
 * - The headers wait for the first event, so that a call which fails before it is answered with its real status: an error thrown
 *   by then is thrown on. A heartbeat sends them early, without the provider's name.
 * - After them a failure is one frame, and the stream ends without what marks a whole answer.
 * - A reader who is behind stops the events; one who leaves ends the call at once, down to the provider.
 */
export async function streamAnswer(
  exchange: Exchange,
  call: OpenCall,
  events: AsyncIterable<CompletionEvent>,
  frameWriter: FrameWriter,
  options: StreamOptions,
): Promise<void> {
  const { response } = exchange;
  const iterator = events[Symbol.asyncIterator]();
  const writer = new SseWriter(response, options);
  exchange.whenLeft(() => {
    call.leave();
    writer.close();
    // A generator that waits at a yield ends here; one that works ends by the signal.
    iterator.return?.().catch(() => {});
  });
  let whole = false;
  try {
    while (!exchange.left) {
      const result = await iterator.next();
      if (result.done || exchange.left) break;
      const event = result.value;
      if (!response.headersSent) response.writeHead(200, exchange.headers(...headersOf(event, call, options)));
      if (event.event.case === 'heartbeat') writer.write(PING);
      else {
        const frames = frameWriter.frames(event);
        if (frames !== '') writer.write(frames);
        whole = event.event.case === 'finished';
      }
      if (writer.behind) await writer.drained();
      else if (!options.joining) await new Promise<void>((resolve) => process.nextTick(resolve));
    }
    if (exchange.left) return;
    if (!whole) throw new GatewayError('provider_protocol', 'the answer ended before it was finished');
    writer.end(frameWriter.done());
  } catch (cause) {
    if (exchange.left) return;
    if (!response.headersSent) throw cause;
    writer.end(frameWriter.failed(GatewayError.from(cause)));
  }
  exchange.cutIfUnread();
}

function headersOf({ event }: CompletionEvent, { context }: OpenCall, { nameOf }: StreamOptions): Headers[] {
  if (event.case !== 'started') return [eventStreamHeaders];
  const { account } = context;
  const attempts = { 'x-gateway-attempts': account.tries };
  return [eventStreamHeaders, answeringHeaders(event.value, nameOf), accountHeaders(account), attempts];
}

/** The headers that tell who answers, and which fields of the request were left out. */
export function answeringHeaders(
  { provider, droppedFields }: { readonly provider: string; readonly droppedFields: readonly string[] },
  nameOf: (field: string) => string,
): Headers {
  const headers: Headers = { 'x-selected-provider': provider };
  if (droppedFields.length > 0) {
    // Names of extras are the caller's: whatever a header cannot hold is shown as a question mark.
    headers['x-gateway-dropped-params'] = droppedFields
      .map(nameOf)
      .join(', ')
      .replace(/[^\x20-\x7e]/g, '?');
  }
  return headers;
}
