/** The most characters of a text that a caller or a provider wrote; names in requests that are valid are shorter. */
const MOST = 512;

/**
 * A text of somebody else, as lines and spans tell it: with an end where it has none.
 *
 * What a request is refused for may be as long as its body, and both are kept for a while: a thousand lines, thousands of spans.
 */
export function clipped(text: string): string {
  if (text.length <= MOST) return text;
  // A copy: as long as a slice lives, V8 keeps the whole text that it is of.
  return Buffer.from(`${text.slice(0, MOST)}…`).toString();
}
