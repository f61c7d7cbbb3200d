/** A longer text would hold up everybody else. */
const maxWords = 500;

/** Make up the unit vector of a text: a pure function of its words, so that texts with common words are near each other. */
export function makeUpVector(text: string, dimensions = 256): number[] {
  const sum = new Float64Array(dimensions);
  for (const word of text
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu)
    ?.slice(0, maxWords) ?? [text]) {
    let state = hash(word);
    for (let at = 0; at < dimensions; at++) {
      state = next(state);
      sum[at] = (sum[at] ?? 0) + state / 0x80000000 - 1;
    }
  }
  const length = Math.sqrt(sum.reduce((total, value) => total + value * value, 0)) || 1;
  return [...sum].map((value) => Math.fround(value / length));
}

/** FNV-1a. */
function hash(word: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < word.length; at++) value = Math.imul(value ^ word.charCodeAt(at), 0x01000193);
  return value >>> 0 || 1;
}

/** Xorshift. */
function next(state: number): number {
  let value = state;
  value ^= value << 13;
  value ^= value >>> 17;
  value ^= value << 5;
  return value >>> 0;
}
