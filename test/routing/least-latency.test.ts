import { beforeEach, describe, expect, it } from 'vitest';
import { RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import { Observations } from '../../src/routing/observations.ts';
import { order, type Rated } from '../../src/routing/strategies.ts';
import { Turn } from '../../src/routing/turn.ts';
import { rated, sight } from './rated.ts';

/** How a target answers: after so many milliseconds; and whether it then fails. */
interface Manner {
  readonly ms: number;
  readonly fails?: boolean;
}

/** A gateway that sends a call every 50 ms to the target that is first by latency, on a clock of its own. */
class Simulation {
  now = 0;
  readonly manners = new Map<Rated, Manner>();
  readonly #observations = new Observations(() => this.now);
  readonly #turn = new Turn();
  readonly #underWay = new Set<{ readonly endsAt: number; readonly end: () => void }>();

  /** Run for so many seconds; tells what share of the calls each target got. */
  run(seconds: number): (target: Rated) => number {
    const counts = new Map<Rated, number>();
    const until = this.now + seconds * 1_000;
    const calls = seconds * 20;
    for (; this.now < until; this.now += 50) {
      this.#endCalls();
      const first = this.#call();
      counts.set(first, (counts.get(first) ?? 0) + 1);
    }
    return (target) => (counts.get(target) ?? 0) / calls;
  }

  #call(): Rated {
    const record = ({ provider, model }: Rated) => this.#observations.ofTarget(provider.name, model);
    const view = sight<Rated>({ turn: this.#turn, latencyCost: (target) => record(target).latencyCost(true) });
    const [first] = order(RoutingStrategy.LEAST_LATENCY, [...this.manners.keys()], view);
    const manner = first && this.manners.get(first);
    if (!first || !manner) throw new Error('there are no targets');
    const attempts = this.#observations.attemptsAt(first.provider.name, first.model);
    const { ms, fails = false } = manner;
    attempts.begin(true);
    const end = () => {
      if (!fails) attempts.firstContent(ms, true);
      attempts.end(fails ? { ok: false, reason: 'provider_unavailable' } : { ok: true }, ms, true);
    };
    this.#underWay.add({ endsAt: this.now + ms, end });
    return first;
  }

  /** End the calls that are due, each at its own time. */
  #endCalls(): void {
    const { now } = this;
    const due = [...this.#underWay].filter(({ endsAt }) => endsAt <= now).sort((a, b) => a.endsAt - b.endsAt);
    for (const call of due) {
      this.#underWay.delete(call);
      this.now = call.endsAt;
      call.end();
    }
    this.now = now;
  }
}

describe('twenty calls a second by least latency, over three targets that take 100 ms', () => {
  const [a, b, c] = [rated('a'), rated('b'), rated('c')];
  let simulation: Simulation;

  beforeEach(() => {
    simulation = new Simulation();
    for (const target of [a, b, c]) simulation.manners.set(target, { ms: 100 });
  });

  it('are shared evenly', () => {
    const share = simulation.run(60);
    for (const target of [a, b, c]) expect(share(target)).toBeCloseTo(1 / 3, 1);
  });

  it('go elsewhere within ten seconds where one becomes ten times slower', () => {
    simulation.run(30);
    simulation.manners.set(b, { ms: 1_000 });
    const share = simulation.run(10);
    expect(share(a) + share(c)).toBeGreaterThanOrEqual(0.9);
  });

  it('still try the slow one now and then, and seldom', () => {
    simulation.run(30);
    simulation.manners.set(b, { ms: 1_000 });
    simulation.run(10);
    const share = simulation.run(300);
    expect(share(b)).toBeGreaterThan(0);
    expect(share(b)).toBeLessThan(0.02);
  });

  it('come back to it within a minute of its recovery', () => {
    simulation.run(30);
    simulation.manners.set(b, { ms: 1_000 });
    simulation.run(120);
    simulation.manners.set(b, { ms: 100 });
    simulation.run(60);
    expect(simulation.run(10)(b)).toBeGreaterThanOrEqual(0.2);
  });

  it('try a new target at once, with one call while nothing is known of it', () => {
    const slow = rated('new');
    simulation.run(30);
    simulation.manners.set(slow, { ms: 2_000 });
    expect(simulation.run(2)(slow)).toBe(1 / 40);
    expect(simulation.run(8)(slow)).toBe(0);
  });

  it('share with a new target that is as quick', () => {
    const quick = rated('new');
    simulation.run(30);
    simulation.manners.set(quick, { ms: 100 });
    expect(simulation.run(10)(quick)).toBeCloseTo(1 / 4, 1);
  });

  it('are not attracted by a target that fails at once', () => {
    simulation.run(30);
    simulation.manners.set(b, { ms: 2, fails: true });
    expect(simulation.run(10)(b)).toBeLessThan(0.02);
    expect(simulation.run(300)(b)).toBeLessThan(0.01);
  });

  it('come back to it within a minute of its recovery, too', () => {
    simulation.run(30);
    simulation.manners.set(b, { ms: 2, fails: true });
    simulation.run(120);
    simulation.manners.set(b, { ms: 100 });
    simulation.run(60);
    expect(simulation.run(10)(b)).toBeGreaterThanOrEqual(0.2);
  });

  it('go to the quickest while it is not too busy', () => {
    simulation.manners.set(a, { ms: 20 });
    expect(simulation.run(60)(a)).toBeGreaterThan(0.9);
  });
});
