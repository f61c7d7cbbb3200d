import type { Logger } from 'pino';
import { DoorRequests } from './door-requests.ts';
import type { CallSink } from './ended-call.ts';
import type { Exposition } from './exposition.ts';
import { type Insight, insightInto } from './insight.ts';
import { logCalls } from './logger.ts';
import { Metrics } from './metrics.ts';
import { ProcessStanding } from './process-standing.ts';
import { RecentCalls } from './recent-calls.ts';
import { recordCalls } from './record-call.ts';
import type { SamplerChoice } from './sampler.ts';
import type { SnapshotSources } from './snapshot.ts';
import { TargetNames } from './target-names.ts';
import type { Tracing } from './tracing.ts';
import { Windows } from './windows.ts';

/** What is told about the gateway is made with this. */
export interface TelemetryOptions {
  readonly log: Logger;
  readonly version: string;
  /** What the configuration that is in use says. */
  readonly settings: () => TelemetrySettings | undefined;
  /** Whether somebody takes traces. */
  readonly traces: boolean;
  /** Which of them are kept. */
  readonly sampler?: SamplerChoice;
  /** Where Prometheus may come beside the gateway's own port; undefined: nowhere. */
  readonly prometheus?: { readonly host?: string; readonly port: number } | undefined;
}

/** What may change while the gateway runs. */
export interface TelemetrySettings {
  /** Whether the caller's trace is continued. */
  readonly trustIncomingTrace?: boolean | undefined;
  /** Whether calls are counted. */
  readonly metrics?: boolean | undefined;
}

/** Everything that keeps account of calls, and tells of them. */
export interface Telemetry {
  readonly metrics: Metrics;
  readonly windows: Windows;
  readonly names: TargetNames;
  /** To be told of every call that is over. */
  readonly sinks: readonly CallSink[];
  /** For the doors. */
  readonly requests: DoorRequests;
  /** For those who run the gateway, once it is known where some of it comes from. */
  insight(sources: Pick<SnapshotSources, 'providers' | 'connections' | 'activeCalls'>): Insight;
  close(): Promise<void>;
}

/** Start what keeps account of calls. OpenTelemetry's SDK is loaded only by those who ask for what it does. */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { log, version, settings, prometheus } = options;
  const counts = () => settings()?.metrics ?? true;
  const names = new TargetNames();
  const metrics = new Metrics();
  const windows = new Windows();
  const recent = new RecentCalls();
  const standing = new ProcessStanding();
  standing.tell(metrics);
  const tracing = options.traces ? await startTracing(options, names) : undefined;
  const exposition = exposing(metrics, version, tracing);
  if (prometheus) await serveAlone(await exposition(), prometheus, log);
  return {
    metrics,
    windows,
    names,
    sinks: [onlyIf(counts, recordCalls(metrics, windows, names)), logCalls(log, recent)],
    requests: new DoorRequests(metrics, tracing, counts),
    insight: (sources) =>
      insightInto({ windows, standing, ...sources }, recent, async () => (await exposition()).text()),
    async close() {
      standing.close();
      await exposition.loaded?.close();
      await tracing?.close();
    },
  };
}

function onlyIf(counts: () => boolean, sink: CallSink): CallSink {
  return (call) => {
    if (counts()) sink(call);
  };
}

async function startTracing(options: TelemetryOptions, names: TargetNames): Promise<Tracing> {
  const { version, settings, sampler, log } = options;
  const { Tracing } = await import('./tracing.ts');
  const trustsIncoming = () => settings()?.trustIncomingTrace ?? false;
  return new Tracing({ version, names, trustsIncoming, log, ...(sampler && { sampler }) });
}

/** Makes the exposition when it is asked for first. */
function exposing(metrics: Metrics, version: string, tracing: Tracing | undefined) {
  const get = async (): Promise<Exposition> => {
    const { Exposition } = await import('./exposition.ts');
    get.loaded ??= new Exposition(metrics, version, tracing);
    return get.loaded;
  };
  get.loaded = undefined as Exposition | undefined;
  return get;
}

/** That another process has the port is no reason not to serve calls. */
async function serveAlone(exposition: Exposition, at: { host?: string; port: number }, log: Logger): Promise<void> {
  try {
    await exposition.serve(at);
  } catch (error) {
    log.error({ port: at.port, error: String(error) }, 'metrics cannot be served on a port of their own');
  }
}
