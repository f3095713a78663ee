// The head of a job: its name and state, the stages with the progress of the one it is in, times, what failed, and the
// buttons that end it, take it up again or begin another like it.

import * as api from './api-jobs.js';
import { confirm, notice } from './dialogs.js';
import { fill, h, setVars } from './dom.js';
import { count, integer, plain, span, whenFull } from './format.js';
import {
  accuracies,
  droppedWord,
  isOver,
  nextStep,
  rate,
  stageNames,
  stateMark,
  stepWord,
  title,
} from './job-words.js';
import { wilson } from './rollout-stats.js';
import * as router from './router.js';
import { explain } from './states.js';

/** @typedef {import('./job-words.js').Job} Job */

export class JobHead {
  /** @param {Job} job @param {(job: Job) => void} onJob is told of a record that an action was answered with */
  constructor(job, onJob) {
    this.job = job;
    this.onJob = onJob;
    this.shown = '';
    this.state = h('span', { id: 'job-state', role: 'status' });
    this.actions = h('div', { class: 'page-actions' });
    this.stages = h('ol', { class: 'stages', 'aria-label': 'Stages' });
    const bar = { class: 'job-bar', role: 'progressbar', 'aria-valuemin': 0, 'aria-label': 'Progress of the stage' };
    this.bar = h('div', bar);
    this.steps = h('span', { class: 'num', id: 'job-steps' });
    this.times = h('span', { class: 'num hint', id: 'job-times' });
    this.below = h('div', { class: 'job-notes' });
    this.root = h(
      'header',
      { class: 'job-head' },
      h(
        'div',
        { class: 'page-head' },
        h('a', { class: 'back', href: '/?view=jobs', data: { nav: 'here' } }, '‹ Jobs'),
        h('h1', {}, plain(title(job))),
        this.state,
        this.actions,
      ),
      facts(job),
      this.stages,
      h('div', { class: 'job-progress' }, this.bar, this.steps, this.times),
      this.below,
    );
  }

  /** @param {Job} job */
  update(job) {
    this.job = job;
    this.#progress(job.stage?.name ?? job.kind, job.step.done, job.step.total);
    this.times.textContent = times(job);
    const { state, stage, error, dropped, resumable } = job;
    const shown = JSON.stringify([state, stage, error, dropped, resumable, accuracies(job), selection(job)]);
    if (shown === this.shown) return;
    this.shown = shown;
    const { symbol, word } = stateMark(state);
    this.state.className = `job-state ${state}`;
    this.state.textContent = `${symbol} ${word}`;
    this.#actions();
    this.#stages();
    fill(this.below, failure(job), measured(job), selected(job), left(job));
  }

  /**
   * Progress as it is told, between two looks at the record.
   * @param {string} stage @param {number} done @param {number} total
   */
  progress(stage, done, total) {
    const { job } = this;
    if (!isOver(job) && stage === job.stage?.name && done >= job.step.done) this.#progress(stage, done, total);
  }

  /** @param {string} stage @param {number} done @param {number} total */
  #progress(stage, done, total) {
    const { state } = this.job;
    const share = total ? done / total : Number(state === 'succeeded');
    setVars(this.bar, { '--done': share.toFixed(4) });
    this.bar.className = `job-bar ${state}`;
    this.bar.setAttribute('aria-valuemax', String(total || 1));
    this.bar.setAttribute('aria-valuenow', String(total ? done : share));
    this.steps.textContent = total
      ? `${integer(done)} of ${integer(total)} ${stepWord(stage)}`
      : ({ validating_files: 'looking through the rows', queued: 'waits for its turn' }[state] ?? '');
  }

  #actions() {
    const { job } = this;
    const again = router.address({ ...router.parse(''), view: 'jobs', job: 'new', kind: job.kind, from: job.id });
    const button = (/** @type {string} */ text, /** @type {string} */ id, /** @type {() => void} */ click) =>
      h('button', { type: 'button', id, on: { click } }, text);
    const focused = this.actions.contains(document.activeElement);
    fill(
      this.actions,
      isOver(job) ? null : button('Cancel', 'cancel-job', () => this.#cancel()),
      job.resumable ? button('Resume', 'resume-job', () => this.#act(api.resumeJob, 'taken up again')) : null,
      h(
        'a',
        { class: 'button quiet', href: again, data: { nav: 'here' }, title: 'The form with these settings' },
        'Submit again…',
      ),
    );
    if (focused) /** @type {HTMLElement|null} */ (this.actions.firstElementChild)?.focus();
  }

  async #cancel() {
    const text = 'It ends within its step. What it has made is kept, and it can be resumed from its last checkpoint.';
    if (await confirm('Cancel this job?', text, 'Cancel the job')) await this.#act(api.cancelJob, 'cancelled');
  }

  /** @param {(id: string) => Promise<Job>} action @param {string} word */
  async #act(action, word) {
    try {
      this.onJob(await action(this.job.id));
    } catch (error) {
      notice(`The job was not ${word}: ${explain(error)}`, 'bad');
    }
  }

  #stages() {
    const names = stageNames(this.job);
    const { stage, state } = this.job;
    const at = state === 'succeeded' ? names.length : (stage?.index ?? -1);
    this.stages.hidden = names.length < 2;
    const items = names.map((name, index) => {
      const done = index < at;
      const now = index === at;
      const mark = done ? '✓' : now ? stateMark(state).symbol : '·';
      const word = done ? 'done' : now ? stateMark(state).word : 'to come';
      return h(
        'li',
        { class: `stage ${done ? 'done' : now ? `now ${state}` : 'ahead'}`, 'aria-current': now ? 'step' : null },
        h('span', { 'aria-hidden': 'true' }, mark),
        ' ',
        name,
        h('span', { class: 'unseen' }, `, ${word}`),
      );
    });
    fill(this.stages, items);
  }
}

/** @param {Job} job */
function facts(job) {
  const rows = (/** @type {{name: string, rows: number, sha256: string}} */ set) => [
    h(
      'a',
      { href: router.address({ ...router.parse(''), view: 'data', dataset: set.name }), data: { nav: 'here' } },
      plain(set.name),
    ),
    h('span', { class: 'num', title: `sha256 ${set.sha256}` }, ` ${count(set.rows, 'row')}`),
  ];
  return h(
    'p',
    { class: 'facts' },
    h('span', { class: 'badge' }, job.kind),
    h('span', {}, rows(job.dataset)),
    job.eval_dataset ? h('span', {}, 'measured on ', rows(job.eval_dataset)) : null,
    h('span', { title: `sha256 ${job.base_model.sha256}` }, 'base ', h('b', {}, plain(job.base_model.id))),
    h('span', { class: 'num' }, `seed ${job.seed}`),
    h('span', { class: 'num' }, whenFull(job.created)),
    h('span', { class: 'mono' }, job.id),
  );
}

/** @param {Job} job */
function times(job) {
  if (!job.started) return '';
  const said = [`${span(job.elapsed_seconds)} spent`];
  const left = job.state === 'running' ? job.remaining_seconds : null;
  const where = (job.stage?.total ?? 1) > 1 ? ' in this stage' : '';
  if (left !== null) said.push(`about ${span(left)} left${where}`);
  if (job.yielded_seconds >= 0.5) said.push(`${span(job.yielded_seconds)} of it given way to requests`);
  return said.join(' · ');
}

/** @param {Job} job */
function failure({ error }) {
  if (!error) return null;
  return h(
    'div',
    { class: 'job-error', role: 'alert' },
    h('p', {}, h('strong', {}, '⚠ It failed: '), plain(error.message), ' '),
    h('p', {}, nextStep(error.code), ' ', h('span', { class: 'badge' }, error.code)),
  );
}

/** Accuracies with their intervals on one scale. @param {Job} job */
function measured(job) {
  const all = accuracies(job);
  if (!all.length) return null;
  const row = (/** @type {ReturnType<typeof accuracies>[number]} */ { label, right, n }) => {
    const [low, high] = wilson(right, n);
    return h(
      'tr',
      {},
      h('th', { scope: 'row' }, label),
      h('td', { class: 'accuracy-scale' }, interval(right / n, low, high)),
      h('td', { class: 'num' }, rate(right, n)),
    );
  };
  return h(
    'table',
    { class: 'accuracy', 'aria-label': 'Greedy accuracy, with 95% intervals' },
    h('caption', {}, 'Greedy accuracy'),
    h('tbody', {}, all.map(row)),
  );
}

/** A point and its interval between 0 and 1. @param {number} at @param {number} low @param {number} high */
function interval(at, low, high) {
  return h('span', {
    class: 'interval',
    'aria-hidden': 'true',
    vars: { '--low': low.toFixed(4), '--high': high.toFixed(4), '--at': at.toFixed(4) },
  });
}

/** How many rows a selection has put into each set; null where there is none. @param {Job} job */
function selection({ metrics }) {
  const sets = ['positive', 'negative', 'preferences'].map((set) => metrics[`select/${set}`] ?? metrics[set]);
  return sets.every((rows) => rows !== undefined) ? sets : null;
}

/** @param {Job} job */
function selected(job) {
  const sets = selection(job);
  if (!sets) return null;
  const [positive, negative, pairs] = sets.map(integer);
  return h(
    'p',
    {},
    h('b', {}, 'Selected: '),
    h('span', { class: 'num' }, `${positive} right responses, ${negative} wrong ones, ${pairs} pairs.`),
  );
}

/** Rows that were left out, by the reason. @param {Job} job */
function left(job) {
  const reasons = Object.entries(job.dropped);
  if (!reasons.length) return null;
  const all = reasons.reduce((sum, [, rows]) => sum + rows, 0);
  const said = reasons.map(([reason, rows]) => `${integer(rows)} ${droppedWord(reason)}`).join(', ');
  const listed = job.artifacts.some(({ name }) => name === 'dropped.jsonl');
  return h(
    'p',
    { class: 'job-dropped' },
    h('b', { class: 'num' }, `${count(all, 'row')} left out: `),
    said,
    listed ? '. Each is listed in dropped.jsonl below.' : '.',
  );
}
