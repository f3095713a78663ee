// The controls over a comparison: the measure, the legend with the threshold, what is looked at, and a chart a part.

import { h } from './dom.js';
import { Legend } from './legend.js';
import * as router from './router.js';
import { granularitySwitch, measureSelect, setSwitch, switchOf, toolRows } from './sight-tools.js';

/** @typedef {'a'|'b'|'change'} Part */

/** @type {Part[]} */
export const PARTS = ['a', 'b', 'change'];
export const NAMES = { a: 'A', b: 'B', change: 'B − A' };

const LOOKS = [
  {
    key: 'change',
    label: 'B − A',
    about: 'What differs: orange where B is more suspicious, blue where it is sounder.',
  },
  { key: 'a', label: 'A', about: 'A by its own measure.' },
  { key: 'b', label: 'B', about: 'B by its own measure.' },
  { key: 'both', label: 'A and B', about: 'Both side by side.' },
];

export class CompareTools {
  /** @param {Record<Part, import('./chart.js').Chart>} charts @param {(direction: -1|1) => void} step to another flagged token */
  constructor(charts, step) {
    this.legend = new Legend((threshold) => router.adjust({ threshold }));
    this.measure = measureSelect();
    this.by = granularitySwitch();
    this.looks = switchOf('look', 'What is seen', LOOKS, (key) => router.open({ look: key, threshold: null }));
    this.tally = h('span', { class: 'num', id: 'tally' });
    this.root = h(
      'div',
      { class: 'tools' },
      toolRows(
        this.measure,
        this.legend.root,
        step,
        this.tally,
        h('span', { class: 'switches' }, this.looks, this.by),
      ),
      PARTS.map((part) =>
        h('div', { class: `chart-row ${part}` }, h('span', { class: 'label' }, NAMES[part]), charts[part].root),
      ),
    );
  }

  /**
   * @param {import('./measures.js').Measure} measure the chosen one @param {import('./measures.js').Measure} drawn the one of
   *   the legend: it, or its difference @param {import('./pieces.js').Granularity} by
   * @param {router.Side|null} look null where there is nothing to choose between
   */
  show(measure, drawn, by, look) {
    this.legend.show(drawn);
    this.measure.value = measure.key;
    this.measure.title = measure.about;
    setSwitch(this.by, by);
    this.looks.hidden = look === null;
    if (look) setSwitch(this.looks, look);
  }
}
