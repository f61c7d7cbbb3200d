import { describe, expect, it } from 'vitest';
import { maxLineCharacters, readNdjson } from '../../src/providers/ndjson.ts';

async function* bodyOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

/** The lines of a body, read by read. */
async function readsOf(pieces: readonly (string | Uint8Array)[]): Promise<string[][]> {
  const bytes = pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece));
  const reads: string[][] = [];
  for await (const lines of readNdjson(bodyOf(bytes), { provider: 'upstream' })) {
    reads.push(lines.map(({ data }) => data.trim()));
  }
  return reads;
}

const tooLong = { reason: 'provider_protocol', message: /^upstream sent a line of more than 1048576 characters$/ };

describe('readNdjson', () => {
  it.each<[ending: string, text: string, lines: string[]]>([
    ['line feeds', '{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']],
    ['carriage returns and line feeds', '{"a":1}\r\n{"b":2}\r\n', ['{"a":1}', '{"b":2}']],
    ['no end of the last line', '{"a":1}\n{"b":2}', ['{"a":1}', '{"b":2}']],
    ['empty lines', '\n{"a":1}\n\n \r\n{"b":2}\n\n', ['{"a":1}', '{"b":2}']],
    ['characters of two to four bytes', '{"a":"é€😀"}\n', ['{"a":"é€😀"}']],
    ['nothing at all', '', []],
  ])('reads lines with %s, however they are cut', async (_, text, lines) => {
    const bytes = Buffer.from(text);

    expect((await readsOf([bytes])).flat()).toEqual(lines);
    expect((await readsOf([...bytes].map((byte) => Uint8Array.of(byte)))).flat()).toEqual(lines);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect((await readsOf([bytes.subarray(0, cut), bytes.subarray(cut)])).flat()).toEqual(lines);
    }
  });

  it('hands over all lines of one read together', async () => {
    expect(await readsOf(['1\n2\n3', '4\n5\n'])).toEqual([
      ['1', '2'],
      ['34', '5'],
    ]);
  });

  const longest = 'x'.repeat(maxLineCharacters);

  it.each([
    ['in one read', [`${longest}\n`]],
    ['in two reads', [longest.slice(9), `${longest.slice(-9)}\n`]],
    ['without an end', [longest]],
  ])('takes a line of the most characters %s', async (_, pieces) => {
    expect((await readsOf(pieces)).flat()).toEqual([longest]);
  });

  it.each([
    ['ends', [`{}\n${'x'.repeat(maxLineCharacters + 1)}\n{}\n`]],
    ['is cut', ['{}\n', 'x'.repeat(maxLineCharacters), 'x\n']],
    ['never ends', Array.from({ length: 20 }, () => 'x'.repeat(65_536))],
  ])('refuses a longer line that %s', async (_, pieces) => {
    const { reason, message } = tooLong;
    await expect(readsOf(pieces)).rejects.toMatchObject({ reason, message: expect.stringMatching(message) });
  });

  it('waits for no more of a line than it may have', async () => {
    let reads = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; reads < 100; reads++) yield Buffer.alloc(65_536, 'x');
    }

    const reading = (async () => {
      for await (const _ of readNdjson(endless(), { provider: 'upstream' }));
    })();

    await expect(reading).rejects.toMatchObject({ reason: 'provider_protocol' });
    expect(reads).toBe(16);
  });

  it('shows that the last character is cut', async () => {
    expect((await readsOf([Buffer.from('{"a":"é').subarray(0, -1)])).flat()).toEqual(['{"a":"\ufffd']);
  });
});
