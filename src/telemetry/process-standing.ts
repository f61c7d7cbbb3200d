import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import type { Metrics } from './metrics.ts';

/** How often timers are looked at, in milliseconds. What the histogram has includes it. */
const RESOLUTION_MS = 20;
/** Processor and event loop are told for the time between two samples. */
const SAMPLE_MS = 5_000;
const DELAY_SAMPLES = 12;

/** How late timers were. */
export interface LoopDelay {
  readonly meanMs: number;
  readonly p99Ms: number;
}

/** Watches what the process takes: processor, memory, and how late its timers are. */
export class ProcessStanding {
  /** Share of one processor over the last seconds, in percent. */
  cpuPercent = 0;
  /** Share of the last seconds that the event loop was busy. */
  loopUtilization = 0;
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #timer: NodeJS.Timeout;
  #previousDelay: LoopDelay | undefined;
  #samples = 0;
  #cpu = process.cpuUsage();
  #cpuAt = performance.now();
  #loop = performance.eventLoopUtilization();

  constructor() {
    this.#delay.enable();
    this.#timer = setInterval(() => this.sample(), SAMPLE_MS);
    this.#timer.unref();
  }

  /** Look how much it was since the sample before. */
  sample(): void {
    const now = performance.now();
    const { user, system } = process.cpuUsage(this.#cpu);
    if (now > this.#cpuAt) this.cpuPercent = (user + system) / 10 / (now - this.#cpuAt);
    this.#cpu = process.cpuUsage();
    this.#cpuAt = now;
    const loop = performance.eventLoopUtilization();
    this.loopUtilization = performance.eventLoopUtilization(loop, this.#loop).utilization;
    this.#loop = loop;
    if (++this.#samples % DELAY_SAMPLES !== 0) return;
    this.#previousDelay = this.#read();
    this.#delay.reset();
  }

  /** Over the last minute, or a little more. */
  get loopDelay(): LoopDelay {
    const now = this.#read();
    const before = this.#previousDelay ?? now;
    return { meanMs: Math.max(now.meanMs, before.meanMs), p99Ms: Math.max(now.p99Ms, before.p99Ms) };
  }

  /** Have the metrics read it. */
  tell(metrics: Metrics): void {
    metrics.read('uptime', () => [[[], process.uptime()]]);
    metrics.read('cpuTime', () => {
      const { user, system } = process.cpuUsage();
      return [
        [['user'], user / 1e6],
        [['system'], system / 1e6],
      ];
    });
    metrics.read('memory', () => [[[], process.memoryUsage.rss()]]);
    metrics.read('heap', () => [[[], process.memoryUsage().heapUsed]]);
    metrics.read('openFiles', () => {
      const count = openFiles();
      return count === undefined ? [] : [[[], count]];
    });
    metrics.read('loopDelayMean', () => [[[], this.loopDelay.meanMs / 1000]]);
    metrics.read('loopDelayP99', () => [[[], this.loopDelay.p99Ms / 1000]]);
    metrics.read('loopUtilization', () => [[[], this.loopUtilization]]);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#delay.disable();
  }

  #read(): LoopDelay {
    if (this.#delay.count === 0) return { meanMs: 0, p99Ms: 0 };
    const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
    return { meanMs: late(this.#delay.mean), p99Ms: late(this.#delay.percentile(99)) };
  }
}

/** Files and sockets that are open; undefined where the system does not tell. */
export function openFiles(): number | undefined {
  try {
    // One of them is the folder itself, while it is read.
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return undefined;
  }
}
