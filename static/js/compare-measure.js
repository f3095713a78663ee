// The difference of a measure between two traces of the same tokens, as a measure of its own: zero in the middle, blue
// where the token looks sounder in B, orange where it looks more suspicious. Every part that draws a measure draws it.

import { decimal, percent } from './format.js';

/** @typedef {import('./measures.js').Measure} Measure */
/** @typedef {import('./types.js').Trace} Trace */

/** Lowest s_t told apart from zero. */
const FLOOR = 1e-9;

/**
 * How two values differ, how far the axis goes, and what is flagged to begin with.
 * @typedef {{between: (a: number, b: number) => number, span: number, limit: number, about: string, format?: (x: number) => string}} Difference
 */

const minus = (/** @type {number} */ a, /** @type {number} */ b) => b - a;
const log = (/** @type {number} */ x) => Math.log10(Math.max(x, FLOOR));

/** @param {string} key @returns {Difference} */
function differenceBy(key) {
  if (key === 'score') return { between: (a, b) => log(b) - log(a), span: 2, limit: 0.5, about: 'in powers of ten' };
  if (key === 'rank') {
    return { between: (a, b) => log(1 + b) - log(1 + a), span: 2, limit: 0.5, about: 'of 1 + rank, in powers of ten' };
  }
  if (key === 'success') {
    const format = (/** @type {number} */ x) => `${x > 0 ? '+' : ''}${percent(x).replace('-', '−')}`;
    return { between: minus, span: 1, limit: 0.3, about: 'in points', format };
  }
  if (key.startsWith('entropy')) return { between: minus, span: 2, limit: 0.5, about: 'in nats' };
  return { between: minus, span: 4, limit: 1, about: 'in nats' };
}

/** @param {Measure} measure @param {Trace} a @param {Trace} b the same tokens @returns {Measure} */
export function differenceOf(measure, a, b) {
  const { between, span, limit, about, format = signed } = differenceBy(measure.key);
  const { sign } = measure;
  return {
    key: `${measure.key}-change`,
    label: `${measure.label}, B − A`,
    group: measure.group,
    about: `How ${measure.label} differs in B from A, ${about}: zero in the middle.`,
    sign,
    value: ({ position }) => {
      const before = measure.value(a.tokens[position], a);
      const after = measure.value(b.tokens[position], b);
      return before === null || after === null ? null : between(before, after);
    },
    toScale: (x) => Math.min(1, Math.max(0, (1 + (sign * x) / span) / 2)),
    fromScale: (p) => Number((sign * span * (2 * p - 1)).toFixed(2)),
    threshold: -sign * limit,
    middle: 0,
    ticks: [-1, -0.5, 0, 0.5, 1].map((part) => sign * part * span),
    format: (x) => (x === null ? '–' : format(x)),
  };
}

/** A difference with its sign. @param {number} x */
function signed(x) {
  return `${x > 0 ? '+' : ''}${decimal(x)}`;
}
