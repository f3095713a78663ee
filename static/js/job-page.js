// One job: where it is, its curves and log as they come, what it made, and what can be done with it. Follows the job's
// events, which begin with those that happened, so that a reload or a restarted server loses nothing.

import * as api from './api-jobs.js';
import { ApiError } from './api.js';
import { fill, h } from './dom.js';
import { JobCurves } from './job-curves.js';
import { JobFiles } from './job-files.js';
import { JobHead } from './job-head.js';
import { JobLog } from './job-log.js';
import { JobSettings } from './job-settings.js';
import { isOver } from './job-words.js';
import { failed, loading } from './states.js';
import { follow } from './stream.js';

/** @typedef {import('./job-words.js').Job} Job */

/** Milliseconds between two looks at the record of a job that goes on: times and metrics are not events. */
const LOOK = 2000;

export class JobPage {
  /** @param {{onModels: (models: import('./types.js').ModelCard[]) => void}} on */
  constructor(on) {
    this.on = on;
    /** @type {AbortController|null} */
    this.open = null;
    /** @type {AbortController|null} */
    this.looking = null;
    this.following = false;
    /** The opening that was refused for want of a key. @type {AbortController|null} */
    this.refused = null;
    /** @type {string|null} */
    this.id = null;
    this.root = h('div', { class: 'page-body job-page' });
    // Whoever comes back to the tab may find a job that was resumed elsewhere.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.open) this.#look();
    });
  }

  /** @param {import('./router.js').Route} route */
  show(route) {
    if (this.open && route.job === this.id) return;
    this.leave();
    this.id = /** @type {string} */ (route.job);
    this.#open(this.id);
  }

  leave() {
    this.open?.abort();
    this.open = null;
    this.curves?.leave();
    this.following = false;
  }

  /** @param {string} id */
  async #open(id) {
    const open = new AbortController();
    this.open = open;
    fill(this.root, loading('Opening the job…'));
    try {
      this.job = await api.job(id, open.signal);
      const points = await api.metrics(id, open.signal);
      this.#build(this.job, points);
    } catch (error) {
      if (open.signal.aborted) return;
      const missing = error instanceof ApiError && error.status === 404;
      const all = h('a', { class: 'button', href: '/?view=jobs', data: { nav: 'here' } }, 'All jobs');
      const heading = missing ? 'There is no such job' : 'The job could not be opened';
      fill(this.root, failed(heading, error, missing ? null : () => this.#open(id), all));
      return;
    }
    this.#follow();
    while (!open.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, LOOK));
      const due = !document.hidden && this.refused !== open && !isOver(/** @type {Job} */ (this.job));
      if (!open.signal.aborted && due) await this.#look();
    }
  }

  /** @param {Job} job @param {api.MetricPoint[]} points */
  #build(job, points) {
    this.head = new JobHead(job, (next) => this.#take(next));
    this.curves = new JobCurves(job);
    this.curves.add(points);
    this.log = new JobLog();
    this.files = new JobFiles(job, this.on);
    this.settings = new JobSettings(job);
    fill(this.root, this.head.root, this.curves.root, this.files.root, this.log.root, this.settings.root);
    this.#take(job);
  }

  /** Shows a newer record. @param {Job} job */
  #take(job) {
    const resumed = this.job && isOver(this.job) && !isOver(job);
    this.job = job;
    this.head?.update(job);
    this.curves?.update(job);
    this.files?.update(job);
    if (resumed && !this.following) this.#follow();
  }

  /** Asks for the record, unless that is under way. */
  async #look() {
    const open = /** @type {AbortController} */ (this.open);
    if (this.looking === open) return;
    this.looking = open;
    try {
      const job = await api.job(/** @type {string} */ (this.id), open.signal);
      if (!open.signal.aborted) this.#take(job);
    } catch (error) {
      // The stream tells of a lost connection, and this asks again soon; but not for a key, again and again.
      if (error instanceof ApiError && error.status === 401) this.refused = open;
    }
    if (this.looking === open) this.looking = null;
  }

  async #follow() {
    const open = /** @type {AbortController} */ (this.open);
    this.following = true;
    this.refused = null;
    try {
      await follow(api.eventsAddress(/** @type {string} */ (this.id)), (event) => this.#event(event), {
        signal: open.signal,
        onConnection: (state) => this.log?.connection(state),
      });
      this.log?.connection('over');
    } catch (error) {
      if (open.signal.aborted) return;
      this.following = false;
      this.log?.failed(error, () => this.#follow());
      return;
    }
    this.following = false;
    await this.#look();
    // Resumed between the stream's end and this look: what happens from now on is a stream of its own.
    if (!open.signal.aborted && this.job && !isOver(this.job) && !this.following) this.#follow();
  }

  /** Events may come again: each part knows what it has. @param {any} event */
  #event(event) {
    const job = /** @type {Job} */ (this.job);
    switch (event.event) {
      case 'metric':
        this.curves?.add([event]);
        break;
      case 'progress':
        this.head?.progress(event.stage, event.done, event.total);
        break;
      default:
        this.log?.add(event);
        // States that were told before the record was read are history, and cost one look at most.
        if (event.event === 'state' && event.state !== job.state && event.created >= (job.finished ?? 0)) this.#look();
    }
  }
}
