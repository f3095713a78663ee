// The list of jobs: filters, pages, and rows that keep up with what runs.

import * as api from './api-jobs.js';
import { fill, h, setVars } from './dom.js';
import { count, integer, plain, span, when, whenFull } from './format.js';
import { JOB_KINDS, JOB_STATES, isOver, keyMetric, stateMark, stepWord, title } from './job-words.js';
import * as router from './router.js';
import { empty, failed, loading } from './states.js';

/** @typedef {import('./job-words.js').Job} Job */

/** Milliseconds between two looks: while something runs, and while nothing does. */
const SOON = 1500;
const LATER = 10_000;
/** The server's longest page. */
const LONGEST = 100;

export class JobList {
  constructor() {
    /** @type {Map<string, JobRow>} By id, in the order of the list. */
    this.rows = new Map();
    /** @type {string|null} */
    this.cursor = null;
    /** @type {AbortController|null} */
    this.running = null;
    /** @type {string|null} */
    this.asked = null;
    this.timer = 0;
    const select = (/** @type {'state'|'kind'} */ name, /** @type {[string, string][]} */ options) => {
      const element = h(
        'select',
        { id: `jobs-${name}`, on: { change: () => router.open({ [name]: element.value || null }) } },
        h('option', { value: '' }, `any ${name}`),
        options.map(([value, text]) => h('option', { value }, text)),
      );
      return element;
    };
    const states = JOB_STATES.map((state) => [state, `${stateMark(state).symbol} ${stateMark(state).word}`]);
    this.state = select('state', /** @type {[string, string][]} */ (states));
    this.kind = select('kind', /** @type {[string, string][]} */ (JOB_KINDS.map((kind) => [kind, kind])));
    this.list = h('ul', { class: 'job-rows', 'aria-label': 'Jobs' });
    this.foot = h('div', { class: 'job-rows-foot' });
    this.status = h('p', { class: 'unseen', role: 'status' });
    this.root = h(
      'div',
      { class: 'page-body' },
      h(
        'div',
        { class: 'page-head' },
        h('h1', {}, 'Jobs'),
        h('label', {}, h('span', { class: 'unseen' }, 'State'), this.state),
        h('label', {}, h('span', { class: 'unseen' }, 'Kind'), this.kind),
        newJob(),
      ),
      this.list,
      this.foot,
      this.status,
    );
  }

  /** @param {router.Route} route */
  show(route) {
    this.state.value = route.state ?? '';
    this.kind.value = route.kind ?? '';
    const asked = JSON.stringify({ state: route.state, kind: route.kind });
    if (asked !== this.asked) {
      this.asked = asked;
      this.rows.clear();
      fill(this.list);
    }
    this.#fetch(false);
  }

  leave() {
    clearTimeout(this.timer);
    this.running?.abort();
    this.running = null;
  }

  /** @param {boolean} more the next page; else what is listed is asked for anew */
  async #fetch(more) {
    this.leave();
    const running = new AbortController();
    this.running = running;
    if (!this.rows.size) fill(this.foot, loading('Loading jobs…'));
    const filter = JSON.parse(/** @type {string} */ (this.asked));
    const limit = more ? 20 : Math.min(LONGEST, Math.max(20, this.rows.size));
    try {
      const page = await api.jobs({ ...filter, limit }, more ? this.cursor : null, running.signal);
      // Those further down that still run are asked for one by one: they are few.
      const beyond = [...this.rows.values()].filter(
        ({ job }) => !isOver(job) && !page.data.some(({ id }) => id === job.id),
      );
      const others = await Promise.all(beyond.map(({ job }) => api.job(job.id, running.signal)));
      if (more || this.rows.size <= page.data.length) this.cursor = page.has_more ? page.next_cursor : null;
      this.#take(page.data, more);
      for (const job of others) this.rows.get(job.id)?.update(job);
      this.#footer();
      const live = [...this.rows.values()].some(({ job }) => !isOver(job));
      this.timer = window.setTimeout(() => this.#again(), live ? SOON : LATER);
    } catch (error) {
      if (running.signal.aborted) return;
      fill(
        this.foot,
        failed('The jobs could not be listed', error, () => this.#fetch(more)),
      );
    }
  }

  /** A page that nobody looks at asks nothing. */
  #again() {
    if (!document.hidden) return this.#fetch(false);
    const seen = () => this.root.isConnected && this.#fetch(false);
    document.addEventListener('visibilitychange', seen, { once: true });
  }

  /**
   * Updates the rows that are there, so that focus and pointer stay where they are.
   * @param {Job[]} jobs @param {boolean} more
   */
  #take(jobs, more) {
    const fresh = [];
    for (const job of jobs) {
      const known = this.rows.get(job.id);
      if (known) known.update(job);
      else fresh.push(new JobRow(job));
    }
    const entries = fresh.map((row) => /** @type {[string, JobRow]} */ ([row.job.id, row]));
    this.rows = new Map(more ? [...this.rows, ...entries] : [...entries, ...this.rows]);
    const elements = fresh.map((row) => row.root);
    if (more) this.list.append(...elements);
    else this.list.prepend(...elements);
  }

  #footer() {
    const { size } = this.rows;
    const listed = `${count(size, 'job')}${this.cursor ? ', more to come' : ''}`;
    if (this.status.textContent !== listed) this.status.textContent = listed;
    if (this.cursor) {
      if (this.foot.querySelector('.more')) return;
      const next = { click: () => this.#fetch(true) };
      fill(this.foot, h('button', { type: 'button', class: 'more', on: next }, 'Load more'));
    } else if (size) fill(this.foot, h('p', { class: 'hint' }, count(size, 'job')));
    else if (this.state.value || this.kind.value) {
      fill(
        this.foot,
        empty(
          'No job matches',
          'No job of this server has this state and kind.',
          h('a', { class: 'button', href: '/?view=jobs', data: { nav: 'here' } }, 'All jobs'),
        ),
      );
    } else {
      fill(
        this.foot,
        empty(
          'No jobs yet',
          'A job draws samples, trains an adapter or measures accuracy, beside the requests that the server answers. ' +
            'It begins with a data set.',
          newJob(),
          h('a', { class: 'button', href: '/?view=data', data: { nav: 'here' } }, 'Data sets'),
        ),
      );
    }
  }
}

function newJob() {
  const href = router.address({ ...router.parse(''), view: 'jobs', job: 'new' });
  return h('a', { class: 'button main-button', href, data: { nav: 'here' } }, 'New job');
}

/** One job in the list. */
class JobRow {
  /** @param {Job} job */
  constructor(job) {
    const href = router.address({ ...router.parse(''), view: 'jobs', job: job.id });
    this.job = job;
    this.state = h('span', {});
    this.bar = h('span', { class: 'job-bar', 'aria-hidden': 'true' });
    this.steps = h('span', { class: 'num job-steps' });
    this.time = h('span', { class: 'num job-time' });
    this.metric = h('span', { class: 'num job-metric' });
    this.root = h(
      'li',
      { class: 'job-row', data: { id: job.id } },
      this.state,
      h(
        'span',
        { class: 'job-title' },
        h('a', { class: 'job-name', href, data: { nav: 'here' } }, plain(title(job))),
        h(
          'span',
          { class: 'hint' },
          h('span', { class: 'badge' }, job.kind),
          ' ',
          plain(job.dataset.name),
          ' · ',
          h(
            'time',
            { datetime: new Date(job.created * 1000).toISOString(), title: whenFull(job.created) },
            when(job.created),
          ),
        ),
      ),
      h('span', { class: 'job-progress' }, this.bar, this.steps),
      this.time,
      this.metric,
    );
    this.update(job);
  }

  /** @param {Job} job */
  update(job) {
    this.job = job;
    const { symbol, word } = stateMark(job.state);
    this.state.className = `job-state ${job.state}`;
    this.state.textContent = `${symbol} ${word}`;
    this.bar.className = `job-bar ${job.state}`;
    setVars(this.bar, { '--done': progress(job).toFixed(4) });
    this.steps.textContent = stepsText(job);
    this.time.textContent = timeText(job);
    const metric = job.error ? { label: '⚠', text: job.error.code.replaceAll('_', ' ') } : keyMetric(job);
    fill(this.metric, metric ? [h('span', { class: 'hint' }, `${metric.label} `), metric.text] : null);
  }
}

/** The share of a job that is done, every stage counting alike. @param {Job} job */
function progress({ state, stage, step }) {
  if (state === 'succeeded') return 1;
  return stage ? (stage.index + (step.total ? step.done / step.total : 0)) / stage.total : 0;
}

/** @param {Job} job */
function stepsText({ stage, step, state }) {
  if (!stage || !step.total) return stage ? stage.name : '';
  const several = stage.total > 1 && state !== 'succeeded';
  const where = several ? `${stage.index + 1} of ${stage.total}, ${stage.name}: ` : '';
  if (state === 'succeeded' && stage.total > 1) return count(stage.total, 'stage');
  return `${where}${integer(step.done)} of ${integer(step.total)} ${stepWord(stage.name)}`;
}

/** @param {Job} job */
function timeText(job) {
  if (!job.started) return '';
  const { remaining_seconds: left, state } = job;
  return `${span(job.elapsed_seconds)}${state === 'running' && left !== null ? `, ${span(left)} left` : ''}`;
}
