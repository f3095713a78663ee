// The legend and the threshold in one: the colour scale with its ticks, the threshold's handle standing on it, and the
// number beside it. Draws with the same variables as the response, so that both always agree.

import { fill, h, setVars } from './dom.js';
import { decimal, short } from './format.js';
import { ruleText } from './measures.js';
import { neutralShade } from './sight.js';

/** @typedef {import('./measures.js').Measure} Measure */

const STEPS = 1000;

export class Legend {
  /** @param {(threshold: number) => void} onMove */
  constructor(onMove) {
    this.onMove = onMove;
    /** @type {Measure|null} */
    this.measure = null;
    this.slider = h('input', {
      type: 'range',
      min: 0,
      max: STEPS,
      step: 1,
      id: 'threshold',
      'aria-label': 'Threshold',
      on: { input: () => this.measure && onMove(this.measure.fromScale(this.slider.valueAsNumber / STEPS)) },
    });
    this.number = h('input', {
      type: 'text',
      inputmode: 'decimal',
      size: 6,
      id: 'threshold-value',
      'aria-label': 'Threshold, exact value',
      on: { change: () => this.#typed() },
    });
    this.ticks = h('div', { class: 'legend-ticks', 'aria-hidden': 'true' });
    this.sign = h('span', { class: 'legend-sign' });
    this.scale = h('div', { class: 'legend-scale' }, h('div', { class: 'legend-bar' }), this.slider, this.ticks);
    this.root = h(
      'div',
      { class: 'legend', role: 'group', 'aria-label': 'Colour scale and threshold' },
      this.scale,
      h('label', { class: 'legend-number' }, this.sign, this.number),
    );
  }

  /** @param {Measure} measure */
  show(measure) {
    this.measure = measure;
    const last = measure.ticks.length - 1;
    fill(
      this.ticks,
      measure.ticks.map((tick, i) =>
        h(
          'span',
          { class: i === 0 ? 'first' : i === last ? 'last' : '', vars: { '--x': measure.toScale(tick).toFixed(4) } },
          short(tick),
        ),
      ),
    );
    this.sign.textContent = `flag ${measure.sign > 0 ? '≤' : '≥'}`;
  }

  /** @param {number} threshold */
  threshold(threshold) {
    const measure = /** @type {Measure} */ (this.measure);
    const at = measure.toScale(threshold);
    setVars(this.scale, { '--mid': neutralShade(measure, threshold).toFixed(4), '--at': at.toFixed(4) });
    // A slider in use keeps its own place: writing back the rounded value would make it stutter.
    if (Math.abs(this.slider.valueAsNumber / STEPS - at) > 1 / STEPS)
      this.slider.value = String(Math.round(at * STEPS));
    this.slider.setAttribute('aria-valuetext', ruleText(measure, threshold));
    if (document.activeElement !== this.number) this.number.value = short(threshold).replace('−', '-');
    this.number.removeAttribute('aria-invalid');
  }

  #typed() {
    const value = Number(this.number.value.replace('−', '-').replace(',', '.'));
    const bad = this.number.value.trim() === '' || !Number.isFinite(value);
    this.number.setAttribute('aria-invalid', String(bad));
    if (bad) return;
    this.onMove(value);
  }
}

/** The number of flagged tokens in words, its width steady. @param {number} flagged @param {number} units @param {string} noun */
export function flaggedText(flagged, units, noun) {
  return `${flagged} of ${units} ${noun}s flagged${units ? ` (${decimal((100 * flagged) / units, 1)}%)` : ''}`;
}
