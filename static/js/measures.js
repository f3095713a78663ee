// What a token can be coloured by. Each measure knows its value, its scale, and which side of a threshold is flagged.
// On every scale 0 is the suspicious end and 1 the sound end, so that colours, chart and legend share one direction.

import { decimal, probability, short } from './format.js';

/** @typedef {import('./types.js').Token} Token */

/**
 * @typedef {object} Measure
 * @property {string} key The name in the URL.
 * @property {string} label
 * @property {string} about One sentence for the tool tip.
 * @property {boolean} contrasts Needs a positive and a negative model.
 * @property {1|-1} sign 1 where a low value is suspicious, -1 where a high one is.
 * @property {(token: Token) => number|null} value
 * @property {(value: number) => number} toScale Value to [0, 1]; values outside the axis are held at its ends.
 * @property {(position: number) => number} fromScale Its inverse, for the slider.
 * @property {number} threshold The threshold to begin with.
 * @property {number|null} middle The value where the colour is neutral; null puts it at the threshold.
 * @property {number[]} ticks
 * @property {(value: number|null) => string} format
 * @property {string} [unit]
 */

const clamp = (/** @type {number} */ x) => Math.min(1, Math.max(0, x));
/** Lowest s_t on the axis. */
const FLOOR = 1e-4;
const DECADES = -Math.log10(FLOOR);
const RANK_DECADES = 3;

/** @param {number} low @param {number} high */
function linear(low, high) {
  return {
    toScale: (/** @type {number} */ x) => clamp((x - low) / (high - low)),
    fromScale: (/** @type {number} */ p) => Number((low + p * (high - low)).toFixed(2)),
  };
}

/** @type {Measure[]} */
export const MEASURES = [
  {
    key: 'score',
    label: 's_t',
    about:
      'Contrastive score of equation (3): low where the positive model finds the token unlikely and the negative one likely.',
    contrasts: true,
    sign: 1,
    value: (token) => token.score,
    toScale: (s) => clamp(1 + Math.log10(Math.max(s, FLOOR)) / DECADES),
    fromScale: (p) => Number((10 ** ((p - 1) * DECADES)).toPrecision(2)),
    threshold: 0.05,
    middle: null,
    ticks: [1e-4, 1e-3, 0.01, 0.1, 1],
    format: probability,
  },
  {
    key: 'logprob',
    label: 'base logprob',
    about: 'Natural log of the probability that the base model gives the token.',
    contrasts: false,
    sign: 1,
    value: (token) => token.logprob.base,
    ...linear(-9, 0),
    threshold: -3,
    middle: null,
    ticks: [-9, -6, -3, -1, 0],
    format: (x) => decimal(x),
    unit: 'nats',
  },
  {
    key: 'gap',
    label: 'positive − negative',
    about:
      'Log probability under the positive model minus that under the negative one: below zero, the negative model likes the token more.',
    contrasts: true,
    sign: 1,
    value: ({ logprob: { positive, negative } }) =>
      positive === null || negative === null ? null : positive - negative,
    ...linear(-4, 4),
    threshold: -1,
    middle: 0,
    ticks: [-4, -2, 0, 2, 4],
    format: (x) => decimal(x),
    unit: 'nats',
  },
  {
    key: 'entropy',
    label: 'base entropy',
    about: 'Entropy of the base model’s next-token distribution: high where it had many ways to go on.',
    contrasts: false,
    sign: -1,
    value: (token) => token.entropy.base,
    toScale: (x) => clamp(1 - x / 6),
    fromScale: (p) => Number(((1 - p) * 6).toFixed(2)),
    threshold: 2.5,
    middle: null,
    ticks: [6, 4, 2, 1, 0],
    format: (x) => decimal(x),
    unit: 'nats',
  },
  {
    key: 'rank',
    label: 'base rank',
    about: 'How many tokens the base model finds likelier; 0 is its greedy choice.',
    contrasts: false,
    sign: -1,
    value: (token) => token.rank.base,
    toScale: (r) => clamp(1 - Math.log10(1 + r) / RANK_DECADES),
    fromScale: (p) => Math.round(10 ** ((1 - p) * RANK_DECADES) - 1),
    threshold: 5,
    middle: null,
    ticks: [999, 99, 9, 1, 0],
    format: (x) => (x === null ? '–' : String(x)),
  },
];

/** @param {string|null|undefined} key */
export function measureOf(key) {
  return MEASURES.find((measure) => measure.key === key) ?? MEASURES[0];
}

/** The rule in words, e.g. "s_t ≤ 0.05". @param {Measure} measure @param {number} threshold */
export function ruleText(measure, threshold) {
  return `${measure.label} ${measure.sign > 0 ? '≤' : '≥'} ${short(threshold)}`;
}

/** Whether the trace has the numbers that a measure needs. @param {Measure} measure @param {import('./types.js').Trace} trace */
export function isMeasured(measure, trace) {
  return trace.tokens.some((token) => measure.value(token) !== null);
}

/**
 * The threshold under which the trace's own critical tokens, and no others, are flagged by s_t: the rule's value, or
 * for rules that pick by order the highest picked score.
 * @param {import('./types.js').Trace} trace
 */
export function storedThreshold(trace) {
  if (trace.rule?.rule === 'threshold') return trace.rule.value;
  const picked = trace.critical.map((position) => trace.tokens[position]?.score ?? 0);
  return picked.length ? Math.max(...picked) : MEASURES[0].threshold;
}
