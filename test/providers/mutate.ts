import type { Random } from '../support/recut.ts';

/** Values that no server should send in the place of another. */
const oddValues = [
  'null',
  '[]',
  '{}',
  '-1',
  '1e999',
  '0.5',
  'true',
  '""',
  '"\\ud800"',
  '{"a":[null]}',
  '[{}]',
  '[[]]',
  '[null]',
];

/** What can happen to the bytes of an answer. */
const mutations: readonly ((body: Buffer, random: Random) => Buffer)[] = [
  flipBytes,
  (body, random) => body.subarray(0, placeIn(body, random)),
  (body, random) => body.subarray(placeIn(body, random)),
  (body) => Buffer.concat([body, body]),
  (body, random) => insert(body, placeIn(body, random), someOf(body, random)),
  (body, random) => insert(body, placeIn(body, random), Buffer.from([0xff, 0xfe, 0xc3, 0x28, 0x00, 0xed, 0xa0, 0x80])),
  removeSome,
  replaceValue,
  replaceValue,
  replaceValue,
];

/** Break an answer in one to three ways, and now and then with a line of 10 MB. */
export function mutate(body: Buffer, random: Random): Buffer {
  let broken = body;
  for (let left = 1 + Math.floor(random() * 3); left > 0; left--) {
    const mutation = mutations[Math.floor(random() * mutations.length)];
    if (mutation) broken = mutation(broken, random);
  }
  if (random() < 0.01) broken = insert(broken, placeIn(broken, random), Buffer.alloc(10_000_000, 'x'));
  return broken;
}

function placeIn({ length }: Buffer, random: Random): number {
  return Math.floor(random() * (length + 1));
}

function insert(body: Buffer, at: number, bytes: Buffer): Buffer {
  return Buffer.concat([body.subarray(0, at), bytes, body.subarray(at)]);
}

function someOf(body: Buffer, random: Random): Buffer {
  const from = placeIn(body, random);
  return body.subarray(from, from + Math.floor(random() * 500));
}

function flipBytes(body: Buffer, random: Random): Buffer {
  const flipped = Buffer.from(body);
  for (let left = 1 + Math.floor(random() * 5); left > 0 && flipped.length > 0; left--) {
    flipped[Math.floor(random() * flipped.length)] = Math.floor(random() * 256);
  }
  return flipped;
}

function removeSome(body: Buffer, random: Random): Buffer {
  const from = placeIn(body, random);
  return Buffer.concat([body.subarray(0, from), body.subarray(from + 1 + Math.floor(random() * 200))]);
}

/** Another value under some key: valid JSON that means nothing. */
function replaceValue(body: Buffer, random: Random): Buffer {
  const text = body.toString();
  const members = [...text.matchAll(/"\w+": ?("(?:[^"\\]|\\.)*"|[-\d.]+|true|false|null|[[{])/g)];
  const member = members[Math.floor(random() * members.length)];
  const value = member?.[1];
  if (member === undefined || value === undefined) return body;
  const odd = oddValues[Math.floor(random() * oddValues.length)] ?? '';
  const from = member.index + member[0].length - value.length;
  const to = value === '[' || value === '{' ? endOf(text, from) : from + value.length;
  return Buffer.from(text.slice(0, from) + odd + text.slice(to));
}

/** The end of the object or array that begins at a place, as far as brackets within texts do not mislead. */
function endOf(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const character = text[at];
    if (character === '[' || character === '{') depth++;
    else if (character === ']' || character === '}') depth--;
    if (depth === 0) return at + 1;
  }
  return text.length;
}
