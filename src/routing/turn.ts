/** What takes its turn: a provider's model. */
interface Taker {
  readonly provider: { readonly name: string };
  readonly model: string;
  /** How many turns it gets beside the others. */
  readonly weight: number;
}

/** Groups are not larger as a rule; targets that come and go must not pile up. */
const maxRemembered = 200;

/**
 * Whose turn it is in one group of targets: smooth weighted round robin.
 *
 * - Over as many turns as the weights sum up to, each target is first as often as its weight says, and the turns of a heavy
 *   one are spread out. Equal weights rotate.
 * - A target that is missing keeps its place: it neither loses turns nor gets more once it is back.
 * - One without weight is never first, except among its like.
 *
 * It is nginx's algorithm: https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1
 */
export class Turn {
  /** How much each target has waited for its turn, by provider and model. */
  readonly #waited = new Map<string, number>();

  /** The same turns, for somebody who only looks. */
  copy(): Turn {
    const copy = new Turn();
    for (const [key, waited] of this.#waited) copy.#waited.set(key, waited);
    return copy;
  }

  /** The targets, first the one whose turn it is, then those that have waited longest. The turn is thereby taken. */
  next<T extends Taker>(targets: readonly T[]): T[] {
    const total = targets.reduce((sum, { weight }) => sum + weight, 0);
    const waiting = targets.map((target) => {
      const key = keyOf(target);
      const weight = total === 0 ? 1 : target.weight;
      const waited = (this.#waited.get(key) ?? 0) + weight;
      return { target, key, weight, waited };
    });
    waiting.sort((a, b) => Number(b.weight > 0) - Number(a.weight > 0) || b.waited - a.waited);
    const [first] = waiting;
    if (first) first.waited -= total || targets.length;
    if (this.#waited.size + waiting.length > maxRemembered) this.#waited.clear();
    for (const { key, waited } of waiting) this.#waited.set(key, waited);
    return waiting.map(({ target }) => target);
  }
}

function keyOf({ provider, model }: Taker): string {
  return `${provider.name}/${model}`;
}
