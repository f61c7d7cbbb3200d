/**
 * What can be said of a text now. A character that is cut between two chunks waits for its other half, in `held`: upstreams do
 * escape the halves of a surrogate pair in two chunks, and no wire of ours carries half a character.
 */
export function withoutHalfPair(part: { held: string }, text: string): string {
  if (part.held === '' && text.isWellFormed()) return text;
  const joined = part.held + text;
  const last = joined.charCodeAt(joined.length - 1);
  const isCut = last >= 0xd800 && last <= 0xdbff;
  part.held = isCut ? joined.slice(-1) : '';
  return (isCut ? joined.slice(0, -1) : joined).toWellFormed();
}
