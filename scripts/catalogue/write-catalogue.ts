import { readFileSync, writeFileSync } from 'node:fs';
import { compileCatalogue } from './compile-catalogue.ts';

// `npm run catalogue`: write the models, prices and capabilities that the gateway knows without being told. To refresh them,
// install a newer @pydantic/genai-prices, bring overrides.ts up to date, and run this.

const target = new URL('../../src/routing/published-models.json', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
const version: string = manifest.devDependencies['@pydantic/genai-prices'];
const lists = Object.entries(compileCatalogue()).map(([name, models]) => {
  // One line a model, so that a difference can be read.
  const lines = models.map((model) => `      ${JSON.stringify(model)}`);
  return `    ${JSON.stringify(name)}: [\n${lines.join(',\n')}\n    ]`;
});
const head = {
  source: `@pydantic/genai-prices ${version}, and scripts/catalogue/overrides.ts`,
  written: new Date().toISOString().slice(0, 10),
};
const members = Object.entries(head).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
writeFileSync(target, `{\n${members.join(',\n')},\n  "lists": {\n${lists.join(',\n')}\n  }\n}\n`);
