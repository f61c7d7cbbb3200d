/**
 * Judges the rounds of one run: what a call and a chunk cost in the gateway, as a ratio to the raw Node proxy of the same run, and
 * with traces and metrics, as a ratio to the gateway without.
 *
 *     node bench/report.ts RESULTS.json      exit code 1 if a row misses its target or cannot be compared
 */
import { readFileSync } from 'node:fs';

interface Round {
  readonly target: string;
  readonly round: number;
  readonly error?: string;
  readonly throughput?: {
    readonly cpu_us_per_req: number;
    readonly upstream_per_req: number;
    readonly e_status: number;
    readonly e_read: number;
    readonly e_timeout: number;
    readonly e_connect: number;
  };
  readonly sse?: Streams;
  readonly paced?: Streams;
}

interface Streams {
  readonly cpu_us_per_chunk: number;
  readonly streams: number;
  readonly chunks: number;
  readonly errors: number;
  readonly no_done: number;
}

/** Two targets to compare, and the most that each row of the second may cost in times of the first. */
interface Comparison {
  readonly base: string;
  readonly judged: string;
  readonly atMost: readonly [unary: number, burst: number, paced: number];
}

const comparisons: readonly Comparison[] = [
  { base: 'raw-node26', judged: 'ours', atMost: [3, 2.5, 1.5] },
  // Traces of one call in a hundred, and metrics, beside neither.
  { base: 'untold', judged: 'traced', atMost: [1.25, 1.1, 1.1] },
  // Calls, tokens, slots and a budget beside calls alone; with Redis that is one round trip, whatever its CPU.
  { base: 'ours', judged: 'limited', atMost: [1.15, 1.15, 1.15] },
  { base: 'ours', judged: 'limited-redis', atMost: [Infinity, Infinity, Infinity] },
];

/** A row: its title, and where a round has the figure. */
const rows: [title: string, cost: (round: Round) => number | undefined][] = [
  ['unary call, 64 connections', (round) => round.throughput?.cpu_us_per_req],
  ['streamed chunk, in a burst', (round) => round.sse?.cpu_us_per_chunk],
  ['streamed chunk, 5 ms apart', (round) => round.paced?.cpu_us_per_chunk],
];

const { runs } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as { runs: Round[] };

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  const [low = Number.NaN, high = Number.NaN] = [sorted[sorted.length % 2 ? middle : middle - 1], sorted[middle]];
  return (low + high) / 2;
}

function costs(target: string, cost: (round: Round) => number | undefined): number[] {
  return runs.filter((round) => round.target === target).flatMap((round) => cost(round) ?? []);
}

/** Why the figures of a round mean nothing: a gateway that refuses, merges chunks or asks twice does other work. */
function flaws({ error, throughput, sse, paced }: Round): string[] {
  if (error) return [error];
  const found: string[] = [];
  if (throughput) {
    const { e_status, e_read, e_timeout, e_connect, upstream_per_req } = throughput;
    const refused = e_status + e_read + e_timeout + e_connect;
    if (refused > 0) found.push(`${refused} unary calls failed`);
    if (Math.abs(upstream_per_req - 1) > 0.05) found.push(`${upstream_per_req} upstream requests for each call`);
  }
  for (const streams of [sse, paced]) {
    if (!streams) continue;
    if (streams.errors + streams.no_done > 0) found.push(`${streams.errors + streams.no_done} streams failed`);
  }
  return found;
}

const format = (value: number) => value.toFixed(1).padStart(7);
let missed = false;
for (const { base, judged, atMost } of comparisons) {
  const present = new Set(runs.map(({ target }) => target));
  if (!present.has(base) || !present.has(judged)) continue;
  console.log(`CPU µs for each${' '.repeat(14)}${base.padStart(10)} ${judged.padStart(7)}   ratio  at most  rounds`);
  for (const [row, [title, cost]] of rows.entries()) {
    const [before, after] = [costs(base, cost), costs(judged, cost)];
    const most = atMost[row] ?? Number.NaN;
    const ratio = median(after) / median(before);
    const within = ratio <= most;
    missed ||= !within;
    const figures = `${format(median(before))}  ${format(median(after))} ${ratio.toFixed(2).padStart(7)} ${most.toFixed(2).padStart(8)}`;
    console.log(`${title.padEnd(29)} ${figures}  ${before.length}/${after.length}${within ? '' : '  missed'}`);
  }
}
for (const round of runs) {
  for (const flaw of flaws(round)) {
    missed = true;
    console.log(`not comparable: ${round.target}, round ${round.round}: ${flaw}`);
  }
}
process.exitCode = missed ? 1 : 0;
