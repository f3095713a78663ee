// Two texts word by word: what they share in order (the longest common subsequence), and what only one of them has.
// Pure.

import { wordsOf } from './fork-tree.js';

/** @typedef {{kind: 'same'|'first'|'second', text: string}} Piece */

/** Texts whose words make a larger table than this are not aligned between their common ends. */
const MOST_CELLS = 16e6;

/** @param {string} first @param {string} second @returns {Piece[]} neighbours of one kind joined */
export function difference(first, second) {
  const a = wordsOf(first);
  const b = wordsOf(second);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  /** @type {Piece[]} */
  const pieces = [];
  const add = (/** @type {Piece['kind']} */ kind, /** @type {string} */ text) => {
    const last = pieces.at(-1);
    if (last?.kind === kind) last.text += text;
    else if (text) pieces.push({ kind, text });
  };
  add('same', a.slice(0, start).join(''));
  aligned(a.slice(start, a.length - end), b.slice(start, b.length - end), add);
  add('same', a.slice(a.length - end).join(''));
  return pieces;
}

/** @param {string[]} a @param {string[]} b @param {(kind: Piece['kind'], text: string) => void} add */
function aligned(a, b, add) {
  if (a.length * b.length > MOST_CELLS) {
    add('first', a.join(''));
    add('second', b.join(''));
    return;
  }
  const across = b.length + 1;
  // Cell (i, j): the most words that a from i and b from j have in common.
  const common = new Uint16Array((a.length + 1) * across);
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      common[i * across + j] =
        a[i] === b[j]
          ? common[(i + 1) * across + j + 1] + 1
          : Math.max(common[(i + 1) * across + j], common[i * across + j + 1]);
  let [i, j] = [0, 0];
  let [only, other] = ['', ''];
  const flush = () => {
    add('first', only);
    add('second', other);
    [only, other] = ['', ''];
  };
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      flush();
      add('same', a[i]);
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && common[(i + 1) * across + j] >= common[i * across + j + 1])) {
      only += a[i];
      i += 1;
    } else {
      other += b[j];
      j += 1;
    }
  }
  flush();
}

/** How many words only the one and only the other text has. @param {Piece[]} pieces */
export function apart(pieces) {
  const words = (/** @type {Piece['kind']} */ kind) =>
    pieces.filter((piece) => piece.kind === kind).reduce((total, { text }) => total + wordsOf(text).length, 0);
  return { first: words('first'), second: words('second') };
}
