// How two responses lie side by side: token by token where they are the same, else word by word. Pure.

import { longestCommon } from './longest-common.js';
import { byteSlicer, cut, group } from './pieces.js';

/** @typedef {import('./types.js').Trace} Trace */

/**
 * @typedef {object} Alignment
 * @property {boolean} same Whether both are the same tokens.
 * @property {number} common So many tokens at the beginning are the same.
 * @property {[Int32Array, Int32Array]} other For each side's tokens, the other side's token beside it; -1 for none.
 */

/** @param {Trace} a @param {Trace} b @returns {Alignment} */
export function align(a, b) {
  let common = 0;
  while (common < a.tokens.length && a.tokens[common].id === b.tokens[common]?.id) common += 1;
  const same = common === a.tokens.length && common === b.tokens.length;
  /** @type {[Int32Array, Int32Array]} */
  const other = [new Int32Array(a.tokens.length).fill(-1), new Int32Array(b.tokens.length).fill(-1)];
  const put = (/** @type {number} */ i, /** @type {number} */ j) => {
    other[0][i] = j;
    other[1][j] = i;
  };
  for (let i = 0; i < common; i += 1) put(i, i);
  if (!same) alignWords(words(a, common), words(b, common), put);
  return { same, common, other };
}

/** @typedef {{text: string, first: number, last: number}} Word Its tokens, the last one included. */

/** The words from a token on. @param {Trace} trace @param {number} from @returns {Word[]} */
function words(trace, from) {
  const slice = byteSlicer(trace.response.text);
  const { unitOf, units } = group(cut(trace).pieces, trace.tokens.length, 'word');
  /** @type {Word[]} */
  const all = Array.from({ length: units }, () => ({ text: '', first: -1, last: -1 }));
  for (let i = from; i < unitOf.length; i += 1) {
    const word = all[unitOf[i]];
    if (word.first < 0) word.first = i;
    word.last = i;
  }
  const found = all.filter(({ first }) => first >= 0);
  for (const word of found) word.text = slice(trace.tokens[word.first].start, trace.tokens[word.last].end).trim();
  return found;
}

/** @param {Word[]} a @param {Word[]} b @param {(i: number, j: number) => void} put */
function alignWords(a, b, put) {
  for (const [i, j] of longestCommon(
    a.map(({ text }) => text),
    b.map(({ text }) => text),
  )) {
    const [left, right] = [a[i], b[j]];
    const steps = Math.min(left.last - left.first, right.last - right.first);
    for (let k = 0; k <= steps; k += 1) put(left.first + k, right.first + k);
  }
}
