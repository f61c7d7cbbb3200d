import { randomBytes } from 'node:crypto';

const ID_BYTES = 16;
let pool = Buffer.alloc(0);
let used = 0;

/** 128 random bits in hexadecimal. They are drawn for many ids at once: alone each would cost as much as a layer. */
export function newId(): string {
  if (used === pool.length) {
    pool = randomBytes(ID_BYTES * 256);
    used = 0;
  }
  used += ID_BYTES;
  return pool.toString('hex', used - ID_BYTES, used);
}
