/**
 * The text of a JSON object without some of its members; undefined if none is left.
 *
 * The values of the others stay to the letter: parsed and written again, large numbers would lose their last digits. The text
 * must be that of a JSON object, as the contract's check has made sure.
 */
export function withoutMembers(json: string, names: ReadonlySet<string>): string | undefined {
  const kept: string[] = [];
  const end = json.lastIndexOf('}');
  let at = json.indexOf('{') + 1;
  while (at < end) {
    const next = memberEnd(json, at, end);
    const member = json.slice(at, next).trim();
    at = next + 1;
    if (member !== '' && !names.has(nameOf(member))) kept.push(member);
  }
  return kept.length === 0 ? undefined : `{${kept.join(',')}}`;
}

/** Where the member that begins at `from` ends: at the next comma that is within no text, list or object. */
function memberEnd(json: string, from: number, end: number): number {
  let depth = 0;
  for (let at = from; at < end; at++) {
    const character = json[at];
    if (character === '"') at = textEnd(json, at);
    else if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    else if (character === ',' && depth === 0) return at;
  }
  return end;
}

/** The closing quote of the text that begins at `from`. */
function textEnd(json: string, from: number): number {
  let at = from + 1;
  while (at < json.length && json[at] !== '"') at += json[at] === '\\' ? 2 : 1;
  return at;
}

function nameOf(member: string): string {
  return JSON.parse(member.slice(0, textEnd(member, 0) + 1));
}
