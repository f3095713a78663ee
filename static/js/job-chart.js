// One chart of curves over steps, drawn by uPlot, which is fetched when the first chart is shown. The legend has the
// newest values, or those under the pointer; lines differ in dashes as well as in colour.

import { fill, h, svg } from './dom.js';
import { figures, integer, short } from './format.js';
import { onTheme } from './theme.js';

/**
 * @typedef {object} Series A line of a chart.
 * @property {string} label Empty for the only one.
 * @property {number[]} xs Steps, rising.
 * @property {number[]} ys
 * @property {string[]} said The values in words.
 * @property {string} ink The CSS variable of its colour.
 * @property {number[]} dash
 */

const HEIGHT = 168;
/** With fewer points than this each has a dot. */
const SPARSE = 30;

/** @type {Promise<any>|null} */
let library = null;

/** uPlot, fetched once. @returns {Promise<any>} */
function uplot() {
  library ??= import('../vendor/uplot/uPlot.esm.js').then((module) => module.default);
  // A failure is not kept: the next chart tries again.
  library.catch(() => (library = null));
  return library;
}

/** @param {string} name of a variable */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @type {Set<JobChart>} */
const shown = new Set();
onTheme(() => shown.forEach((chart) => chart.plot?.redraw(false)));

export class JobChart {
  /**
   * @param {string} title
   * @param {{share: boolean, sync: string, order: number}} options `share`, whether the axis goes from 0 to 1; `sync`,
   *   what the charts share whose pointers move together; `order`, the place among them
   */
  constructor(title, { share, sync, order }) {
    this.share = share;
    this.sync = sync;
    this.order = order;
    this.title = title;
    /** @type {Series[]} */
    this.series = [];
    /** @type {any} */
    this.plot = null;
    this.step = h('span', { class: 'num hint chart-step' });
    this.legend = h('div', { class: 'curve-legend' });
    this.box = h('div', { class: 'curve-box', role: 'img' });
    this.root = h(
      'figure',
      { class: 'job-curve' },
      h('figcaption', {}, h('span', { class: 'curve-title' }, title), this.step),
      this.legend,
      this.box,
    );
    this.observer = new ResizeObserver(() => this.#fit());
    this.observer.observe(this.box);
    shown.add(this);
  }

  leave() {
    shown.delete(this);
    this.observer.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  /** @param {Series[]} series */
  set(series) {
    const same = series.map(({ label }) => label).join() === this.series.map(({ label }) => label).join();
    this.series = series;
    this.steps = [...new Set(series.flatMap(({ xs }) => xs))].sort((a, b) => a - b);
    if (!same || !this.values) this.#legend();
    this.box.setAttribute('aria-label', this.#inWords());
    if (this.plot && same) this.#renew();
    else this.#make();
    this.#say(this.plot?.cursor.idx ?? null);
  }

  async #make() {
    this.plot?.destroy();
    this.plot = null;
    let Plot;
    try {
      Plot = await uplot();
    } catch {
      fill(this.box, h('p', { class: 'hint' }, 'The charts could not be loaded. The numbers are in the table below.'));
      return;
    }
    // Others may have come while the library was on its way.
    if (this.plot || !shown.has(this)) return;
    fill(this.box);
    // Equal values would have an axis of no height.
    const roomy = (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) =>
      low === high ? [low - (Math.abs(low) || 1), high + (Math.abs(low) || 1)] : Plot.rangeNum(low, high, 0.1, true);
    this.plot = new Plot(this.#options(roomy), this.#data(), this.box);
  }

  /** New points: a zoom that the reader has made stays. */
  #renew() {
    const { min, max } = this.plot.scales.x;
    const [xs] = this.plot.data;
    const zoomed = min > xs[0] || max < xs[xs.length - 1];
    this.plot.setData(this.#data(), !zoomed);
    if (zoomed) this.plot.redraw();
  }

  /** uPlot wants one row of steps, and each line's value at each of them. */
  #data() {
    const rows = this.series.map(({ xs, ys }) => {
      const at = new Map(xs.map((x, index) => [x, ys[index]]));
      return this.steps?.map((x) => at.get(x) ?? null);
    });
    return [this.steps, ...rows];
  }

  /** @param {(plot: any, low: number, high: number) => [number, number]} roomy the range of values */
  #options(roomy) {
    const axis = {
      stroke: () => colour('--ink-soft'),
      font: `11px ${colour('--sans')}`,
      grid: { stroke: () => colour('--line'), width: 1 },
      ticks: { show: false },
    };
    const padded = (/** @type {any} */ _, /** @type {number} */ min, /** @type {number} */ max) =>
      min === max ? [min - 1, max + 1] : [min, max];
    return {
      width: this.#width(),
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 14, 0, 0],
      scales: { x: { time: false, range: padded }, y: { range: this.share ? [0, 1] : roomy } },
      axes: [
        { ...axis, size: 24, gap: 4, values: words(whole) },
        { ...axis, size: 56, gap: 4, values: words(tick) },
      ],
      cursor: { sync: { key: this.sync, scales: ['x', null] }, points: { size: 7 }, drag: { x: true, y: false } },
      hooks: { setCursor: [(/** @type {any} */ plot) => this.#say(plot.cursor.idx ?? null)] },
      series: [
        {},
        ...this.series.map((line) => ({
          label: line.label,
          stroke: () => colour(line.ink),
          width: 1.75,
          dash: line.dash,
          spanGaps: true,
          points: { show: () => line.xs.length < SPARSE, size: 5, fill: () => colour(line.ink) },
        })),
      ],
    };
  }

  #width() {
    return Math.max(160, Math.floor(this.box.clientWidth));
  }

  #fit() {
    if (this.plot && this.box.clientWidth && this.plot.width !== this.#width()) {
      this.plot.setSize({ width: this.#width(), height: HEIGHT });
    }
  }

  #legend() {
    this.values = this.series.map(() => h('span', { class: 'num curve-value' }));
    fill(
      this.legend,
      this.series.map(({ label, ink, dash }, index) =>
        h(
          'span',
          { class: 'curve-key', vars: { '--key': `var(${ink})` } },
          label ? sample(dash) : null,
          label ? h('span', {}, label) : null,
          this.values?.[index],
        ),
      ),
    );
  }

  /** The legend's values at a place among the steps; the newest without one. @param {number|null} index */
  #say(index) {
    const step = index === null ? null : this.steps?.[index];
    this.step.textContent = `step ${integer(step ?? this.steps?.at(-1) ?? 0)}`;
    this.series.forEach(({ xs, said }, line) => {
      // A line may have no point at this very step: the one before it holds, within the line.
      const at = step === null || step === undefined ? xs.length - 1 : xs.findLastIndex((x) => x <= step);
      const within = step === null || step === undefined || step <= xs[xs.length - 1];
      const value = this.values?.[line];
      if (value) value.textContent = at >= 0 && within ? said[at] : '–';
    });
  }

  /** What a chart shows, for whoever does not see it. */
  #inWords() {
    const lines = this.series.map(({ label, xs, ys }) => {
      const lowest = ys.reduce((low, y, index) => (y < ys[low] ? index : low), 0);
      const name = label ? `${label}: ` : '';
      const ends = `${figures(ys[0])} at step ${xs[0]}, ${figures(ys[ys.length - 1])} at step ${xs[xs.length - 1]}`;
      return `${name}${ends}, lowest ${figures(ys[lowest])} at step ${xs[lowest]}`;
    });
    return `${this.title} over steps. ${lines.join('; ')}.`;
  }
}

/** An axis' labels. @param {(x: number) => string} word @returns {(plot: any, ticks: number[]) => string[]} */
const words = (word) => (_, ticks) => ticks.map(word);

/** @param {number} x */
const whole = (x) => (Number.isInteger(x) ? integer(x) : '');

/** @param {number} x */
function tick(x) {
  if (x && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e7)) return figures(x).replace(/\.?0*e/, 'e');
  return Math.abs(x) >= 1e4 ? `${short(x / 1000)}k` : short(x);
}

/** A piece of a line as it is drawn. @param {number[]} dash */
function sample(dash) {
  return svg(
    'svg',
    { class: 'curve-sample', width: 22, height: 8, 'aria-hidden': 'true' },
    svg('line', { x1: 1, x2: 21, y1: 4, y2: 4, 'stroke-dasharray': dash.join(' ') || null }),
  );
}
