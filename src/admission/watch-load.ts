import { getHeapStatistics } from 'node:v8';
import type { Load } from './overload.ts';

const SAMPLE_MS = 250;
const TICK_MS = 20;
/** Of how many samples of the heap the least counts: in between it is full of garbage, which is no lack of memory. */
const HEAP_SAMPLES = 4;

/**
 * Look how busy this process is, four times a second; returns what ends it.
 *
 * Node's `monitorEventLoopDelay` would not do: a loop that stands still from one sample to the next leaves no trace in it.
 */
export function watchLoad(note: (load: Load) => void): () => void {
  const shares: number[] = [];
  let tickedAt = performance.now();
  let sampledAt = tickedAt;
  let loopDelayMs = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    loopDelayMs = Math.max(loopDelayMs, now - tickedAt - TICK_MS);
    tickedAt = now;
    if (now - sampledAt < SAMPLE_MS) return;
    shares.push(heapShare());
    if (shares.length > HEAP_SAMPLES) shares.shift();
    note({ loopDelayMs, memoryShare: Math.max(Math.min(...shares), containerShare()) });
    sampledAt = now;
    loopDelayMs = 0;
  }, TICK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Tells the milliseconds since it was first asked in this turn of the event loop. */
export function turnClock(): () => number {
  let began: number | undefined;
  const end = () => {
    began = undefined;
  };
  return () => {
    const now = performance.now();
    if (began === undefined) {
      began = now;
      // What came to be read in a turn has been read by then.
      setImmediate(end);
    }
    return now - began;
  };
}

function heapShare(): number {
  const { used_heap_size, heap_size_limit } = getHeapStatistics();
  return used_heap_size / heap_size_limit;
}

/** What this process takes of what its container may; 0: it is bound by none. Node knows cgroups of both versions. */
function containerShare(): number {
  const limit = process.constrainedMemory();
  // Without a limit it is 0, or beyond all that a machine has.
  if (limit === 0 || limit > Number.MAX_SAFE_INTEGER) return 0;
  return process.memoryUsage.rss() / limit;
}
