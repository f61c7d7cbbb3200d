import { type Alias, isAlias, isCollection, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml';
import type { Findings } from './findings.ts';

/** A YAML text as a tree whose nodes know their lines. JSON is YAML. */
export interface YamlDocument {
  /** Null: the text is empty but for comments. */
  readonly root: Node | null;
  lineOf(node: Node): number;
  /** The node that an alias stands for. */
  targetOf(alias: Alias): Node | undefined;
}

/** Parse YAML 1.2; undefined: the text is not YAML, and findings say where and why. */
export function parseYaml(text: string, findings: Findings): YamlDocument | undefined {
  const lines = new LineCounter();
  // The reader looks for keys given twice itself: it knows their paths. Errors without excerpts: those might show a secret.
  const options = { lineCounter: lines, uniqueKeys: false, prettyErrors: false } as const;
  const document = parseDocument(text, options);
  const failedLines = new Set<number>();
  for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
    const { line } = lines.linePos(pos[0]);
    // What follows on a line that could not be read is a consequence.
    if (failedLines.has(line)) continue;
    failedLines.add(line);
    findings.refuse('', `not valid YAML: ${explain(code, message)}${hint(text, line)}`, line);
  }
  const targets = new Map<Alias, Node>();
  const anchored = new Map<string, Node>();
  visit(document, (_, node) => {
    if (isAlias(node)) {
      const target = anchored.get(node.source);
      if (target) targets.set(node, target);
      else {
        const { line } = lines.linePos(node.range?.[0] ?? 0);
        failedLines.add(line);
        findings.refuse(
          '',
          'not valid YAML: an alias has no anchor before it; put a text that begins with * in quotes',
          line,
        );
      }
    } else if ((isScalar(node) || isCollection(node)) && node.anchor) {
      anchored.set(node.anchor, node);
    }
  });
  if (failedLines.size > 0) return undefined;
  return {
    root: document.contents,
    lineOf: (node) => lines.linePos(node.range?.[0] ?? 0).line,
    targetOf: (alias) => targets.get(alias),
  };
}

function explain(code: string, message: string): string {
  if (code === 'MULTIPLE_DOCS') return 'a second document begins with ---, and only one is read';
  if (code === 'TAB_AS_INDENT') return 'a tab is used as indentation; use spaces';
  if (code === 'RESOURCE_EXHAUSTION') return 'it is nested too deeply';
  // Some messages end in a piece of the text, which may be a secret.
  const plain = message.replace(/(?<=in YAML stream|extra characters|Unresolved tag): .*/s, '');
  return plain.charAt(0).toLowerCase() + plain.slice(1);
}

/** A plain `${NAME}` cannot stand between braces or brackets: there, `{` begins a map. */
function hint(text: string, line: number): string {
  const source = text.split('\n', line)[line - 1] ?? '';
  const before = source.slice(0, Math.max(0, source.indexOf('${')));
  return /[{[]/.test(before) && !/["']$/.test(before) ? `; put \${…} in quotes` : '';
}
