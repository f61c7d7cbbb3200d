/** Far more than any model reads, and little enough that the sum of four fits into a field of the contract. */
const mostTokens = 2 ** 30 - 1;

/** A number of tokens that a provider counted; undefined: it is none. */
export function readTokenCount(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 ? Math.min(Math.trunc(value), mostTokens) : undefined;
}
