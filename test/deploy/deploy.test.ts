import { readFileSync } from 'node:fs';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { loadConfig } from '../../src/config.ts';
import { Exposition } from '../../src/telemetry/exposition.ts';
import { filledMetrics } from '../telemetry/filled-metrics.ts';
import { readExposition } from '../telemetry/read-exposition.ts';
import { dashboard, expressions } from './dashboard.ts';

const root = new URL('../../', import.meta.url).pathname;
const textOf = (file: string) => readFileSync(`${root}deploy/${file}`, 'utf8');

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
}
const rulesOf = (file: string): Rule[] => parse(textOf(file)).groups.flatMap(({ rules }: { rules: Rule[] }) => rules);
const recording = rulesOf('prometheus/rules/recording.yml');
const alerts = rulesOf('prometheus/rules/alerts.yml');

/** Metrics that Prometheus itself adds. */
const own = ['up'];
const words = new Set([
  'sum',
  'max',
  'min',
  'by',
  'on',
  'and',
  'or',
  'group_left',
  'rate',
  'increase',
  'histogram_quantile',
  'topk',
  'label_values',
  'le',
  'unless',
  'vector',
  'avg',
]);

/** The names of metrics in an expression: what is no word of PromQL and stands neither in braces nor in a list of labels. */
function namesIn(expr: string): string[] {
  const bare = expr
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
    .replaceAll(/\{[^}]*\}/g, '')
    .replaceAll(/\[[^\]]*\]/g, '')
    .replaceAll(/\b(?:by|on|group_left)\s*\([^)]*\)/g, '')
    .replaceAll(/\boffset\s+\w+/g, '')
    .replaceAll(/,\s*[a-z_]+\)$/g, ')');
  return [...bare.matchAll(/[a-zA-Z_:][\w:]*/g)].map(([name]) => name).filter((name) => !words.has(name));
}

/** The labels of metrics in an expression. */
function labelsIn(expr: string): string[] {
  const inBraces = [...expr.matchAll(/\{([^}]*)\}/g)].flatMap(([, text = '']) =>
    [...text.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, name = '']) => name),
  );
  const inLists = [...expr.matchAll(/\bby\s*\(([^)]*)\)/g)].flatMap(([, text = '']) => text.split(/\s*,\s*/));
  return [...inBraces, ...inLists].filter((name) => name !== '');
}

const used = [
  ...expressions,
  ...dashboard.templating.list.flatMap(({ definition }) => definition ?? []),
  ...recording.map(({ expr }) => expr),
  ...alerts.map(({ expr }) => expr),
];

describe('dashboard and rules', () => {
  it('ask for nothing that a scrape does not have', async () => {
    const samples = readExposition(await new Exposition(filledMetrics(), '0').text());
    const known = new Set([...samples.map(({ name }) => name), ...recording.map(({ record }) => record), ...own]);
    const asked = used.flatMap(namesIn);
    expect(asked.length).toBeGreaterThan(100);
    expect([...new Set(asked)].filter((name) => !known.has(name))).toEqual([]);
  });

  it('ask by labels that there are', async () => {
    const samples = readExposition(await new Exposition(filledMetrics(), '0').text());
    const known = new Set(['job', 'instance', ...samples.flatMap(({ labels }) => Object.keys(labels))]);
    expect([...new Set(used.flatMap(labelsIn))].filter((name) => !known.has(name))).toEqual([]);
  });

  it('find names in expressions as PromQL does', () => {
    const expr =
      'histogram_quantile(0.95, sum by (le, a_label) (rate(a_metric_bucket{x="y", z=~"(w|v)"}[5m]))) > on () b:c offset 1d';
    expect(namesIn(expr)).toEqual(['a_metric_bucket', 'b:c']);
    expect(labelsIn(expr)).toEqual(['x', 'z', 'le', 'a_label']);
  });

  it('show every metric of the gateway', async () => {
    const samples = readExposition(await new Exposition(filledMetrics(), '0').text());
    const asked = new Set(used.flatMap(namesIn).map((name) => name.replace(/_(?:bucket|sum|count)$/, '')));
    const names = new Set(samples.map(({ name }) => name.replace(/_(?:bucket|sum|count)$/, '')));
    expect([...names].filter((name) => !asked.has(name) && name !== 'target_info')).toEqual([]);
  });
});

describe('the rules', () => {
  // Its comment said that they come along, but they did not: no alerts, and half of the dashboard's figures were empty.
  it('come with the ServiceMonitor, as they are', () => {
    const groups = (file: string) => parse(textOf(file)).groups;
    const folder = 'kubernetes/components/service-monitor/';
    expect(parse(textOf(`${folder}kustomization.yaml`)).resources).toContain('prometheus-rule.yaml');
    expect(parse(textOf(`${folder}prometheus-rule.yaml`)).spec.groups).toEqual([
      ...groups('prometheus/rules/recording.yml'),
      ...groups('prometheus/rules/alerts.yml'),
    ]);
  });
});

describe('the dashboard', () => {
  it('has panels that do not overlap, each with its own id', () => {
    const ids = dashboard.panels.map(({ id }) => id);
    expect(ids).toEqual([...new Set(ids)]);
    for (const [at, one] of dashboard.panels.entries()) {
      for (const other of dashboard.panels.slice(at + 1)) {
        const apart =
          one.gridPos.x + one.gridPos.w <= other.gridPos.x ||
          other.gridPos.x + other.gridPos.w <= one.gridPos.x ||
          one.gridPos.y + one.gridPos.h <= other.gridPos.y ||
          other.gridPos.y + other.gridPos.h <= one.gridPos.y;
        expect(apart, `${one.title} and ${other.title}`).toBe(true);
      }
    }
  });

  it('can be looked at by provider and model', () => {
    expect(dashboard.templating.list.map(({ name }) => name)).toEqual(['datasource', 'provider', 'model']);
  });
});

describe('the manifests', () => {
  const deployment = parse(textOf('kubernetes/base/deployment.yaml'));
  const pod = deployment.spec.template.spec;
  const [container] = pod.containers;

  it.each(['base', 'overlays/redis'])('of %s give a pod the time that it needs to drain', (folder) => {
    const { config } = loadConfig({ file: `${root}deploy/kubernetes/${folder}/gateway.yaml`, environment: {} });
    const drainMs = config.server?.drainTimeout ? durationMs(config.server.drainTimeout) : Number.NaN;
    const leftSeconds = pod.terminationGracePeriodSeconds - container.lifecycle.preStop.sleep.seconds - drainMs / 1000;
    expect(leftSeconds).toBeGreaterThanOrEqual(5);
  });

  it('run three replicas without any rights', () => {
    expect(deployment.spec.replicas).toBe(3);
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });

  // Kustomize adds its labels to the selectors of services and deployments, but not to these. The budget meant no pod, and the
  // policy kept the gateway from its Redis.
  it('mean the pods of the gateway where they keep pods running, and where they keep callers out', () => {
    const [{ pairs }] = parse(textOf('kubernetes/base/kustomization.yaml')).labels;
    const budget = parse(textOf('kubernetes/base/pod-disruption-budget.yaml'));
    const policy = parse(textOf('kubernetes/base/network-policy.yaml'));
    expect(budget.spec.selector).toEqual({ matchLabels: pairs });
    expect(policy.spec.podSelector).toEqual({ matchLabels: pairs });
  });

  it('ask for health by HTTP and by gRPC, on ports that there are', () => {
    const ports = Object.fromEntries(
      container.ports.map((port: { name: string; containerPort: number }) => [port.name, port.containerPort]),
    );
    const { startupProbe, readinessProbe, livenessProbe } = container;
    expect(startupProbe.grpc.port).toBe(ports.http);
    expect([readinessProbe.httpGet, livenessProbe.httpGet]).toEqual([
      { path: '/readyz', port: 'http' },
      { path: '/livez', port: 'http' },
    ]);
    const services = parseAllDocuments(textOf('kubernetes/base/service.yaml')).map((document) => document.toJS());
    const targets = services.flatMap(({ spec }) =>
      spec.ports.map(({ targetPort }: { targetPort: string }) => targetPort),
    );
    expect(targets.filter((name) => !(name in ports))).toEqual([]);
  });
});

describe('the compose file', () => {
  const { services } = parse(textOf('compose.yaml'));

  it('has a health check for each service', () => {
    expect(Object.keys(services).sort()).toEqual(['collector', 'gateway', 'grafana', 'prometheus', 'redis']);
    for (const service of Object.values<{ healthcheck?: { test: string[] } }>(services)) {
      expect(service.healthcheck?.test[0]).toBe('CMD');
    }
  });

  it('checks the gateway as its image does', () => {
    const dockerfile = readFileSync(`${root}Dockerfile`, 'utf8');
    expect(dockerfile).toContain(
      `CMD ${JSON.stringify(services.gateway.healthcheck.test.slice(1)).replaceAll(',', ', ')}`,
    );
  });

  // Those of GitHub Models were not, whatever the `.env` file said.
  it('hands on what turns providers on, and their keys', () => {
    const { environment } = services.gateway;
    for (const name of ['GEMINI', 'GROQ', 'GITHUB_MODELS']) {
      expect(environment[`ENABLE_${name}`]).toBe(`\${ENABLE_${name}:-false}`);
    }
    for (const name of ['GEMINI_API_KEY', 'GROQ_API_KEY', 'GITHUB_TOKEN']) {
      expect(environment[name]).toBe(`\${${name}:-}`);
    }
  });

  it('opens no port to others', () => {
    const ports = Object.values<{ ports?: string[] }>(services).flatMap((service) => service.ports ?? []);
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
  });
});
