import pino, { type Logger, type LoggerOptions } from 'pino';
import { BatchedOutput } from './batched-output.ts';
import { lineOf } from './call-line.ts';
import type { CallSink } from './ended-call.ts';
import type { RecentCalls } from './recent-calls.ts';

/** The process's log, and how to see it out before the process ends. */
export interface Log {
  readonly logger: Logger;
  /** How many lines were dropped since the start, because nobody read them. */
  dropped(): number;
  /** Write what is still held back; resolves once that is done, or cannot be. */
  flush(): Promise<void>;
}

/**
 * The fields that lines may have, beside those of calls, which are in call-line.ts.
 *
 * What is not named here is withheld: a key or a prompt that somebody hands to the log by mistake does not get out.
 */
export const loggedFields: ReadonlySet<string> = new Set([
  'address',
  'changed',
  'claim',
  'code',
  'complaint',
  'connections',
  'err',
  'error',
  'file',
  'in_flight',
  'issuer',
  'method',
  'model',
  'of',
  'outcome',
  'path',
  'port',
  'problems',
  'provider',
  'providers',
  'request_id',
  'rows',
  'rpc',
  'times',
  'version',
  'why',
]);

/** Open the log: JSON lines on standard output. No line holds a key, a prompt or an answer. */
export function openLog(level: string): Log {
  const output = new BatchedOutput(1);
  const logger = pino(logOptions(level), output);
  return { logger, dropped: () => output.lost, flush: () => output.flush() };
}

/** How pino writes the log. */
export function logOptions(level: string): LoggerOptions {
  return {
    level,
    base: null,
    timestamp: isoTime(),
    formatters: { level: (label) => ({ level: label }), log: onlyLoggedFields },
    serializers: { err: (error: unknown) => plainError(error) },
  };
}

function onlyLoggedFields(line: Record<string, unknown>): Record<string, unknown> {
  const names = Object.keys(line);
  if (names.every((name) => loggedFields.has(name))) return line;
  const shown = Object.fromEntries(Object.entries(line).filter(([name]) => loggedFields.has(name)));
  return { ...shown, withheld: names.filter((name) => !loggedFields.has(name)) };
}

/** An error without what libraries hang on it: requests with their headers, above all. */
function plainError(error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack } = error;
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const cause = error.cause === undefined || depth === 5 ? {} : { cause: plainError(error.cause, depth + 1) };
  return { type: name, message, ...code, stack, ...cause };
}

/**
 * Write the lines of calls to a log in its form, and keep the last ones.
 *
 * They are made by JSON.stringify, once a call, since pino's own way of putting a line together costs five times as much.
 */
export function logCalls(logger: Logger, recent: RecentCalls): CallSink {
  const stream = (logger as unknown as Record<symbol, { write(text: string): void }>)[pino.symbols.streamSym];
  const time = isoTime();
  return (call) => {
    const json = JSON.stringify(lineOf(call));
    recent.add(json, Date.now());
    const level = call.reason === 'internal' ? 'error' : 'info';
    if (!logger.isLevelEnabled(level)) return;
    stream?.write(`{"level":"${level}"${time()},${json.slice(1, -1)},"msg":"call"}\n`);
  };
}

/** Time in ISO 8601. The text is made once a millisecond at most: a busy gateway writes several lines in one. */
function isoTime(): () => string {
  let at = 0;
  let text = '';
  return () => {
    const now = Date.now();
    if (now !== at) {
      at = now;
      text = `,"time":"${new Date(now).toISOString()}"`;
    }
    return text;
  };
}
