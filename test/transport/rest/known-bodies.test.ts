import { describe, expect, it } from 'vitest';
import { optionHeaders, optionsFromHeaders } from '../../../src/transport/rest/call-options.ts';
import type { Exchange } from '../../../src/transport/rest/exchange.ts';
import { KnownBodies, type ReadBody } from '../../../src/transport/rest/known-bodies.ts';
import { readOpenaiRequest } from '../../../src/transport/rest/openai-request.ts';

const noHeaders = { header: () => undefined } as unknown as Exchange;

function bodyOf(text: string, padding = ''): Buffer {
  return Buffer.from(JSON.stringify({ model: 'fast', messages: [{ role: 'user', content: text }], padding }));
}

function read(bytes: Buffer): ReadBody {
  const body = JSON.parse(bytes.toString());
  return { chat: readOpenaiRequest(body, optionsFromHeaders(noHeaders)), requestId: body.request_id };
}

it('headers that give options are those that are read for them', () => {
  const asked: string[] = [];
  optionsFromHeaders({ header: (name: string) => void asked.push(name) } as unknown as Exchange);
  expect(asked.sort()).toEqual([...optionHeaders].sort());
});

describe('bodies that came before', () => {
  it('are known by all of their bytes', () => {
    const bodies = new KnownBodies();
    const bytes = bodyOf('hé');
    expect(bodies.find(bytes)).toBeUndefined();
    bodies.keep(bytes, read(bytes));
    const found = bodies.find(bodyOf('hé'));
    expect(found?.chat.request).toEqual(read(bytes).chat.request);
    expect(found?.chat.stream).toBe(false);
    for (const at of bytes.keys()) {
      const other = Buffer.from(bytes);
      other[at] = (other[at] ?? 0) ^ 1;
      expect(bodies.find(other)).toBeUndefined();
    }
    expect(bodies.find(Buffer.concat([bytes, Buffer.from(' ')]))).toBeUndefined();
  });

  it('give each call a request of its own, of which the next one sees nothing', () => {
    const bodies = new KnownBodies();
    const bytes = bodyOf('hi');
    bodies.keep(bytes, read(bytes));
    const first = bodies.find(bytes);
    const second = bodies.find(bytes);
    expect(second?.facts).toBe(first?.facts);
    expect(second?.chat.request).not.toBe(first?.chat.request);
    if (first) first.chat.request.model = 'changed';
    expect(bodies.find(bytes)?.chat.request.model).toBe('fast');
    expect(() => first?.chat.request.messages.pop()).toThrow(TypeError);
    expect(() => Object.assign(first?.chat.request.messages[0] ?? {}, { name: 'changed' })).toThrow(TypeError);
    expect(() => Object.assign(first?.chat.request.options ?? {}, { provider: 'changed' })).toThrow(TypeError);
  });

  it('are forgotten for others, those first that nobody asked for', () => {
    const bodies = new KnownBodies();
    const all = Array.from({ length: 600 }, (_, index) => bodyOf(`question ${index}`));
    for (const bytes of all) {
      bodies.keep(bytes, read(bytes));
      expect(bodies.find(all[0] as Buffer)).toBeDefined();
    }
    const known = all.map((bytes) => bodies.find(bytes) !== undefined);
    expect(known.filter(Boolean).length).toBe(500);
    expect([known[0], known[1], known.at(-1)]).toEqual([true, false, true]);
  });

  it('have a bound for all of them, and long ones are not kept', () => {
    const bodies = new KnownBodies();
    const long = bodyOf('hi', 'x'.repeat(16 * 1024));
    expect([bodies.mayKeep(bodyOf('hi')), bodies.mayKeep(long)]).toEqual([true, false]);
    const all = Array.from({ length: 300 }, (_, index) => bodyOf(`question ${index}`, 'x'.repeat(16_000)));
    for (const bytes of all) bodies.keep(bytes, read(bytes));
    const known = all.filter((bytes) => bodies.find(bytes));
    expect(known.length).toBeGreaterThan(100);
    expect(known.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(2 * 1024 * 1024);
  });

  it('are kept once: what was found out about one stays', () => {
    const bodies = new KnownBodies();
    const bytes = bodyOf('hi');
    bodies.keep(bytes, read(bytes));
    const before = bodies.find(bytes)?.facts;
    bodies.keep(bytes, read(bytes));
    expect(bodies.find(bytes)?.facts).toBe(before);
  });
});
