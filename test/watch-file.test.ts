import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { watchFile } from '../src/watch-file.ts';

const EVERY_MS = 20;
/** Long enough for several looks, also on a busy machine. */
const WHILE_MS = 200;

/** A file in a folder of its own, watched, and how often it was told to have changed. */
async function watched(prepare?: (folder: string) => void) {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-watch-'));
  const file = join(folder, 'gateway.yaml');
  if (prepare) prepare(folder);
  else writeFileSync(file, 'one');
  const told = vi.fn<() => void>();
  const watching = watchFile(file, told, EVERY_MS);
  onTestFinished(() => {
    watching.close();
    rmSync(folder, { recursive: true });
  });
  await pause(WHILE_MS);
  expect(told).not.toHaveBeenCalled();
  const changes = async (count: number) => {
    await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(count), 5_000);
    await pause(WHILE_MS);
    expect(told).toHaveBeenCalledTimes(count);
  };
  return { folder, file, watching, changes };
}

describe('a watched file', () => {
  it('tells when it is written, each time', async () => {
    const { file, changes } = await watched();
    writeFileSync(file, 'two');
    await changes(1);
    writeFileSync(file, 'six');
    await changes(2);
  });

  it('tells when another takes its name, as editors do it', async () => {
    const { file, folder, changes } = await watched();
    writeFileSync(join(folder, 'new'), 'two');
    renameSync(file, join(folder, 'gateway.yaml~'));
    await pause(WHILE_MS);
    renameSync(join(folder, 'new'), file);
    await changes(1);
  });

  it('tells when a link far above it is exchanged, as Kubernetes does it', async () => {
    const { folder, changes } = await watched((at) => {
      mkdirSync(join(at, '..2026_01'));
      writeFileSync(join(at, '..2026_01', 'gateway.yaml'), 'one');
      symlinkSync('..2026_01', join(at, '..data'));
      symlinkSync('..data/gateway.yaml', join(at, 'gateway.yaml'));
    });
    mkdirSync(join(folder, '..2026_02'));
    writeFileSync(join(folder, '..2026_02', 'gateway.yaml'), 'two');
    symlinkSync('..2026_02', join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    await changes(1);
  });

  it('tells once when it is written in pieces', async () => {
    const { file, changes } = await watched();
    writeFileSync(file, '');
    for (let piece = 0; piece < 30; piece++) {
      appendFileSync(file, 'piece\n');
      await pause(EVERY_MS / 4);
    }
    await changes(1);
  });

  it('tells nothing while it is away', async () => {
    const { file, changes } = await watched();
    unlinkSync(file);
    await changes(0);
    writeFileSync(file, 'two');
    await changes(1);
  });

  it('tells nothing after the watch has ended', async () => {
    const { file, watching, changes } = await watched();
    watching.close();
    writeFileSync(file, 'two');
    await changes(0);
  });
});
