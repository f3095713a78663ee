// What a dry run found: the stages with their rows, steps and tokens, every row that would be left out with its reason,
// and the complete settings.

import { fill, h } from './dom.js';
import { count, integer, plain } from './format.js';
import { copyButton } from './job-copy.js';
import { droppedWord } from './job-words.js';

/** Rows that are listed at once. */
const PAGE = 100;

/** @typedef {{stage: string, line: number, reason: string, detail: string}} DroppedRow */

/**
 * @param {{config: any, dataset: {name: string, rows: number}, dropped: DroppedRow[],
 *   stages: {name: string, rows: number|null, steps: number|null, tokens: number|null}[]}} plan
 */
export function planned(plan) {
  const cell = (/** @type {number|null} */ n) =>
    n === null
      ? h('td', { class: 'num', title: 'The stages before it make its rows' }, '–')
      : h('td', { class: 'num' }, integer(n));
  const json = JSON.stringify(plan.config, null, 2);
  return h(
    'div',
    { class: 'card' },
    h('h2', {}, 'Dry run'),
    h('p', {}, '✓ The settings are right, and nothing has been started.'),
    h(
      'table',
      { class: 'plain-table', 'aria-label': 'What would be used' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['stage', 'rows', 'steps', 'tokens'].map((name, index) =>
            h('th', { scope: 'col', class: index ? 'num' : '' }, name),
          ),
        ),
      ),
      h(
        'tbody',
        {},
        plan.stages.map((stage) =>
          h('tr', {}, h('th', { scope: 'row' }, stage.name), cell(stage.rows), cell(stage.steps), cell(stage.tokens)),
        ),
      ),
    ),
    dropped(plan.dropped, plan.dataset.rows),
    h(
      'details',
      {},
      h('summary', {}, 'Complete settings'),
      h(
        'div',
        { class: 'code-box' },
        copyButton('the settings', () => json),
        h('pre', { tabindex: 0 }, plain(json)),
      ),
    ),
  );
}

/** @param {DroppedRow[]} rows @param {number} all */
function dropped(rows, all) {
  if (!rows.length) return h('p', { class: 'num' }, `All ${count(all, 'row')} would be used.`);
  /** @type {Map<string, number>} */
  const reasons = new Map();
  for (const { reason } of rows) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const list = h('tbody', {});
  const more = h('button', { type: 'button', class: 'quiet' });
  const show = () => {
    const shown = list.childElementCount;
    list.append(
      ...rows
        .slice(shown, shown + PAGE)
        .map((row) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row', class: 'num' }, `line ${row.line}`),
            h('td', {}, droppedWord(row.reason)),
            h('td', { class: 'hint' }, plain(row.detail)),
          ),
        ),
    );
    const left = rows.length - list.childElementCount;
    more.hidden = !left;
    fill(more, `Show ${integer(Math.min(PAGE, left))} more of ${integer(left)}`);
  };
  more.addEventListener('click', show);
  show();
  const said = [...reasons].map(([reason, n]) => `${integer(n)} ${droppedWord(reason)}`).join(', ');
  return h(
    'div',
    { class: 'plan-dropped' },
    h('p', {}, h('b', { class: 'num' }, `⚠ ${integer(rows.length)} of ${count(all, 'row')} would be left out: `), said),
    h(
      'div',
      { class: 'plan-rows', tabindex: 0, role: 'region', 'aria-label': 'Rows that would be left out' },
      h('table', { class: 'plain-table' }, list),
      more,
    ),
  );
}
