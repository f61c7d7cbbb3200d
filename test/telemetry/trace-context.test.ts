import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readTraceParent, traceHeaders } from '../../src/telemetry/trace-context.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';

function read(traceparent: string, tracestate?: string) {
  return readTraceParent((name) => (name === 'traceparent' ? traceparent : tracestate));
}

describe('the trace in the headers', () => {
  it('is read', () => {
    expect(read(`00-${traceId}-${spanId}-01`, 'a=1,b=2')).toEqual({ traceId, spanId, sampled: true, state: 'a=1,b=2' });
    expect(read(`00-${traceId}-${spanId}-00`)).toEqual({ traceId, spanId, sampled: false, state: '' });
  });

  it('may be of a later version, which may say more', () => {
    expect(read(`42-${traceId}-${spanId}-03-more`)).toMatchObject({ traceId, sampled: true });
  });

  it.each([
    '',
    'nonsense',
    `00-${traceId}-${spanId}`,
    `00-${traceId}-${spanId}-01-more`,
    `ff-${traceId}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${traceId}-${spanId}-1`,
    `00-${traceId}1-${spanId}-01`,
  ])('is none where it is malformed: %s', (text) => {
    expect(read(text)).toBeUndefined();
  });

  it.each(['x'.repeat(513), 'a=1\n', 'ä=1'])('goes on without a state that cannot be passed on: %j', (state) => {
    expect(read(`00-${traceId}-${spanId}-01`, state)?.state).toBe(state === 'a=1\n' ? 'a=1' : '');
  });

  it('is what was written, whatever it is', () => {
    const id = (size: number) =>
      fc
        .uint8Array({ minLength: size, maxLength: size })
        .filter((bytes) => bytes.some((byte) => byte > 0))
        .map((bytes) => Buffer.from(bytes).toString('hex'));
    fc.assert(
      fc.property(id(16), id(8), fc.boolean(), fc.constantFrom('', 'vendor=x'), (trace, span, sampled, state) => {
        const parent = { traceId: trace, spanId: span, sampled, state };
        const headers: Record<string, string> = traceHeaders(parent);
        expect(readTraceParent((name) => headers[name])).toEqual(parent);
      }),
    );
  });

  it('is read from anything without failing', () => {
    fc.assert(fc.property(fc.string(), fc.string(), (parent, state) => void read(parent, state)));
  });
});
