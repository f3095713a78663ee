// What is to be seen of a trace: values and shades of every token under a measure, a granularity and a threshold, and
// which tokens are flagged. Pure arithmetic; the response, the chart and the keyboard all draw from it.

import { group } from './pieces.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./measures.js').Measure} Measure */

/**
 * @typedef {object} Sight
 * @property {Measure} measure
 * @property {Int32Array} unitOf Token to unit.
 * @property {Int32Array} worst Unit to its most suspicious token, -1 where none has a value.
 * @property {(number|null)[]} value The token's unit's value; null where not measured.
 * @property {Float64Array} shade The same on the measure's [0, 1] scale, 0 suspicious; NaN where not measured.
 */

/**
 * @param {Trace} trace @param {import('./pieces.js').Piece[]} pieces @param {Measure} measure
 * @param {import('./pieces.js').Granularity} granularity
 * @returns {Sight}
 */
export function look(trace, pieces, measure, granularity) {
  const { tokens } = trace;
  const { unitOf, units } = group(pieces, tokens.length, granularity);
  const own = tokens.map((token) => measure.value(token, trace));
  const worst = new Int32Array(units).fill(-1);
  for (let i = 0; i < own.length; i += 1) {
    const value = own[i];
    if (value === null) continue;
    const soFar = worst[unitOf[i]];
    if (soFar < 0 || value * measure.sign < /** @type {number} */ (own[soFar]) * measure.sign) worst[unitOf[i]] = i;
  }
  const value = own.map((_, i) => (worst[unitOf[i]] < 0 ? null : own[worst[unitOf[i]]]));
  const shade = Float64Array.from(value, (x) => (x === null ? NaN : measure.toScale(x)));
  return { measure, unitOf, worst, value, shade };
}

/** Whether a value is on the flagged side. @param {Measure} measure @param {number|null} value @param {number} threshold */
export function isFlagged(measure, value, threshold) {
  return value !== null && value * measure.sign <= threshold * measure.sign;
}

/**
 * The tokens to walk through: the worst token of each flagged unit, in order.
 * @param {Sight} sight @param {number} threshold
 */
export function flaggedTokens(sight, threshold) {
  const tokens = [];
  for (const token of sight.worst) {
    if (token >= 0 && isFlagged(sight.measure, sight.value[token], threshold)) tokens.push(token);
  }
  return tokens;
}

/** The n most suspicious units' tokens, worst first. @param {Sight} sight @param {number} n */
export function mostSuspicious(sight, n) {
  const rank = (/** @type {number} */ token) => sight.measure.sign * (sight.value[token] ?? Infinity);
  return Array.from(sight.worst)
    .filter((token) => token >= 0)
    .sort((a, b) => rank(a) - rank(b) || a - b)
    .slice(0, n);
}

/** The shade at which the colour is neutral. @param {Measure} measure @param {number} threshold */
export function neutralShade(measure, threshold) {
  // Kept off the ends: the two sides of the scale are divided by it.
  return Math.min(0.999, Math.max(0.001, measure.toScale(measure.middle ?? threshold)));
}
