// What a token can be coloured by. Each measure knows its value, its scale, and which side of a threshold is flagged.
// On every scale 0 is the suspicious end and 1 the sound end, so that colours, chart and legend share one direction.

import { decimal, integer, percent, probability, short } from './format.js';
import { successOf } from './success.js';

/** @typedef {import('./types.js').Token} Token */
/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Role} Role */

/**
 * @typedef {object} Measure
 * @property {string} key The name in the URL.
 * @property {string} label
 * @property {string} group What it stands under in a list of measures.
 * @property {string} about One sentence for the tool tip.
 * @property {1|-1} sign 1 where a low value is suspicious, -1 where a high one is.
 * @property {(token: Token, trace: Trace) => number|null} value
 * @property {(value: number) => number} toScale Value to [0, 1]; values outside the axis are held at its ends.
 * @property {(position: number) => number} fromScale Its inverse, for the slider.
 * @property {number} threshold The threshold to begin with.
 * @property {number|null} middle The value where the colour is neutral; null puts it at the threshold.
 * @property {number[]} ticks
 * @property {(value: number|null) => string} format
 * @property {(token: Token, trace: Trace) => string} [basis] What the value rests on, such as a rate's n and interval.
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

/** The log probability under one model. @param {Role} role @returns {Measure} */
function logprobOf(role) {
  return {
    key: role === 'base' ? 'logprob' : `logprob-${role}`,
    label: `${role} logprob`,
    group: 'Log probability',
    about: `Natural log of the probability that the ${role} model gives the token.`,
    sign: 1,
    value: (token) => token.logprob[role],
    ...linear(-9, 0),
    threshold: -3,
    middle: null,
    ticks: [-9, -6, -3, -1, 0],
    format: (x) => decimal(x),
    unit: 'nats',
  };
}

/** The entropy of one model. @param {Role} role @returns {Measure} */
function entropyOf(role) {
  return {
    key: role === 'base' ? 'entropy' : `entropy-${role}`,
    label: `${role} entropy`,
    group: 'Entropy',
    about: `Entropy of the ${role} model’s next-token distribution: high where it had many ways to go on.`,
    sign: -1,
    value: (token) => token.entropy[role],
    toScale: (x) => clamp(1 - x / 6),
    fromScale: (p) => Number(((1 - p) * 6).toFixed(2)),
    threshold: 2.5,
    middle: null,
    ticks: [6, 4, 2, 1, 0],
    format: (x) => decimal(x),
    unit: 'nats',
  };
}

/** @type {Measure[]} */
export const MEASURES = [
  {
    key: 'score',
    label: 's_t',
    group: 'Contrast',
    about:
      'Contrastive score of equation (3): low where the positive model finds the token unlikely and the negative one likely.',
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
    key: 'gap',
    label: 'positive − negative',
    group: 'Contrast',
    about:
      'Log probability under the positive model minus that under the negative one: below zero, the negative model likes the token more.',
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
    key: 'success',
    label: 'rollout success',
    group: 'Rollouts',
    about:
      'Share of the stored rollouts from this token on that reach the right answer; only where rollouts were drawn.',
    sign: 1,
    value: (token, trace) => successOf(trace)[token.position]?.rate ?? null,
    ...linear(0, 1),
    threshold: 0.05,
    middle: 0.5,
    ticks: [0, 0.25, 0.5, 0.75, 1],
    format: (x) => (x === null ? '–' : percent(x)),
    basis: (token, trace) => {
      const known = successOf(trace)[token.position];
      return known ? `of ${integer(known.samples)}, ${known.interval.map(percent).join('–')}` : '';
    },
  },
  logprobOf('base'),
  logprobOf('positive'),
  logprobOf('negative'),
  entropyOf('base'),
  entropyOf('positive'),
  entropyOf('negative'),
  {
    key: 'rank',
    label: 'base rank',
    group: 'Rank',
    about: 'How many tokens the base model finds likelier; 0 is its greedy choice.',
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

/** A token's value with what it rests on: no rate without its n. @param {Measure} measure @param {Token} token @param {Trace} trace */
export function told(measure, token, trace) {
  return [measure.format(measure.value(token, trace)), measure.basis?.(token, trace)].filter(Boolean).join(' ');
}

/** The measures by group, in order. @param {Measure[]} measures @returns {[string, Measure[]][]} */
export function grouped(measures) {
  /** @type {Map<string, Measure[]>} */
  const groups = new Map();
  for (const measure of measures) groups.set(measure.group, [...(groups.get(measure.group) ?? []), measure]);
  return [...groups];
}

/** Whether the trace has the numbers that a measure needs. @param {Measure} measure @param {Trace} trace */
export function isMeasured(measure, trace) {
  return trace.tokens.some((token) => measure.value(token, trace) !== null);
}

/**
 * The threshold under which the trace's own critical tokens, and no others, are flagged by s_t: the rule's value, or
 * for rules that pick by order the highest picked score.
 * @param {Trace} trace
 */
export function storedThreshold(trace) {
  if (trace.rule?.rule === 'threshold') return trace.rule.value;
  const picked = trace.critical.map((position) => trace.tokens[position]?.score ?? 0);
  return picked.length ? Math.max(...picked) : MEASURES[0].threshold;
}
