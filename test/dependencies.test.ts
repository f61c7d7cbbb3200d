import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;

/** One import of one file of src, both as paths from src; generated code is `gen`, a package or builtin its own name. */
interface Import {
  readonly from: string;
  readonly to: string;
}

/** The source of a file without its comments. */
function codeOf(file: string): string {
  return readFileSync(join(root, 'src', file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
}

const files = globSync('src/**/*.ts', { cwd: root })
  .map((path) => relative('src', path))
  .sort();

const imports: Import[] = files.flatMap((from) => {
  const source = readFileSync(join(root, 'src', from), 'utf8');
  const targets = source.matchAll(/^(?:import|export)\b(?:[^'";]*?\bfrom)?\s*'([^']+)'|\bimport\('([^']+)'\)/gm);
  return [...targets].map((match) => {
    const target = match[1] ?? match[2] ?? '';
    if (!target.startsWith('.')) return { from, to: target };
    const to = join(dirname(from), target);
    return { from, to: to.startsWith('../gen/') ? 'gen' : to };
  });
});

/** The part of the program that a file belongs to: its folder, or its own name at the top of src. */
function partOf(path: string): string {
  return (path.split('/')[0] ?? '').replace(/\.ts$/, '');
}

const inside = imports.filter(({ to }) => to === 'gen' || files.includes(to));

/** Leaves: importable by all, importing none but each other. */
const leaves = [
  'gen',
  'at-once',
  'completion',
  'end-of-turn',
  'errors',
  'request-facts',
  'later',
  'new-id',
  'room',
  'stop',
  'store',
  'telemetry',
  'time',
];

/** The arrows of ARCHITECTURE.md: what each part may import beside leaves and itself. */
const arrows: Record<string, readonly string[]> = {
  main: ['app', 'config', 'create-key', 'healthcheck', 'settings', 'watch-file'],
  app: [
    'config',
    'settings',
    'reload',
    'replaceable',
    'kept-parts',
    'transport',
    'gateway',
    'admission',
    'cache',
    'routing',
    'attempt',
    'providers',
  ],
  settings: ['config', 'admission', 'cache', 'routing', 'attempt', 'providers'],
  config: [],
  'create-key': ['config'],
  healthcheck: [],
  reload: ['config'],
  replaceable: [],
  'kept-parts': [],
  'watch-file': [],
  transport: ['gateway'],
  gateway: ['admission', 'cache', 'routing', 'attempt', 'providers'],
  admission: ['providers'],
  cache: ['providers'],
  routing: ['providers'],
  attempt: ['providers'],
  providers: [],
  'at-once': [],
  completion: [],
  'end-of-turn': [],
  errors: [],
  'request-facts': [],
  later: [],
  'new-id': [],
  room: [],
  stop: [],
  time: [],
  store: [],
  telemetry: [],
};

function arrow({ from, to }: Import): string {
  return `${from} -> ${to}`;
}

describe('src', () => {
  it('has imports to check', () => {
    expect(imports.filter(({ to }) => to === 'completion.ts').length).toBeGreaterThan(3);
    expect(imports.filter(({ to }) => to === 'gen').length).toBeGreaterThan(3);
  });

  it('consists of the parts that the architecture names', () => {
    expect([...new Set(files.map(partOf))].filter((part) => !(part in arrows))).toEqual([]);
  });

  it('follows the arrows', () => {
    const against = inside.filter(({ from, to }) => {
      const [here, there] = [partOf(from), partOf(to)];
      return here !== there && !leaves.includes(there) && !arrows[here]?.includes(there);
    });
    expect(against.map(arrow)).toEqual([]);
  });

  it('imports nothing that is not there', () => {
    const missing = imports.filter(({ to }) => to.endsWith('.ts') && !files.includes(to) && to !== 'gen');
    expect(missing.map(arrow)).toEqual([]);
  });

  it('has no circles', () => {
    const next = Map.groupBy(inside, ({ from }) => from);
    const circles: string[] = [];
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
      if (done.has(file) || path.includes(file)) return;
      for (const { to } of next.get(file) ?? []) visit(to, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(circles).toEqual([]);
  });

  it('keeps the framing of HTTP, SSE and NDJSON below all adapters', () => {
    const framing = new Set(['providers/http.ts', 'providers/sse.ts', 'providers/ndjson.ts']);
    for (const file of framing) {
      for (const { from, to } of inside) if (from === file && partOf(to) === 'providers') framing.add(to);
    }
    const adapters = inside.flatMap(({ from, to }) => (to === 'providers/provider.ts' ? [from, to] : []));
    expect(adapters.filter((file) => framing.has(file))).toEqual([]);
    expect(framing).not.toContain('providers/registry.ts');
  });

  it('constructs the parts of others in app only', () => {
    const foreign = files.flatMap((file) => {
      const code = codeOf(file);
      const built = new Set([...code.matchAll(/\bnew (\w+)\b/g)].map((match) => match[1]));
      return [...code.matchAll(/^import \{([^}]*)\} from '(\.[^']+)'/gm)].flatMap(([, names = '', target = '']) => {
        const part = partOf(join(dirname(file), target));
        if (part === partOf(file) || leaves.includes(part) || part === '..') return [];
        const own = names.split(',').map((name) => name.trim());
        return own.filter((name) => built.has(name)).map((name) => `${file}: new ${name}`);
      });
    });
    expect(foreign.filter((each) => !each.startsWith('app.ts:'))).toEqual([]);
  });

  it('reads the environment and the command line in main only', () => {
    const readers = files.filter((file) => /\bprocess\.(env|argv)\b/.test(codeOf(file)));
    expect(readers.filter((file) => file !== 'main.ts')).toEqual([]);
  });

  it('has no barrels and no drawers for what has no name', () => {
    const drawers = files.filter(
      (file) =>
        basename(file) === 'index.ts' || /(^|\/)(utils?|types|helpers?|common|shared|misc)(\/|\.ts$)/.test(file),
    );
    expect(drawers).toEqual([]);
  });

  it('has no class named Manager, Helper or Service', () => {
    const vague = files.filter((file) => /\bclass \w*(Manager|Helper|Service|Util)s?\b/.test(codeOf(file)));
    expect(vague).toEqual([]);
  });
});
