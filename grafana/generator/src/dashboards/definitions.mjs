// What is counted, in the words of the documents: a panel quotes a definition or does not exist, so the two can't differ.
//
// The tests keep docs/metrics.md equal to the definitions in the Rust code, and docs/operations.md complete.

import { readFileSync } from 'node:fs';

const read = (path) => readFileSync(new URL(`../../../../${path}`, import.meta.url), 'utf8');
const flowing = (text) => text.replace(/^> ?/gm, '').replace(/\s+/g, ' ').trim();

/** Definitions by metric: the block quote under the line that introduces the metric by its name. */
const definitions = new Map(
  [...read('docs/metrics.md').matchAll(/^`(\w+)`: .*\n\n((?:> .*\n)+)/gm)].map(([, name, text]) => [name, flowing(text)]),
);

/** Meanings by gauge of the pipeline itself: the last cells of the table of its metrics. */
const meanings = new Map(
  [...read('docs/operations.md').matchAll(/^\| `(dealpulse_\w+)[^|]*\| \w+ \| (.*) \|$/gm)].map(([, name, meaning]) => [
    name,
    flowing(meaning).replace(/\[([^\]]*)\]\([^)]*\)/g, '$1'),
  ]),
);

/**
 * Part of a metric's definition, as a sentence.
 * @param {string} metric as in docs/metrics.md, for example `win_rate`
 * @param {string} words must stand in its definition
 * @param {string} [of] what they are said of, if they are no sentence by themselves
 */
export function quote(metric, words, of) {
  const definition = definitions.get(metric);
  if (!definition?.includes(words)) throw new Error(`the definition of ${metric} does not say “${words}”`);
  const sentence = of === undefined ? words[0].toUpperCase() + words.slice(1) : `${of}: ${words}`;
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}

/** What a metric of the pipeline itself means, as a sentence. @param {string} name the whole name */
export function meaning(name) {
  const words = meanings.get(name);
  if (words === undefined) throw new Error(`docs/operations.md does not explain ${name}`);
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
