/**
 * Lists the functions of a CPU profile by the time they took themselves, and the packages they are of.
 *
 *     node bench/profile.ts FILE.cpuprofile
 */
import { readFileSync } from 'node:fs';

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const ROWS = 40;
const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Profile;
const frames = new Map(nodes.map((node) => [node.id, node.callFrame]));

/** A source file in few words: our own by its path, a package by its name. */
function placeOf(url: string): string {
  const [, ofPackage] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? [];
  return ofPackage ?? url.replace(/^.*\/(?=(src|gen)\/)/, '');
}

const byFunction = new Map<string, number>();
const byPlace = new Map<string, number>();
let busy = 0;
for (const [index, id] of samples.entries()) {
  const frame = frames.get(id);
  if (frame === undefined || frame.functionName === '(idle)') continue;
  const time = timeDeltas[index] ?? 0;
  const place = placeOf(frame.url);
  const name = `${frame.functionName || '(anonymous)'} ${place}${frame.url ? `:${frame.lineNumber + 1}` : ''}`;
  const owner =
    place.startsWith('src/') || place.startsWith('gen/') ? place : place.split(':')[0] || frame.functionName;
  byFunction.set(name, (byFunction.get(name) ?? 0) + time);
  byPlace.set(owner, (byPlace.get(owner) ?? 0) + time);
  busy += time;
}

function print(title: string, times: ReadonlyMap<string, number>): void {
  console.log(`\n${title}`);
  const sorted = [...times].sort(([, one], [, other]) => other - one);
  for (const [name, time] of sorted.slice(0, ROWS))
    console.log(`${((100 * time) / busy).toFixed(1).padStart(5)} %  ${name}`);
}

print('functions, by the time of their own', byFunction);
print('files and packages', byPlace);
