// Two responses side by side, word by word; on a narrow page one text with both. What only the first has is struck
// through, what only the second has is underlined, so that the two differ by more than colour.

import { h } from './dom.js';
import { count, plain } from './format.js';
import { apart, difference } from './rollout-diff.js';

/** A longer beginning that both share is shown by its end. */
const SHARED = 160;

/** @typedef {{label: () => any, text: string}} Side The label is made anew wherever it stands. */

/** @param {Side} first @param {Side} second */
export function comparison(first, second) {
  const pieces = difference(first.text, second.text);
  const { first: gone, second: come } = apart(pieces);
  const same = !gone && !come;
  const shown = (/** @type {string[]} */ kinds) =>
    pieces
      .map((piece, i) => ({ ...piece, head: i === 0 && piece.kind === 'same' }))
      .filter(({ kind }) => kinds.includes(kind))
      .map(({ kind, text, head }) => {
        if (kind !== 'same') return marked(kind === 'first' ? 'del' : 'ins', text);
        return h('span', { class: head ? 'shared' : null }, plain(head ? ending(text) : text));
      });
  const column = (/** @type {Side} */ side, /** @type {'first'|'second'} */ kind) =>
    h(
      'div',
      { class: 'side-text' },
      h('p', { class: 'side-label' }, side.label()),
      h('p', { class: 'model-text' }, shown(['same', kind])),
    );
  return h(
    'div',
    { class: 'comparison' },
    h(
      'p',
      { class: 'hint num' },
      same
        ? 'The same words in both.'
        : [
            h('del', {}, count(gone, 'word')),
            ' only in the first, ',
            h('ins', {}, count(come, 'word')),
            ' only in the second.',
          ],
    ),
    h('div', { class: 'sides' }, column(first, 'first'), column(second, 'second')),
    h(
      'div',
      { class: 'inline-text' },
      h('p', { class: 'side-label' }, first.label(), h('span', { class: 'hint' }, ' → '), second.label()),
      h('p', { class: 'model-text' }, shown(['same', 'first', 'second'])),
    ),
  );
}

/**
 * Words that only one text has; the white space before them is left unmarked.
 * @param {'del'|'ins'} tag @param {string} text
 */
function marked(tag, text) {
  const words = text.trimStart();
  return [text.slice(0, text.length - words.length), h(tag, {}, plain(words || text))];
}

/** The end of a text, from a word on. @param {string} text */
export function ending(text) {
  if (text.length <= SHARED) return text;
  return `… ${text.slice(-SHARED).replace(/^\S*\s/, '')}`;
}
