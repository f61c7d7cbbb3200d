import { randomBytes } from 'node:crypto';

const ID_BYTES = 16;
/** Random bits are drawn for many ids at once: alone each would cost as much as a layer. */
const DRAWN_BYTES = ID_BYTES * 256;
let pool = Buffer.alloc(0);
let used = 0;

/** Where the next 16 random bytes begin in the pool. */
function draw(): number {
  if (used === pool.length) {
    pool = randomBytes(DRAWN_BYTES);
    used = 0;
  }
  used += ID_BYTES;
  return used - ID_BYTES;
}

/** 128 random bits in hexadecimal. */
export function newId(): string {
  const at = draw();
  return pool.toString('hex', at, at + ID_BYTES);
}

const digits = Buffer.from('0123456789abcdef');
const DASH = 0x2d;
const text = Buffer.alloc(36);

/**
 * A random UUID, of version 4.
 *
 * Not by `randomUUID`, which puts together twenty texts and leaves them in pieces: whatever writes these to JSON or to a socket
 * takes longer, too.
 */
export function newUuid(): string {
  const from = draw();
  let to = 0;
  for (let at = 0; at < ID_BYTES; at++) {
    let byte = pool[from + at] as number;
    if (at === 6) byte = 0x40 | (byte & 0x0f);
    else if (at === 8) byte = 0x80 | (byte & 0x3f);
    if (at === 4 || at === 6 || at === 8 || at === 10) text[to++] = DASH;
    text[to++] = digits[byte >> 4] as number;
    text[to++] = digits[byte & 15] as number;
  }
  return text.toString('latin1');
}
