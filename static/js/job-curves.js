// A job's metrics as curves: points are gathered by stage and step, told apart into charts by what they measure, and
// drawn at most once a frame. The same numbers are there as a table.

import * as api from './api-jobs.js';
import { fill, h } from './dom.js';
import { figures, integer, percent } from './format.js';
import { JobChart } from './job-chart.js';
import { download } from './job-download.js';
import { isOver, rate } from './job-words.js';
import { wilson } from './rollout-stats.js';

/** @typedef {import('./api-jobs.js').MetricPoint} MetricPoint */
/** @typedef {import('./job-chart.js').Series} Series */
/** @typedef {{stage: string, xs: number[], ys: number[], said: string[]}} StageLine */

/** The charts in their order; what a metric is that none of them has goes into one of its own. */
const GROUPS = [
  { title: 'Loss', names: ['loss'] },
  { title: 'Rewards', names: ['rewards/margins', 'rewards/chosen', 'rewards/rejected'] },
  { title: 'Pairs ranked right', names: ['rewards/accuracies'] },
  { title: 'Right samples so far', names: ['right'] },
  { title: 'Mean contrastive score', names: ['scores/mean'] },
  { title: 'Log probabilities', names: ['logps/chosen', 'logps/rejected'] },
  { title: 'Learning rate', names: ['learning_rate'] },
  { title: 'Gradient norm', names: ['grad_norm'] },
  { title: 'Tokens per second', names: ['tokens_per_second'] },
];
/** Said in words above the curves, or the parts of `right`. */
const TOLD = ['accuracy', 'correct', 'samples', 'positive', 'negative', 'preferences'];
/** Shares of a whole: their axis goes from 0 to 1. */
const SHARES = ['rewards/accuracies', 'right', 'scores/mean'];

/** How a line looks: by its colour and by its dashes. @type {Record<string, {ink: string, dash: number[]}>} */
const LINES = {
  chosen: { ink: '--blue', dash: [] },
  rejected: { ink: '--orange', dash: [7, 3] },
  'sft-positive': { ink: '--blue', dash: [] },
  'sft-negative': { ink: '--orange', dash: [7, 3] },
};
const PLAIN = { ink: '--ink', dash: [] };

/** Rows of the table, spread over the run. */
const TABLE = 200;

export class JobCurves {
  /** @param {import('./job-words.js').Job} job */
  constructor(job) {
    /** By stage and step, in the order in which stages came. @type {Map<string, Map<number, MetricPoint>>} */
    this.points = new Map();
    /** @type {Map<string, JobChart>} */
    this.charts = new Map();
    this.frame = 0;
    this.job = job.id;
    const { per_device_train_batch_size: batch, gradient_accumulation_steps: batches } =
      job.kind === 'pipeline' ? job.config.preference : job.config;
    /** Pairs of a step of training, but for an epoch's last. */
    this.perStep = batch * batches;
    const dropped = Object.values(job.dropped).reduce((sum, rows) => sum + rows, 0);
    /** Pairs of an epoch; a pipeline makes them itself. */
    this.perEpoch = job.kind === 'pipeline' ? null : job.dataset.rows - dropped;
    this.grid = h('div', { class: 'curves' });
    this.note = h('p', { class: 'hint' });
    this.table = h('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Metrics' });
    const csv = api.metricsCsvAddress(job.id);
    this.numbers = h(
      'details',
      { id: 'job-numbers', hidden: true, on: { toggle: () => this.numbers.open && this.#fillTable() } },
      h('summary', {}, 'The numbers as a table'),
      this.table,
      h(
        'p',
        {},
        h('button', { type: 'button', class: 'quiet', on: { click: () => this.#fillTable() } }, 'Read the newest'),
        h(
          'a',
          {
            class: 'button quiet',
            href: csv,
            download: `${job.id}.csv`,
            on: { click: (/** @type {Event} */ event) => download(event, csv, `${job.id}.csv`) },
          },
          '↓ all as csv',
        ),
      ),
    );
    this.root = h(
      'section',
      { class: 'job-part', 'aria-labelledby': 'curves-title' },
      h('div', { class: 'part-head' }, h('h2', { id: 'curves-title' }, 'Curves'), this.note),
      this.grid,
      this.numbers,
    );
    this.update(job);
  }

  /** What there is to see, and what is to come. @param {import('./job-words.js').Job} job */
  update(job) {
    const some = [...this.points.values()].some((steps) => [...steps.values()].some(hasCurves));
    this.root.hidden = !some && isOver(job);
    const name = job.stage?.name;
    const said = some
      ? 'Point at a curve for its values. Drag to zoom in, double-click to zoom out.'
      : name && /^(select|evaluate)/.test(name)
        ? 'This stage has no curves.'
        : 'The first points come after some steps.';
    if (this.note.textContent !== said) this.note.textContent = said;
  }

  /** The last time that a step is logged counts: a run that was cut off repeats some. @param {MetricPoint[]} points */
  add(points) {
    let news = false;
    for (const point of points) {
      let steps = this.points.get(point.stage);
      if (!steps) this.points.set(point.stage, (steps = new Map()));
      const known = steps.get(point.step);
      // The events begin with what the metrics had.
      if (known && Object.entries(point.values).every(([name, value]) => known.values[name] === value)) continue;
      steps.set(point.step, known ? { ...known, values: { ...known.values, ...point.values } } : point);
      news = true;
    }
    // A page in the background draws when it is seen again.
    if (news) this.frame ||= requestAnimationFrame(() => ((this.frame = 0), this.#draw()));
  }

  leave() {
    cancelAnimationFrame(this.frame);
    for (const chart of this.charts.values()) chart.leave();
  }

  #draw() {
    const series = this.#series();
    const known = GROUPS.flatMap(({ names }) => names);
    const others = [...series.keys()].filter((name) => !known.includes(name));
    const groups = [...GROUPS, ...others.map((name) => ({ title: name, names: [name] }))];
    groups.forEach(({ title, names }, order) => {
      const lines = names.flatMap((name) => named(series.get(name) ?? [], name, names.length > 1));
      if (!lines.length) return;
      let chart = this.charts.get(title);
      if (!chart) {
        const share = SHARES.includes(names[0]);
        chart = new JobChart(title, { share, sync: this.job, order });
        this.charts.set(title, chart);
        const next = [...this.charts.values()].filter((other) => other.order > order);
        this.grid.insertBefore(chart.root, next.sort((a, b) => a.order - b.order)[0]?.root ?? null);
      }
      chart.set(lines);
    });
    this.numbers.hidden = !this.charts.size;
  }

  /** The lines of each metric, one a stage. */
  #series() {
    /** @type {Map<string, StageLine[]>} */
    const series = new Map();
    for (const [stage, steps] of this.points) {
      const points = withRight([...steps.values()].sort((a, b) => a.step - b.step));
      for (const { step, values, said } of points) {
        for (const [name, value] of Object.entries(values)) {
          if (TOLD.includes(name)) continue;
          if (!series.has(name)) series.set(name, []);
          const lines = /** @type {StageLine[]} */ (series.get(name));
          let line = lines.at(-1);
          if (line?.stage !== stage) lines.push((line = { stage, xs: [], ys: [], said: [] }));
          line.xs.push(step);
          line.ys.push(value);
          if (name === 'rewards/accuracies') line.said.push(this.#ranked(value, line.xs.at(-2) ?? 0, step));
          else line.said.push(name === 'right' && said ? said : figures(value));
        }
      }
    }
    return series;
  }

  /** The share of the pairs since the point before. @param {number} share @param {number} before @param {number} step */
  #ranked(share, before, step) {
    const n = this.#pairsUntil(step) - this.#pairsUntil(before);
    const [low, high] = wilson(share * n, n);
    return `${percent(share)} (${percent(low)} to ${percent(high)}) of the last ${integer(n)}`;
  }

  /** Pairs that were trained on in the first steps. @param {number} steps */
  #pairsUntil(steps) {
    const selected = [...(this.points.get('select')?.values() ?? [])].at(-1)?.values.preferences;
    const perEpoch = this.perEpoch ?? selected;
    if (!perEpoch) return steps * this.perStep;
    const stepsPerEpoch = Math.ceil(perEpoch / this.perStep);
    return Math.floor(steps / stepsPerEpoch) * perEpoch + (steps % stepsPerEpoch) * this.perStep;
  }

  #fillTable() {
    const points = [...this.points.values()].flatMap((steps) => [...steps.values()].sort((a, b) => a.step - b.step));
    const every = Math.ceil(points.length / TABLE);
    const rows = points.filter((_, index) => index % every === 0 || index === points.length - 1);
    const names = [...new Set(points.flatMap(({ values }) => Object.keys(values)))];
    fill(
      this.table,
      h(
        'table',
        { class: 'plain-table' },
        every > 1 ? h('caption', {}, `1 in ${every} of ${integer(points.length)} points`) : null,
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            ['stage', 'step', ...names].map((name, index) =>
              h('th', { scope: 'col', class: index ? 'num' : '' }, name),
            ),
          ),
        ),
        h(
          'tbody',
          {},
          rows.map(({ stage, step, values }) =>
            h(
              'tr',
              {},
              h('th', { scope: 'row' }, stage),
              h('td', { class: 'num' }, integer(step)),
              names.map((name) => h('td', { class: 'num' }, exact(values[name]))),
            ),
          ),
        ),
      ),
    );
  }
}

/** @param {MetricPoint} point */
function hasCurves({ values }) {
  return values.samples !== undefined || Object.keys(values).some((name) => !TOLD.includes(name));
}

/** Counts as they are, other numbers in four figures. @param {number|undefined} value */
const exact = (value) => (Number.isInteger(value) ? integer(/** @type {number} */ (value)) : figures(value));

/**
 * Draws of single problems say little: the share of all that were right so far says how far the model is.
 * @param {MetricPoint[]} points @returns {(MetricPoint & {said?: string})[]}
 */
function withRight(points) {
  let [right, all] = [0, 0];
  return points.map((point) => {
    const { correct, samples } = point.values;
    if (correct === undefined || samples === undefined) return point;
    right += correct;
    all += samples;
    return { ...point, values: { ...point.values, right: right / all }, said: rate(right, all) };
  });
}

/** @param {StageLine[]} lines @param {string} name @param {boolean} several metrics a chart @returns {Series[]} */
function named(lines, name, several) {
  return lines.map(({ stage, xs, ys, said }) => {
    const label = several ? (name.split('/').pop() ?? name) : lines.length > 1 ? stage : '';
    return { label, xs, ys, said, ...(LINES[label] ?? PLAIN) };
  });
}
