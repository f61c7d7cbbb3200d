import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { Load } from './overload.ts';

const SAMPLE_MS = 250;
/** Of how many samples of the heap the least counts: in between it is full of garbage, which is no lack of memory. */
const HEAP_SAMPLES = 4;
const RESOLUTION_MS = 10;
const NANO = 1e6;

/** Look how busy this process is, four times a second; returns what ends it. */
export function watchLoad(note: (load: Load) => void): () => void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const shares: number[] = [];
  let sampledAt = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    // The histogram counts the whole time between two of its own timers; one that stood still for long has not fired at all.
    const loopDelayMs = Math.max(delay.percentile(99) / NANO - RESOLUTION_MS, now - sampledAt - SAMPLE_MS, 0);
    sampledAt = now;
    delay.reset();
    shares.push(heapShare());
    if (shares.length > HEAP_SAMPLES) shares.shift();
    note({ loopDelayMs, memoryShare: Math.max(Math.min(...shares), containerShare()) });
  }, SAMPLE_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    delay.disable();
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
