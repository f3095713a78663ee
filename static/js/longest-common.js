// The longest common subsequence of two lists of texts. Pure.

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
