/**
 * Tells where the last seconds of a CPU profile went: functions by the time of their own, files and packages by theirs, and our
 * own functions by the time that they and what they call outside of our code took.
 *
 *     node bench/profile.ts FILE.cpuprofile SECONDS
 */
import { readFileSync } from 'node:fs';

interface Frame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

interface Profile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame; readonly children?: readonly number[] }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const ROWS = 30;
const [file = '', seconds = '5'] = process.argv.slice(2);
const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8')) as Profile;
const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)));

/** A source file in few words: our own by its path, a package by its name, Node's own by its module, the rest as `engine`. */
function placeOf({ url }: Frame): string {
  const [, ofPackage] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? [];
  if (ofPackage) return ofPackage;
  return /(?:src|gen)\/.*/.exec(url)?.[0] ?? (url.startsWith('node:') ? url : 'engine');
}

const nameOf = (frame: Frame) => `${frame.functionName || '(anonymous)'} ${placeOf(frame)}:${frame.lineNumber + 1}`;

/** The innermost function of ours on the stack; where there is none, what the event loop called. */
function askerOf(id: number): string {
  let outermost = '';
  for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
    const frame = frames.get(at);
    if (frame === undefined || frame.functionName === '(root)') break;
    outermost = nameOf(frame);
    if (outermost.includes(' src/')) break;
  }
  return outermost;
}

const ownTime = new Map<string, number>();
const placeTime = new Map<string, number>();
const askedBy = new Map<string, number>();
const add = (times: Map<string, number>, name: string, time: number) => times.set(name, (times.get(name) ?? 0) + time);

// From the end backwards, so that the start and the first calls, not yet compiled, are left out.
let busy = 0;
let left = Number(seconds) * 1e6;
for (let index = samples.length - 1; index >= 0 && left > 0; index--) {
  const time = timeDeltas[index] ?? 0;
  const id = samples[index] ?? 0;
  const frame = frames.get(id);
  left -= time;
  if (frame === undefined || frame.functionName === '(idle)') continue;
  busy += time;
  add(ownTime, nameOf(frame), time);
  add(placeTime, placeOf(frame), time);
  add(askedBy, askerOf(id), time);
}

function print(title: string, times: ReadonlyMap<string, number>): void {
  console.log(`\n${title}`);
  const sorted = [...times].sort(([, one], [, other]) => other - one);
  for (const [name, time] of sorted.slice(0, ROWS))
    console.log(`${((100 * time) / busy).toFixed(1).padStart(5)} %  ${name}`);
}

print('functions, time of their own', ownTime);
print('files and packages, time of their own', placeTime);
print('whoever of ours asked for it, else the outermost', askedBy);
