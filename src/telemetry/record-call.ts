import { type Attempt, AttemptOutcome, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GLOBAL, type Standing } from '../store/store.ts';
import { millisecondsOf } from '../time.ts';
import type { AttemptNotes, CallNotes } from './call-notes.ts';
import { type CallSink, type EndedCall, outcomeOfAttempt, type Phases, phaseNames } from './ended-call.ts';
import type { Metrics, Reading } from './metrics.ts';
import type { TargetNames } from './target-names.ts';
import { AllTargetSeries, type TargetSeries } from './target-series.ts';
import type { Windows } from './windows.ts';

/** Why an attempt was not made, by the word of the error table in its account. */
const skipReasons: Readonly<Record<string, string>> = {
  no_provider_available: 'circuit_open',
  provider_rate_limited: 'rate_limited',
};

/** The labels of a call that nobody answered. */
const nobody = { provider: '', model: '', system: '' };

/** Count every call that is over, and its attempts, in the metrics and the windows. */
export function recordCalls(metrics: Metrics, windows: Windows, names: TargetNames): CallSink {
  const requests = metrics.counter('requests');
  const phases = metrics.histogram('phases');
  const overhead = metrics.histogram('overhead');
  const failovers = metrics.counter('failovers');
  const limited = metrics.counter('limited');
  const shed = metrics.counter('shed');
  const cacheRequests = metrics.counter('cacheRequests');
  const keyTokens = metrics.counter('keyTokens');
  const keyCost = metrics.counter('keyCost');
  const replays = metrics.counter('replays');
  const targets = new AllTargetSeries(metrics);

  /** How the limits of each key stood when it called last. */
  const standings = new Map<string, readonly Standing[]>();
  metrics.read('limitUsed', () => [...standings].flatMap(([key, limits]) => sharesUsed(key, limits)));

  return (call) => {
    const { operation, context, outcome, reason = '', notes } = call;
    const minute = windows.minute();
    requests.at(context.door, operation, outcome, reason).add();
    if (context.account.limits) standings.set(names.ofKey(context.principal.name), context.account.limits);
    countRefusal(call);
    if (call.phases) splitTime(call.phases, context.door);
    if (notes.attempts.some((attempt, _at, [first]) => first && !sameTarget(attempt, first)))
      failovers.at(outcome).add();

    if (notes.cache !== undefined) cacheRequests.at(notes.cache).add();
    if (context.account.repeated) replays.at(operation).add();
    windows.calls.add(minute, {
      outcome,
      reason: call.reason,
      durationMs: call.durationMs,
      firstTokenMs: context.streaming && outcome === 'ok' ? call.firstMs : undefined,
      usage: call.usage,
      costUsd: call.costUsd,
      free: call.free,
      savedUsd: notes.savedUsd,
      cached: cachedIn(notes),
    });
    for (const attempt of call.attempts) {
      // Those of a failure that is shared are counted where they were made.
      if (attempt.outcome === AttemptOutcome.SKIPPED && !call.free) countSkipped(call, attempt);
    }
    for (const [at, attempt] of notes.attempts.entries()) {
      if (attempt.log.outcome !== AttemptOutcome.SKIPPED) countAttempt(call, attempt, at, minute);
    }
    countAnswer(call);
  };

  function countRefusal({ reason, context }: EndedCall): void {
    if (reason === 'rate_limited') limited.at('rate', context.principal.tier).add();
    else if (reason === 'budget_exhausted') limited.at('budget', context.principal.tier).add();
    else if (reason === 'overloaded' || reason === 'draining') shed.at(reason).add();
  }

  function splitTime(split: Phases, door: string): void {
    phaseNames.forEach((name, at) => {
      const ms = split.each[at] ?? 0;
      if (ms > 0) phases.at(name).record(ms / 1000);
    });
    overhead.at(door).record(split.own / 1000);
  }

  /** What the caller got, by who gave it. */
  function countAnswer(call: EndedCall): void {
    const { operation, outcome, reason = '', usage, context, durationMs: tookMs, firstMs } = call;
    // What was asked of the provider: the model that answers may be called otherwise.
    const asked = call.notes.attempts.findLast(({ succeeded }) => succeeded)?.log.model ?? call.model ?? '';
    const series = targets.of(operation, call.provider === undefined ? nobody : names.of(call.provider, asked));
    series.serverDuration.at(reason).record(tookMs / 1000);
    if (outcome !== 'ok') return;
    if (context.streaming && firstMs !== undefined) {
      series.serverFirstToken.at().record(firstMs / 1000);
      const later = (usage?.completionTokens ?? 0) - 1;
      if (later > 0) series.serverPerToken.at().record((tookMs - firstMs) / 1000 / later);
    }
    if (call.free) {
      series.cacheSaved.at().add(call.notes.savedUsd ?? 0);
      series.cacheSavedTime.at().add(Math.max(0, call.notes.savedMs ?? 0) / 1000);
      return;
    }
    const key = names.ofKey(context.principal.name);
    if (usage) keyTokens.at(key).add(usage.promptTokens + usage.completionTokens);
    if (call.costUsd === undefined) series.unpriced.at().add();
    else {
      series.cost.at().add(call.costUsd);
      keyCost.at(key).add(call.costUsd);
    }
  }

  function countSkipped({ operation }: EndedCall, { provider, model, reason }: Attempt): void {
    const { skipped } = targets.of(operation, names.of(provider, model));
    skipped.at(skipReasons[reason] ?? 'unsupported').add();
  }

  function countAttempt(call: EndedCall, notes: AttemptNotes, at: number, minute: number): void {
    const { operation } = call;
    const { log, beganAt, firstContentAt, gaps, hedged, succeeded } = notes;
    const labels = names.of(log.provider, log.model);
    const series = targets.of(operation, labels);
    const outcome = outcomeOfAttempt(log);
    const tookMs = log.duration ? millisecondsOf(log.duration) : 0;
    const isFirstAt = call.notes.attempts.findIndex((each) => sameTarget(each, notes)) === at;
    series.attempts.at(outcome, log.reason).add();
    if (!isFirstAt && !hedged) series.retries.at().add();
    if (hedged) series.hedges.at(succeeded ? 'answered' : 'cancelled').add();
    series.clientDuration.at(log.reason).record(tookMs / 1000);
    const streamed = call.context.streaming && firstContentAt !== undefined;
    if (streamed) series.clientFirstChunk.at().record((firstContentAt - beganAt) / 1000);
    if (gaps) series.clientPerChunk.at().merge(gaps);
    if (log.usage && !log.usage.estimated) {
      series.clientTokens.at('input').record(log.usage.promptTokens);
      if (operation === 'chat') {
        series.clientTokens.at('output').record(log.usage.completionTokens);
      }
    }
    if (log.usage) countTokens(series, log.usage);
    windows.attempts(labels.provider, labels.model).add(minute, {
      outcome,
      reason: log.reason || undefined,
      durationMs: tookMs,
      firstTokenMs: streamed ? firstContentAt - beganAt : undefined,
      usage: log.usage,
      costUsd: succeeded ? call.costUsd : undefined,
    });
  }

  function countTokens({ tokens }: TargetSeries, usage: Usage): void {
    tokens.at('input').add(usage.promptTokens);
    tokens.at('output').add(usage.completionTokens);
    if (usage.cachedPromptTokens) tokens.at('cached_input').add(usage.cachedPromptTokens);
    if (usage.reasoningTokens) tokens.at('reasoning').add(usage.reasoningTokens);
  }
}

/** What is used of limits that are the key's own; budgets have a metric of their own, which knows of all replicas. */
function sharesUsed(key: string, limits: readonly Standing[]): Reading[] {
  return limits
    .filter(({ limit }) => limit.subject !== GLOBAL && limit.kind !== 'budget')
    .map(({ limit, remaining }) => [[key, limit.kind], Math.min(1, Math.max(0, 1 - remaining / limit.capacity))]);
}

/** Whether the response cache had the answer; undefined: it was not asked. */
function cachedIn({ cache }: CallNotes): boolean | undefined {
  return cache === undefined || cache === 'bypass' ? undefined : cache !== 'miss';
}

function sameTarget(one: AttemptNotes, other: AttemptNotes): boolean {
  return one.log.provider === other.log.provider && one.log.model === other.log.model;
}
