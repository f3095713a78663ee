// The controls that say what is seen of a trace, or of two: the measure, the granularity, the steps between flagged
// tokens. Each writes the address; the view follows it.

import { fill, h } from './dom.js';
import { MEASURES, grouped } from './measures.js';
import { GRANULARITIES } from './pieces.js';
import * as router from './router.js';

/** @typedef {import('./measures.js').Measure} Measure */

export function measureSelect() {
  const select = h('select', {
    id: 'measure',
    on: { change: () => router.open({ measure: select.value, threshold: null }) },
  });
  return select;
}

/** Lists the measures; those that have no numbers here cannot be chosen. @param {HTMLElement} select @param {(measure: Measure) => boolean} measured */
export function fillMeasures(select, measured) {
  fill(
    select,
    grouped(MEASURES).map(([label, measures]) =>
      h(
        'optgroup',
        { label },
        measures.map((measure) =>
          h('option', { value: measure.key, disabled: !measured(measure), title: measure.about }, measure.label),
        ),
      ),
    ),
  );
}

/**
 * A few choices side by side, of which one holds.
 * @param {string} name @param {string} legend @param {{key: string, label: string, about: string}[]} choices
 * @param {(key: any) => void} choose
 */
export function switchOf(name, legend, choices, choose) {
  return h(
    'fieldset',
    { class: 'switch' },
    h('legend', { class: 'unseen' }, legend),
    choices.map(({ key, label, about }) =>
      h(
        'label',
        { title: about },
        h('input', { type: 'radio', name, value: key, on: { change: () => choose(key) } }),
        h('span', {}, label),
      ),
    ),
  );
}

/** Shows which choice holds. @param {HTMLElement} element @param {string} key */
export function setSwitch(element, key) {
  /** @type {HTMLInputElement} */ (element.querySelector(`[value="${key}"]`)).checked = true;
}

export function granularitySwitch() {
  return switchOf('by', 'Granularity', GRANULARITIES, (by) => router.open({ by }));
}

/** To the previous and the next flagged token. @param {(direction: -1|1) => void} step */
function stepButtons(step) {
  const button = (/** @type {string} */ text, /** @type {string} */ label, /** @type {-1|1} */ direction) =>
    h(
      'button',
      {
        type: 'button',
        class: 'quiet',
        title: `${label} (${direction < 0 ? 'k' : 'j'})`,
        'aria-label': label,
        on: { click: () => step(direction) },
      },
      text,
    );
  return [button('‹ k', 'Previous flagged token', -1), button('j ›', 'Next flagged token', 1)];
}

/**
 * The two rows of controls that every sight has.
 * @param {HTMLElement} measure @param {HTMLElement} legend @param {(direction: -1|1) => void} step @param {...any} more
 *   after the steps
 */
export function toolRows(measure, legend, step, ...more) {
  return [
    h('div', { class: 'tools-row' }, h('label', {}, h('span', { class: 'label' }, 'measure'), measure), legend),
    h('div', { class: 'tools-row tally' }, stepButtons(step), more),
  ];
}
