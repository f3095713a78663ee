// What stored rollouts say of one token: how often the right answer was reached after it, and after others in its place.

import { h } from './dom.js';
import { count, integer, visible } from './format.js';

/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').RolloutGroup} RolloutGroup */

/** A rate in whole percent. @param {number} rate */
const percent = (rate) => `${Math.round(rate * 100)}%`;

/**
 * A table for every stored set of rollouts at a position, the newest first.
 * @param {Rollouts[]} sets @param {number} position
 */
export function rolloutTables(sets, position) {
  return sets
    .filter((set) => set.position === position)
    .reverse()
    .map(table);
}

/** @param {Rollouts} set */
function table(set) {
  const { temperature, max_tokens: longest } = set.sampling;
  const head = ['token', 'right', 'rate', '95%'];
  return h(
    'section',
    { class: 'rollouts' },
    h('h3', {}, 'Rollouts'),
    h(
      'table',
      { class: 'numbers alternatives', 'aria-label': 'How often each token leads to the right answer' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          head.map((name) => h('th', { scope: 'col' }, name)),
        ),
      ),
      h('tbody', {}, row(set.original, true), [...set.alternatives].sort(byRate).map((group) => row(group, false))),
    ),
    h(
      'p',
      { class: 'hint num' },
      `answer ${visible(set.answer)} · ${set.model.id} · temperature ${temperature} · up to ${count(longest, 'token')}`,
    ),
  );
}

/** @param {RolloutGroup} a @param {RolloutGroup} b */
function byRate(a, b) {
  return (b.rate ?? -1) - (a.rate ?? -1) || b.samples - a.samples;
}

/** @param {RolloutGroup} group @param {boolean} own */
function row(group, own) {
  return h(
    'tr',
    { class: own ? 'actual' : '' },
    h(
      'th',
      { scope: 'row', title: `id ${group.token.id}` },
      own ? h('span', { class: 'unseen' }, 'the response’s own: ') : null,
      h('span', { class: 'chip' }, visible(group.token.text)),
    ),
    h('td', { class: 'num' }, `${integer(group.correct)} / ${integer(group.samples)}`),
    h('td', { class: 'num' }, group.rate === null ? '–' : percent(group.rate)),
    h('td', { class: 'num' }, group.rate === null ? '–' : group.interval.map(percent).join('–')),
  );
}
