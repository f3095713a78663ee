// Two texts word by word: what they share in order (the longest common subsequence), and what only one of them has.
// Pure.

import { wordsOf } from './fork-tree.js';
import { longestCommon } from './longest-common.js';

/** @typedef {{kind: 'same'|'first'|'second', text: string}} Piece */

/** Texts whose words make more pairs than this are not aligned between their common ends: it would take seconds. */
const MOST_PAIRS = 16e6;

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
  if (a.length * b.length > MOST_PAIRS) {
    add('first', a.join(''));
    add('second', b.join(''));
    return;
  }
  let [i, j] = [0, 0];
  const apartUntil = (/** @type {number} */ nextI, /** @type {number} */ nextJ) => {
    add('first', a.slice(i, nextI).join(''));
    add('second', b.slice(j, nextJ).join(''));
    [i, j] = [nextI + 1, nextJ + 1];
  };
  for (const [nextI, nextJ] of longestCommon(a, b)) {
    apartUntil(nextI, nextJ);
    add('same', a[nextI]);
  }
  apartUntil(a.length, b.length);
}

/** How many words only the one and only the other text has. @param {Piece[]} pieces */
export function apart(pieces) {
  const words = (/** @type {Piece['kind']} */ kind) =>
    pieces.filter((piece) => piece.kind === kind).reduce((total, { text }) => total + wordsOf(text).length, 0);
  return { first: words('first'), second: words('second') };
}
