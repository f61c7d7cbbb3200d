import { globSync, readFileSync } from 'node:fs';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { logCalls, loggedFields, logOptions } from '../../src/telemetry/logger.ts';
import { RecentCalls } from '../../src/telemetry/recent-calls.ts';
import { endedCall } from './ended-call.ts';

function logger(level = 'info') {
  const lines: string[] = [];
  return { log: pino(logOptions(level), { write: (line: string) => void lines.push(line) }), lines };
}

describe('the log', () => {
  it('withholds fields that it does not know, and says which', () => {
    const { log, lines } = logger();
    log.info({ request_id: 'id', authorization: 'Bearer secret', prompt: 'secret' }, 'refused');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      request_id: 'id',
      withheld: ['authorization', 'prompt'],
      msg: 'refused',
    });
    expect(lines.join()).not.toContain('secret');
  });

  it('knows every field that the program hands to it', () => {
    const root = new URL('../../', import.meta.url).pathname;
    const unknown = globSync('src/**/*.ts', { cwd: root }).flatMap((file) => {
      const source = readFileSync(root + file, 'utf8');
      const objects = source.matchAll(/\b(?:log|logger)(?:\.\w+|\[\w+\])\(\s*\{([^{}]*)\}/g);
      return [...objects]
        .flatMap(([, fields = '']) => fields.split(',').map((field) => /^\s*(\w+)/.exec(field)?.[1] ?? ''))
        .filter((name) => name !== '' && !loggedFields.has(name))
        .map((name) => `${file}: ${name}`);
    });
    expect(unknown).toEqual([]);
  });

  it('tells of an error what it is, and nothing that hangs on it', () => {
    const { log, lines } = logger();
    const error = Object.assign(new Error('failed', { cause: new TypeError('because') }), {
      code: 'ECONNRESET',
      request: { headers: { authorization: 'Bearer secret' } },
    });
    log.error({ err: error }, 'it failed');
    expect(JSON.parse(lines[0] ?? '').err).toMatchObject({
      type: 'Error',
      message: 'failed',
      code: 'ECONNRESET',
      cause: { type: 'TypeError', message: 'because' },
    });
    expect(lines.join()).not.toContain('secret');
  });

  it('has one line for each call, in the form of all others, and keeps it', () => {
    const { log, lines } = logger();
    const recent = new RecentCalls();
    logCalls(log, recent)(endedCall({ requestId: 'a', attempts: [{ target: 'groq/m1' }] }));
    const { level, time, msg, request_id, outcome } = JSON.parse(lines[0] ?? '');
    expect({ level, msg, request_id, outcome }).toEqual({ level: 'info', msg: 'call', request_id: 'a', outcome: 'ok' });
    expect(new Date(time).toISOString()).toBe(time);
    expect([...recent.before()].map(({ line }) => line.request_id)).toEqual(['a']);
  });

  it('keeps calls also where no line is written', () => {
    const { log, lines } = logger('warn');
    const recent = new RecentCalls();
    logCalls(log, recent)(endedCall());
    expect(lines).toEqual([]);
    expect([...recent.before()]).toHaveLength(1);
  });
});
