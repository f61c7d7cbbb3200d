import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { BatchedOutput } from '../../src/telemetry/batched-output.ts';

const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-log-'));
const file = join(folder, 'log');
afterEach(() => rmSync(file, { force: true }));

describe('the output of the log', () => {
  it('writes every line once, in order and in UTF-8, however they fall on batches', async () => {
    const fd = openSync(file, 'w');
    const output = new BatchedOutput(fd);
    const lines = Array.from({ length: 5000 }, (_, index) => `${index} ${'ä€😀'.repeat(index % 20)}\n`);
    for (const [index, line] of lines.entries()) {
      output.write(line);
      if (index % 500 === 0) await output.flush();
    }
    await output.flush();
    closeSync(fd);
    expect(readFileSync(file, 'utf8')).toBe(lines.join(''));
  });

  // Lines were taken for three times as long as they are: a prompt and an answer of many quotes, each as long as may be kept, was lost.
  it('writes a line that fills half a batch', async () => {
    const fd = openSync(file, 'w');
    const output = new BatchedOutput(fd);
    const line = `${'\\"'.repeat(32_768)}\n`;
    output.write(line);
    await output.flush();
    closeSync(fd);
    expect(output.lost).toBe(0);
    expect(readFileSync(file, 'utf8')).toBe(line);
  });

  it('writes within a moment without being asked', async () => {
    const fd = openSync(file, 'w');
    const output = new BatchedOutput(fd);
    output.write('line\n');
    await expect.poll(() => readFileSync(file, 'utf8'), { timeout: 2000 }).toBe('line\n');
    closeSync(fd);
  });

  it('drops and counts lines while a batch is on its way and the next is full, and says so', async () => {
    const fd = openSync(file, 'w');
    const output = new BatchedOutput(fd);
    const line = `${'x'.repeat(999)}\n`;
    for (let index = 0; index < 1000; index++) output.write(line);
    await output.flush();
    closeSync(fd);
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    const { dropped } = JSON.parse(lines.at(-1) ?? '{}');
    expect(dropped).toBeGreaterThan(0);
    expect(lines.length - 1 + dropped).toBe(1000);
  });

  it('ends quietly when the other side is gone', async () => {
    const fd = openSync(file, 'w');
    const output = new BatchedOutput(fd);
    closeSync(fd);
    output.write('line\n');
    await output.flush();
    output.write('line\n');
    await output.flush();
    expect(readFileSync(file, 'utf8')).toBe('');
  });
});
