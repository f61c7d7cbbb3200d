import { performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { Load } from './overload.ts';

const SAMPLE_MS = 250;
/** Of how many samples of the heap the least counts: in between it is full of garbage, which is no lack of memory. */
const HEAP_SAMPLES = 4;

/**
 * Look how busy this process is, four times a second; returns what ends it.
 *
 * Turns are counted by the event loop itself. How late timers are would not do: a pause for garbage, after which all is well, looks like
 * a queue that stands.
 */
export function watchLoad(note: (load: Load) => void): () => void {
  const shares: number[] = [];
  let before = turnsSoFar();
  const timer = setInterval(() => {
    const now = turnsSoFar();
    const turnMs = (now.busyMs - before.busyMs) / Math.max(1, now.count - before.count);
    before = now;
    shares.push(heapShare());
    if (shares.length > HEAP_SAMPLES) shares.shift();
    note({ turnMs, memoryShare: Math.max(Math.min(...shares), containerShare()) });
  }, SAMPLE_MS);
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

/** How many turns the event loop has made, and what they took without the time that it slept. */
function turnsSoFar(): { count: number; busyMs: number } {
  const { uvMetricsInfo, idleTime } = performance.nodeTiming;
  return { count: uvMetricsInfo.loopCount, busyMs: performance.now() - idleTime };
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
