import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { type App, buildApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { bareEnvironment, type ConfigFile, type TestGateway } from './gateway.ts';

/** A gateway whose configuration file a test rewrites. */
export interface ReloadableGateway extends TestGateway {
  readonly app: App;
  /** Write another configuration, or any text, without telling anybody. */
  write(config: ConfigFile | string): void;
  /** Take the file away. */
  remove(): void;
}

/** Start a whole gateway in this process, on a free port, with a configuration file that stays. */
export async function startReloadable(config: ConfigFile): Promise<ReloadableGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-reload-'));
  const file = join(folder, 'gateway.yaml');
  const write = (next: ConfigFile | string) => {
    const server = { host: '127.0.0.1', port: 0, ...((next as ConfigFile).server as object | undefined) };
    writeFileSync(file, typeof next === 'string' ? next : JSON.stringify({ ...next, server }, null, 1));
  };
  write(config);
  const load = () => loadConfig({ file, environment: bareEnvironment });
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const app = await buildApp(load(), { log, version: '0.0.0-test', load });
  const { port } = await app.listen();
  return {
    app,
    port,
    url: `http://127.0.0.1:${port}`,
    lines,
    write,
    remove: () => rmSync(file),
    async close() {
      await app.close();
      rmSync(folder, { recursive: true });
    },
  };
}
