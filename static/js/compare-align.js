// How two responses lie side by side: token by token where they are the same, else word by word. Pure.

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

/**
 * The pairs of a longest common subsequence, by Hirschberg's halving: quadratic in time, linear in room.
 * @param {string[]} a @param {string[]} b @returns {[number, number][]}
 */
export function longestCommon(a, b) {
  /** @type {Map<string, number>} */
  const numbers = new Map();
  const number = (/** @type {string} */ text) => {
    if (!numbers.has(text)) numbers.set(text, numbers.size);
    return /** @type {number} */ (numbers.get(text));
  };
  const [left, right] = [Int32Array.from(a, number), Int32Array.from(b, number)];
  /** @type {[number, number][]} */
  const pairs = [];
  /** @param {number} a0 @param {number} a1 @param {number} b0 @param {number} b1 */
  const walk = (a0, a1, b0, b1) => {
    while (a0 < a1 && b0 < b1 && left[a0] === right[b0]) pairs.push([a0++, b0++]);
    /** @type {[number, number][]} */
    const tail = [];
    while (a0 < a1 && b0 < b1 && left[a1 - 1] === right[b1 - 1]) tail.push([--a1, --b1]);
    if (a0 < a1 && b0 < b1) {
      if (a1 - a0 === 1) {
        const at = right.subarray(b0, b1).indexOf(left[a0]);
        if (at >= 0) pairs.push([a0, b0 + at]);
      } else {
        const middle = (a0 + a1) >> 1;
        const above = lengths(left.subarray(a0, middle), right.subarray(b0, b1));
        const below = lengths(left.slice(middle, a1).reverse(), right.slice(b0, b1).reverse());
        let best = 0;
        for (let k = 1; k <= b1 - b0; k += 1) {
          if (above[k] + below[b1 - b0 - k] > above[best] + below[b1 - b0 - best]) best = k;
        }
        walk(a0, middle, b0, b0 + best);
        walk(middle, a1, b0 + best, b1);
      }
    }
    pairs.push(...tail.reverse());
  };
  walk(0, left.length, 0, right.length);
  return pairs;
}

/** Lengths of the longest common subsequences of all of `a` and each beginning of `b`. @param {Int32Array} a @param {Int32Array} b */
function lengths(a, b) {
  let row = new Int32Array(b.length + 1);
  for (const one of a) {
    const next = new Int32Array(b.length + 1);
    for (let j = 1; j <= b.length; j += 1) {
      next[j] = one === b[j - 1] ? row[j - 1] + 1 : Math.max(row[j], next[j - 1]);
    }
    row = next;
  }
  return row;
}
