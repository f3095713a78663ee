// The numbers beside two compared traces: one token in both, or without one the tokens that changed most.

import { h } from './dom.js';
import { compact, decimal, percent, probability, visible } from './format.js';
import { told } from './measures.js';
import { successOf } from './success.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Token} Token */
/** @typedef {import('./types.js').Role} Role */

/** @type {Role[]} */
const ROLES = ['base', 'positive', 'negative'];
const [POSITIVE, NEGATIVE] = /** @type {const} */ (['positive', 'negative']);
const SHORT = { base: 'base', positive: 'pos', negative: 'neg' };
/** Rows of the table of changes. */
const MOST = 12;
/** Changes by less of the axis than this are not told: they are rounding, not a finding. */
const NOTICED = 0.005;

/** @param {string} text */
const chip = (text) => h('span', { class: 'chip' }, visible(text));

/** A difference with its sign, an en dash where one side has no value. @param {number|null|undefined} a @param {number|null|undefined} b */
function change(a, b) {
  if (a === null || a === undefined || b === null || b === undefined) return '–';
  const by = b - a;
  return Math.abs(by) < 0.005 ? '0' : `${by > 0 ? '+' : ''}${decimal(by)}`;
}

/**
 * One token of each trace, or of one where the other has none beside it.
 * @param {{a: Trace, b: Trace}} pair @param {{a: Token|null, b: Token|null}} at @param {boolean} comparable whether both
 *   stand after the same text, so that their alternatives are of one place
 */
export function pairNumbers({ a, b }, at, comparable) {
  const cell = (/** @type {Token|null} */ token, /** @type {(token: Token) => string} */ text) =>
    h('td', { class: 'num' }, token ? text(token) : '');
  const row = (
    /** @type {string} */ name,
    /** @type {(token: Token) => number|null} */ value,
    /** @type {(value: number|null) => string} */ format,
    /** @type {(value: number) => number} */ scale = (x) => x,
  ) => {
    const [left, right] = [at.a && value(at.a), at.b && value(at.b)];
    if (left === null && right === null) return null;
    const by = left === null || right === null ? '–' : change(scale(left), scale(right));
    return h(
      'tr',
      {},
      h('th', { scope: 'row' }, name),
      cell(at.a, () => format(left)),
      cell(at.b, () => format(right)),
      h('td', { class: 'num' }, by),
    );
  };
  const head = (/** @type {string} */ side, /** @type {Token|null} */ token) =>
    h('th', { scope: 'col' }, side, ' ', token ? chip(token.text) : null);
  return [
    h(
      'table',
      { class: 'numbers pair-numbers', 'aria-label': 'This token in both traces' },
      h('thead', {}, h('tr', {}, h('td', {}), head('A', at.a), head('B', at.b), h('th', { scope: 'col' }, 'B − A'))),
      h(
        'tbody',
        {},
        row(
          's_t',
          (token) => token.score,
          probability,
          (x) => Math.log10(Math.max(x, 1e-9)),
        ),
        ROLES.map((role) =>
          row(
            `p ${SHORT[role]}`,
            ({ logprob }) => logprob[role],
            (x) => (x === null ? '–' : probability(Math.exp(x))),
          ),
        ),
        ROLES.map((role) => row(`entropy ${SHORT[role]}`, ({ entropy }) => entropy[role], decimal)),
        successRow(a, b, at),
      ),
    ),
    h('p', { class: 'hint' }, 'B − A: of s_t in powers of ten, of p in nats of log p.'),
    comparable && at.a && at.b ? alternatives(at.a, at.b) : null,
  ];
}

/** @param {Trace} a @param {Trace} b @param {{a: Token|null, b: Token|null}} at */
function successRow(a, b, at) {
  const known = [at.a && successOf(a)[at.a.position], at.b && successOf(b)[at.b.position]];
  if (!known.some(Boolean)) return null;
  const [left, right] = known;
  const cell = (/** @type {import('./success.js').Success|null|undefined} */ one) =>
    h(
      'td',
      { class: 'num', title: one ? `${one.interval.map(percent).join('–')} at 95%` : null },
      one ? `${one.correct} / ${one.samples}` : '–',
    );
  const by =
    left && right ? `${right.rate > left.rate ? '+' : ''}${percent(right.rate - left.rate).replace('-', '−')}` : '–';
  return h('tr', {}, h('th', { scope: 'row' }, 'rollouts'), cell(left), cell(right), h('td', { class: 'num' }, by));
}

/** What either trace reports in this place, by its contrasting models. @param {Token} a @param {Token} b */
function alternatives(a, b) {
  const [left, right] = [a, b].map(
    ({ top, ...own }) => new Map([...top, { id: own.id, text: own.text, ...own.logprob }].map((one) => [one.id, one])),
  );
  if (!a.top.length && !b.top.length) return null;
  const rows = [...new Map([...left, ...right]).values()].sort((x, y) => y.base - x.base);
  // A trace that was scored without alternatives has nothing to show but its own token.
  const columns = [
    ...(a.top.length ? [{ name: 'A pos', of: left, role: POSITIVE }] : []),
    ...(b.top.length ? [{ name: 'B pos', of: right, role: POSITIVE }] : []),
    ...(a.top.length ? [{ name: 'A neg', of: left, role: NEGATIVE }] : []),
    ...(b.top.length ? [{ name: 'B neg', of: right, role: NEGATIVE }] : []),
  ];
  const cell = (/** @type {number|null|undefined} */ logprob) =>
    h('td', { class: 'num' }, logprob === null || logprob === undefined ? '–' : compact(Math.exp(logprob)));
  const own = (/** @type {number} */ id) =>
    id === a.id && id === b.id ? 'A, B' : id === a.id ? 'A' : id === b.id ? 'B' : '';
  return h(
    'table',
    { class: 'numbers alternatives pair-alternatives', 'aria-label': 'Alternatives at this position, in both traces' },
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        ['instead', ...columns.map(({ name }) => name)].map((name) => h('th', { scope: 'col' }, name)),
      ),
    ),
    h(
      'tbody',
      {},
      rows.map(({ id, text }) =>
        h(
          'tr',
          { class: own(id) ? 'actual' : '' },
          h(
            'th',
            { scope: 'row', title: `id ${id}` },
            chip(text),
            own(id) ? h('span', { class: 'hint' }, ` ${own(id)}`) : null,
          ),
          columns.map(({ of, role }) => cell(of.get(id)?.[role])),
        ),
      ),
    ),
  );
}

/** How many tokens look more suspicious, and how many sounder. @param {import('./sight.js').Sight} difference */
export function changedTokens({ shade }) {
  return {
    worse: shade.filter((one) => one < 0.5 - NOTICED).length,
    better: shade.filter((one) => one > 0.5 + NOTICED).length,
  };
}

/**
 * The tokens that changed most, in either direction.
 * @param {{a: Trace, b: Trace}} pair @param {import('./measures.js').Measure} measure
 * @param {import('./sight.js').Sight} difference @param {(token: number) => void} select
 */
export function mostChanged({ a, b }, measure, difference, select) {
  const far = (/** @type {number} */ token) => Math.abs(difference.shade[token] - 0.5);
  const tokens = Array.from(difference.worst)
    .filter((token) => token >= 0 && far(token) > NOTICED)
    .sort((x, y) => far(y) - far(x) || x - y)
    .slice(0, MOST);
  return [
    h('h2', {}, 'Changed most'),
    tokens.length
      ? h(
          'table',
          { class: 'numbers changes', 'aria-label': `Tokens that changed most by ${measure.label}` },
          h(
            'thead',
            {},
            h(
              'tr',
              {},
              ['token', 'A', 'B', 'B − A'].map((name) => h('th', { scope: 'col' }, name)),
            ),
          ),
          h(
            'tbody',
            {},
            tokens.map((token) =>
              h(
                'tr',
                {},
                h(
                  'th',
                  { scope: 'row' },
                  h(
                    'button',
                    { type: 'button', class: 'quiet', on: { click: () => select(token) } },
                    h('span', { class: 'num pos' }, token),
                    ' ',
                    chip(a.tokens[token].text),
                  ),
                ),
                h('td', { class: 'num' }, told(measure, a.tokens[token], a)),
                h('td', { class: 'num' }, told(measure, b.tokens[token], b)),
                h('td', { class: 'num' }, difference.measure.format(difference.value[token])),
              ),
            ),
          ),
        )
      : h('p', {}, `Nothing differs by ${measure.label}.`),
    h('p', { class: 'hint' }, `By ${difference.measure.about.replace(/^How /, 'how ')}`),
  ];
}
