import { readFileSync } from 'node:fs';

const file = new URL('../../deploy/grafana/dashboards/llm-gateway.json', import.meta.url);

/** A panel, as far as tests look at it. */
export interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

/** The dashboard, as far as tests look at it. */
export interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

export const dashboard: Dashboard = JSON.parse(readFileSync(file, 'utf8'));

/** Every expression of the dashboard, with its variables as Grafana puts them in. */
export const expressions: readonly string[] = dashboard.panels
  .flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
  .map((expr) => expr.replaceAll(/\$__\w+/g, '5m').replaceAll(/\$(?:provider|model)\b/g, '.*'));
