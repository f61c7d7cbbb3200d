import type { CompletionEvent } from '../../gen/llmgateway/v1/completion_pb.ts';

/** What is known of one choice while its events pass. */
interface ChoiceSoFar {
  /** Kind of each part, in the order of opening; `opaque` for a block without a kind. */
  readonly kinds: string[];
  finished: boolean;
}

/**
 * Names every law of the contract that a whole stream of events breaks; none: the stream is lawful.
 *
 * - `started` once, before everything but heartbeats;
 * - parts open as 0, 1, 2, ... and never change their kind; only a delta opens one, or an extra for an opaque block;
 * - `choice_finished` once a choice, after everything of it;
 * - `finished` once, last, after every choice;
 * - no text ends within a character.
 */
export function brokenLaws(events: readonly CompletionEvent[]): string[] {
  const broken: string[] = [];
  const choices = new Map<number, ChoiceSoFar>();
  let started = false;
  let finished = false;

  for (const [at, { event }] of events.entries()) {
    const complain = (law: string) => broken.push(`event ${at} (${event.case}): ${law}`);
    if (event.case === undefined) {
      complain('an event without a kind');
      continue;
    }
    if (finished) complain('nothing comes after `finished`');
    if (event.case === 'heartbeat') continue;
    if (event.case === 'started') {
      if (started) complain('`started` comes once');
      started = true;
      continue;
    }
    if (!started) complain('`started` comes first');
    if (event.case === 'usage') continue;
    if (event.case === 'finished') {
      finished = true;
      if (choices.size === 0) complain('an answer has a choice');
      for (const [index, choice] of choices) if (!choice.finished) complain(`choice ${index} has not finished`);
      continue;
    }
    const { choiceIndex } = event.value;
    if (choiceIndex === undefined) continue; // an extra of the whole completion
    let choice = choices.get(choiceIndex);
    if (!choice) {
      choice = { kinds: [], finished: false };
      choices.set(choiceIndex, choice);
    }
    if (choice.finished) complain(`choice ${choiceIndex} has already finished`);
    switch (event.case) {
      case 'choiceFinished':
        choice.finished = true;
        break;
      case 'textDelta':
      case 'reasoningDelta':
      case 'refusalDelta':
        open(choice, event.value.partIndex, event.case, complain);
        if (!event.value.text.isWellFormed()) complain('a text holds half a character');
        break;
      case 'toolCallDelta': {
        const { partIndex, arguments: args, id, name } = event.value;
        const first = open(choice, partIndex, event.case, complain);
        if (!args.isWellFormed()) complain('arguments hold half a character');
        if (first && (id === '' || name === '')) complain('the first delta of a tool call names it');
        if (!first && (id !== '' || name !== '')) complain('only the first delta of a tool call names it');
        break;
      }
      case 'mediaDelta':
        open(choice, event.value.partIndex, event.value.media.case ?? 'nothing', complain);
        break;
      case 'citation':
        if (choice.kinds[event.value.partIndex] === undefined) complain('a citation opens no part');
        break;
      case 'extra': {
        const { partIndex } = event.value;
        if (partIndex !== undefined && choice.kinds[partIndex] === undefined) {
          open(choice, partIndex, 'opaque', complain);
        }
        break;
      }
    }
  }
  if (!started) broken.push('the stream never started');
  if (!finished) broken.push('the stream never finished');
  return broken;
}

/** Enter a part of a choice; tells whether it is new. */
function open(choice: ChoiceSoFar, partIndex: number, kind: string, complain: (law: string) => void): boolean {
  const before = choice.kinds[partIndex];
  if (before === undefined) {
    if (partIndex !== choice.kinds.length) complain(`part ${partIndex} opens where part ${choice.kinds.length} is due`);
    choice.kinds[partIndex] = kind;
    return true;
  }
  if (before !== kind) complain(`part ${partIndex} changes from ${before} to ${kind}`);
  return false;
}
