import { describe, expect, it } from 'vitest';
import { GatewayError } from '../../src/errors.ts';
import { maxSseCharacters, readSse, type SseEvent } from '../../src/providers/sse.ts';

async function* bodyOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

async function read(
  pieces: readonly (string | Uint8Array)[],
): Promise<{ events: SseEvent[]; bare: string | undefined }> {
  const events: SseEvent[] = [];
  let bare: string | undefined;
  const onBareText = (text: string) => {
    bare = text;
  };
  const bytes = pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece));
  for await (const batch of readSse(bodyOf(bytes), { provider: 'upstream', onBareText })) {
    events.push(...batch.map(({ event, data }) => (event === undefined ? { data } : { event, data })));
  }
  return { events, bare };
}

const streams: Record<string, [stream: string, events: SseEvent[], bare?: string]> = {
  'line feeds': ['data: a\n\ndata: b\n\n', [{ data: 'a' }, { data: 'b' }]],
  'carriage returns': ['data: a\r\rdata: b\r\r', [{ data: 'a' }, { data: 'b' }]],
  'carriage returns and line feeds': ['data: a\r\n\r\ndata: b\r\n\r\n', [{ data: 'a' }, { data: 'b' }]],
  'a byte order mark': ['\ufeffdata: a\n\n', [{ data: 'a' }]],
  comments: [': OPENROUTER PROCESSING\n\ndata: a\n: more\n\n', [{ data: 'a' }]],
  'data of several lines': ['data: a\ndata: b\ndata\n\n', [{ data: 'a\nb\n' }]],
  'types, ids and no space': [
    'event:error\nid:7\nretry:10\ndata:x\n\ndata:y\n\n',
    [{ event: 'error', data: 'x' }, { data: 'y' }],
  ],
  'characters of two to four bytes': ['data: é€😀\n\n', [{ data: 'é€😀' }]],
  'a last event without its blank line': ['data: a\n\ndata: b\n', [{ data: 'a' }, { data: 'b' }]],
  'a last line without its end': ['data: a\n\ndata: b', [{ data: 'a' }, { data: 'b' }]],
  'bare JSON at its end': [
    'data: a\r\n\r\n{\r\n  "error": {\r\n    "code": 503\r\n  }\r\n}\r\n',
    [{ data: 'a' }],
    '{\n  "error": {\n    "code": 503\n  }\n}',
  ],
  'bare JSON that begins like a field': ['data: a\n\n"data": 1\n', [{ data: 'a' }], '"data": 1'],
};

describe('a stream with', () => {
  for (const [name, [stream, events, bare]] of Object.entries(streams)) {
    it(`${name} reads the same wherever it is cut`, async () => {
      const bytes = Buffer.from(stream);

      expect(await read([bytes])).toEqual({ events, bare });
      expect(await read(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual({ events, bare });
      for (let at = 1; at < bytes.length; at++) {
        expect(await read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual({ events, bare });
      }
    });
  }
});

describe('readSse', () => {
  it('hands over all events of one read together', async () => {
    const batches: number[] = [];
    const body = bodyOf([Buffer.from('data: a\n\ndata: b\n\ndata: c'), Buffer.from('\n\n')]);
    for await (const batch of readSse(body, { provider: 'upstream' })) batches.push(batch.length);

    expect(batches).toEqual([2, 1]);
  });

  it('hands over an event as soon as its blank line is there', async () => {
    const pulled: number[] = [];
    async function* body() {
      for (const [index, piece] of ['data: a\n\n', 'data: b\n\n'].entries()) {
        pulled.push(index);
        yield Buffer.from(piece);
      }
    }

    const batch = await readSse(body(), { provider: 'upstream' }).next();

    expect(batch.value).toMatchObject([{ data: 'a' }]);
    expect(pulled).toEqual([0]);
  });

  it('replaces bytes that are no UTF-8', async () => {
    const { events } = await read(['data: a', Uint8Array.of(0xff), 'b\n\n', 'data: c', Uint8Array.of(0xe2, 0x82)]);

    expect(events).toEqual([{ data: 'a\ufffdb' }, { data: 'c\ufffd' }]);
  });

  const tooLong = 'x'.repeat(maxSseCharacters + 1);
  it.each([
    ['a line', [`data: ${tooLong}`]],
    ['a line in pieces', ['data: ', ...Array.from({ length: 17 }, () => 'x'.repeat(65_536))]],
    ['a comment', [`: ${tooLong}`, '\n']],
    ['an event of many lines', Array.from({ length: 18 }, () => `data: ${'x'.repeat(65_536)}\n`)],
    ['bare text', Array.from({ length: 18 }, () => `{${'x'.repeat(65_536)}\n`)],
  ])('refuses %s of more than 1 MiB', async (_, pieces) => {
    const error = await read(pieces).catch((cause) => cause);

    expect(error).toBeInstanceOf(GatewayError);
    expect(error.reason).toBe('provider_protocol');
    expect(error.message).toContain(String(maxSseCharacters));
  });

  it('reads a line of 1 MB', async () => {
    const { events } = await read([`data: ${'x'.repeat(1_000_000)}`, '\n\n']);

    expect(events[0]?.data.length).toBe(1_000_000);
  });

  it('passes the failure of the body on', async () => {
    const failure = new Error('lost');
    async function* body() {
      yield Buffer.from('data: a\n\ndata: b');
      throw failure;
    }

    const seen: SseEvent[] = [];
    const reading = (async () => {
      for await (const batch of readSse(body(), { provider: 'upstream' })) seen.push(...batch);
    })();

    await expect(reading).rejects.toBe(failure);
    expect(seen.length).toBe(1);
  });
});
