// One row of the list of traces: a plain link, so that it opens in a new tab too, and what can be done with the trace.

import { h } from './dom.js';
import { count, plain, verdictMark, when, whenFull } from './format.js';
import { MEASURES } from './measures.js';
import * as router from './router.js';
import { sparkline } from './spark.js';

/** @typedef {import('./types.js').TraceSummary} TraceSummary */

/** A row's place while its page is on its way. */
export function placeholder() {
  return h('div', { class: 'row waiting', tabindex: -1 }, h('span', {}), h('span', {}), h('span', {}));
}

/** The verdict's mark, the critical tokens' count and the shape of s_t. @param {TraceSummary} row */
export function rowTop(row) {
  const { symbol, word } = verdictMark(row.verdict);
  const critical = row.critical_count;
  return h(
    'span',
    { class: 'row-top' },
    sparkline(row.sparkline, MEASURES[0].threshold),
    h('span', { class: `verdict ${row.verdict ?? 'none'}` }, `${symbol} ${word}`),
    critical ? h('span', { class: 'badge critical', title: count(critical, 'critical token') }, `▼ ${critical}`) : null,
    h(
      'time',
      { class: 'num', datetime: new Date(row.created * 1000).toISOString(), title: whenFull(row.created) },
      when(row.created),
    ),
  );
}

/** The response's and the question's beginnings, and the tags. @param {TraceSummary} row */
export function rowTexts(row) {
  return [
    h('span', { class: 'row-text' }, plain(row.response_excerpt.trim() || '(white space)')),
    h(
      'span',
      { class: 'row-sub' },
      row.tags.map((tag) => [h('span', { class: 'tag' }, plain(tag)), ' ']),
      plain(row.prompt_excerpt.trim()),
    ),
  ];
}

/**
 * @param {TraceSummary} row
 * @param {{selecting: () => boolean, remove: () => void, toggle: (range: boolean) => void}} on `toggle` selects or lets go,
 *   with `range` all from the last one on
 */
export function listRow(row, on) {
  const open = (/** @type {MouseEvent} */ event) => {
    if (on.selecting() || event.shiftKey) {
      event.preventDefault();
      on.toggle(event.shiftKey);
    } else if (!event.metaKey && !event.ctrlKey && event.button === 0) {
      event.preventDefault();
      router.open(router.traceSight(row.id));
    }
  };
  const box = h('input', {
    type: 'checkbox',
    class: 'row-box',
    tabindex: -1,
    'aria-label': `Select the trace ${plain(row.response_excerpt.trim().slice(0, 40))}`,
    on: { click: (/** @type {MouseEvent} */ event) => on.toggle(event.shiftKey) },
  });
  return [
    h(
      'a',
      { class: 'row', href: router.address({ ...router.parse(''), trace: row.id }), tabindex: -1, on: { click: open } },
      rowTop(row),
      rowTexts(row),
    ),
    box,
    h(
      'button',
      {
        type: 'button',
        class: 'quiet row-delete',
        tabindex: -1,
        title: 'Delete (Del)',
        'aria-label': 'Delete this trace',
        on: { click: on.remove },
      },
      '✕',
    ),
  ];
}
