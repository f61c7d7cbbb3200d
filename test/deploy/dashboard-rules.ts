// Prints the dashboard's expressions as recording rules, for promtool to read. JSON is YAML.
import { expressions } from './dashboard.ts';

const rules = expressions.map((expr, at) => ({ record: `dashboard:expression_${at}`, expr }));
console.log(JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
