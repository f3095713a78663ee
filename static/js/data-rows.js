// Rows of a data set in a form that can be read: problems with their answers, trajectories with their verdicts, and the
// two responses of a pair side by side, what they share dimmed and where they part marked.

import { commonBeginning } from './common-beginning.js';
import { h } from './dom.js';
import { count, plain, verdictMark } from './format.js';

/** @param {any} row @param {number} number counted from 1 */
export function rowOf(row, number) {
  return h('li', { class: 'data-row' }, h('span', { class: 'num hint row-number' }, number), body(row));
}

/** @param {any} row */
function body(row) {
  if (row.chosen !== undefined) return pair(row);
  if (row.response !== undefined) return trajectory(row);
  if (row.question !== undefined) return problem(row);
  return text('row', JSON.stringify(row, null, 2));
}

/** A text with its name above it. @param {string} name @param {any} content @param {string} [look] */
function text(name, content, look = '') {
  const shown = typeof content === 'string' ? plain(content) : content;
  return h('div', { class: `row-part ${look}` }, h('span', { class: 'field-label' }, name), h('pre', {}, shown));
}

/** @param {{question: string, answer: string}} row */
function problem({ question, answer }) {
  return h('div', { class: 'row-pair' }, text('question', question), text('answer', answer));
}

/** @param {{prompt: string, response: string, answer?: string|null, correct?: boolean|null}} row */
function trajectory({ prompt, response, answer, correct }) {
  const status = correct === true ? 'correct' : correct === false ? 'wrong' : null;
  const { symbol, word } = verdictMark(status);
  const verdict = h(
    'p',
    { class: 'row-verdict' },
    status ? h('span', { class: `verdict ${status}` }, `${symbol} ${word} `) : null,
    answer === undefined || answer === null ? null : ['expected ', h('b', { class: 'num' }, plain(String(answer)))],
  );
  return h('div', { class: 'row-pair' }, text('prompt', prompt), h('div', {}, text('response', response), verdict));
}

/**
 * @typedef {object} Pair
 * @property {string} prompt
 * @property {string} chosen
 * @property {string} rejected
 * @property {number[]|null} [chosen_weights] One a token.
 * @property {number[]|null} [rejected_weights]
 */

/** @param {Pair} row */
function pair({ prompt, chosen, rejected, chosen_weights: up, rejected_weights: down }) {
  const shared = commonBeginning(chosen, rejected);
  const side = (/** @type {'chosen'|'rejected'} */ name, /** @type {string} */ response, /** @type {any} */ weights) =>
    text(
      `${name === 'chosen' ? '✓' : '✗'} ${name}${weights ? `, ${count(weights.length, 'token weight')}` : ''}`,
      [
        h('span', { class: 'row-shared' }, plain(response.slice(0, shared))),
        response.length > shared
          ? h('mark', { class: `row-differs ${name}` }, plain(response.slice(shared)))
          : h('mark', { class: `row-differs ${name}` }, '∅'),
      ],
      name,
    );
  return h(
    'div',
    { class: 'row-body' },
    text('prompt', prompt),
    h('div', { class: 'row-pair' }, side('chosen', chosen, up), side('rejected', rejected, down)),
  );
}
