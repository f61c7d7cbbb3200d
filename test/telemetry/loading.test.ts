import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';

const src = new URL('../../src', import.meta.url).pathname;

/** Packages that a file brings along as soon as it is loaded, itself or by what it imports; `import type` and `import()` bring none. */
function loadedBy(file: string, seen = new Set<string>(), packages = new Set<string>()): Set<string> {
  if (seen.has(file)) return packages;
  seen.add(file);
  const imports = readFileSync(file, 'utf8').matchAll(
    /^(?:import|export)\s+(?!type\b)(?:[^'";]*?\bfrom\s+)?'([^']+)'/gm,
  );
  for (const [, target = ''] of imports) {
    if (!target.startsWith('.')) packages.add(target);
    else loadedBy(join(dirname(file), target), seen, packages);
  }
  return packages;
}

describe('OpenTelemetry’s SDK', () => {
  const isTelemetry = (name: string) => name.startsWith('@opentelemetry/');

  it('is not loaded by a gateway that nobody asks for traces and metrics', () => {
    const packages = [...loadedBy(join(src, 'main.ts'))];
    expect(packages).toContain('pino');
    expect(packages.filter(isTelemetry)).toEqual([]);
  });

  it('is loaded by what needs it', () => {
    expect([...loadedBy(join(src, 'telemetry/tracing.ts'))]).toContain('@opentelemetry/sdk-node');
    expect([...loadedBy(join(src, 'telemetry/exposition.ts'))]).toContain('@opentelemetry/exporter-prometheus');
    expect([...loadedBy(join(src, 'telemetry/exposition.ts'))]).not.toContain('@opentelemetry/sdk-node');
  });
});
