/** Where a span stands, as W3C's headers tell it. */
export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
  /** What other tracing systems have added, as it came; empty: nothing. */
  readonly state: string;
}

/** Longer ones need not be passed on. */
const MOST_STATE = 512;
const parent = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * Read the headers `traceparent` and `tracestate`; undefined if they name no span.
 *
 * @see https://www.w3.org/TR/trace-context/
 */
export function readTraceParent(header: (name: string) => string | null | undefined): TraceParent | undefined {
  const text = header('traceparent');
  if (!text) return undefined;
  const [, version, traceId = '', spanId = '', flags = '', more] = parent.exec(text.trim()) ?? [];
  // Later versions may say more, and must begin like this one.
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  const state = header('tracestate')?.trim() ?? '';
  return {
    traceId,
    spanId,
    sampled: (Number.parseInt(flags, 16) & 1) === 1,
    state: state.length <= MOST_STATE && /^[\x20-\x7e]*$/.test(state) ? state : '',
  };
}

/** The headers that lead to a span. */
export function traceHeaders({ traceId, spanId, sampled, state }: TraceParent): Record<string, string> {
  const headers = { traceparent: `00-${traceId}-${spanId}-${sampled ? '01' : '00'}` };
  return state === '' ? headers : { ...headers, tracestate: state };
}
