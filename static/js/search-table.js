// The positions of a search as a table, for those who cannot read them off the strip.

import { h } from './dom.js';
import { percent, visible } from './format.js';
import { DECIDED } from './search-words.js';

/**
 * @param {import('./types.js').Trace} trace @param {import('./types.js').SearchPosition[]} positions
 * @param {number|null} leading @param {(token: number) => void} onSelect
 */
export function searchTable(trace, positions, leading, onSelect) {
  const head = ['token', 'right', 'rate', '95%', 'known'];
  return h(
    'div',
    { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Positions of the search' },
    h(
      'table',
      { class: 'numbers search-table' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          head.map((name) => h('th', { scope: 'col' }, name)),
        ),
      ),
      h(
        'tbody',
        {},
        positions.map(({ position, correct, samples, rate, interval, decided }) =>
          h(
            'tr',
            { class: position === leading ? 'actual' : '' },
            h(
              'th',
              { scope: 'row' },
              h(
                'button',
                { type: 'button', class: 'quiet', on: { click: () => onSelect(position) } },
                h('span', { class: 'num' }, position),
                ' ',
                h('span', { class: 'chip' }, visible(trace.tokens[position].text)),
              ),
            ),
            h('td', { class: 'num' }, `${correct}/${samples}`),
            h('td', { class: 'num' }, percent(rate)),
            h('td', { class: 'num' }, interval.map(percent).join('–')),
            h('td', {}, DECIDED[decided]),
          ),
        ),
      ),
    ),
  );
}
