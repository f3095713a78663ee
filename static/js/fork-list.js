// The tokens of a trace that were rolled out, in short: what became of each, and of the best in its place.

import { h } from './dom.js';
import { visible } from './format.js';
import { best, ofN, shareText } from './rollout-finding.js';

/** @typedef {import('./run-store.js').Fork} Fork */

/**
 * @param {Fork[]} forks newest first @param {import('./types.js').Trace|null} trace
 * @param {(fork: Fork) => void} onChoose
 * @returns {HTMLElement|null} null where nothing was rolled out
 */
export function forkList(forks, trace, onChoose) {
  const drawn = forks.filter(({ set }) => set);
  if (!drawn.length || !trace) return null;
  return h(
    'section',
    { class: 'fork-list', 'aria-label': 'Rolled out' },
    h('h2', {}, 'Rolled out'),
    h(
      'ol',
      { class: 'suspects' },
      drawn.map((fork) => h('li', {}, line(fork, trace, onChoose))),
    ),
  );
}

/** @param {Fork} fork @param {import('./types.js').Trace} trace @param {(fork: Fork) => void} onChoose */
function line(fork, trace, onChoose) {
  const { original, ...set } = /** @type {import('./types.js').Rollouts} */ (fork.set);
  const top = best({ ...set, original });
  const share = (/** @type {import('./types.js').RolloutGroup} */ group) =>
    h('span', { title: `${shareText(group)} right` }, ofN(group));
  return h(
    'button',
    { type: 'button', on: { click: () => onChoose(fork) } },
    h('span', { class: 'num pos' }, fork.position),
    h('span', { class: 'chip' }, visible(trace.tokens[fork.position].text)),
    h('span', { class: 'num' }, share(original)),
    top
      ? [
          h('span', { class: 'hint' }, '→'),
          h('span', { class: 'chip' }, visible(top.token.text)),
          h('span', { class: 'num' }, share(top)),
        ]
      : null,
  );
}
