// One data set: what it is, what can be trained on it, and its rows.

import * as api from './api-jobs.js';
import { ApiError } from './api.js';
import { rowOf } from './data-rows.js';
import { confirm, notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { bytes, count, integer, plain, whenFull } from './format.js';
import { JOB_KINDS, KINDS } from './job-words.js';
import * as router from './router.js';
import { explain, failed, loading } from './states.js';

/** @typedef {import('./job-words.js').Dataset} Dataset */

export class DataPage {
  constructor() {
    /** @type {AbortController|null} */
    this.running = null;
    /** @type {string|null} */
    this.name = null;
    this.rows = h('ol', { class: 'data-rows' });
    this.foot = h('div', { class: 'data-foot' });
    this.root = h('div', { class: 'page-body' });
  }

  /** @param {string} name */
  show(name) {
    if (this.running && this.name === name) return;
    this.leave();
    this.#open(name);
  }

  leave() {
    this.running?.abort();
    this.running = null;
  }

  /** @param {string} name */
  async #open(name) {
    const running = new AbortController();
    this.running = running;
    this.name = name;
    fill(this.root, loading('Opening the data set…'));
    try {
      const dataset = await api.dataset(name, running.signal);
      fill(this.rows);
      fill(this.root, head(dataset), facts(dataset), this.rows, this.foot);
      await this.#more(dataset, null, running.signal);
    } catch (error) {
      if (running.signal.aborted) return;
      const missing = error instanceof ApiError && error.status === 404;
      const all = h('a', { class: 'button', href: '/?view=data', data: { nav: 'here' } }, 'All data sets');
      const heading = missing ? 'There is no such data set' : 'The data set could not be opened';
      fill(this.root, failed(heading, error, missing ? null : () => this.#open(name), all));
    }
  }

  /** The next page of rows. @param {Dataset} dataset @param {string|null} cursor @param {AbortSignal} signal */
  async #more(dataset, cursor, signal) {
    fill(this.foot, loading('Reading rows…'));
    try {
      const page = await api.rows(dataset.name, cursor, signal);
      const before = this.rows.childElementCount;
      this.rows.append(...page.data.map((row, index) => rowOf(row, before + index + 1)));
      const shown = this.rows.childElementCount;
      const said = h('span', { class: 'hint num' }, `${integer(shown)} of ${count(dataset.rows, 'row')}`);
      const next = { click: () => this.#more(dataset, page.next_cursor, signal) };
      const more = page.has_more ? h('button', { type: 'button', on: next }, 'More rows') : null;
      fill(this.foot, more, ' ', said);
    } catch (error) {
      if (signal.aborted) return;
      // The data set is there: a server that does not know its rows is an older one.
      if (error instanceof ApiError && [404, 405].includes(error.status)) {
        fill(this.foot, h('p', { class: 'hint' }, 'This server is too old to show rows. Jobs read them all the same.'));
      } else {
        fill(
          this.foot,
          failed('The rows could not be read', error, () => this.#more(dataset, cursor, signal)),
        );
      }
    }
  }
}

/** @param {Dataset} dataset */
function head(dataset) {
  const kinds = JOB_KINDS.filter((kind) => KINDS[kind].reads === dataset.kind);
  const link = (/** @type {string} */ kind, /** @type {number} */ index) =>
    h(
      'a',
      {
        class: `button${index ? '' : ' main-button'}`,
        href: router.address({ ...router.parse(''), view: 'jobs', job: 'new', kind, dataset: dataset.name }),
        title: `Makes ${KINDS[kind].what}`,
        data: { nav: 'here' },
      },
      index ? kind : `Train on this: ${kind}`,
    );
  return h(
    'div',
    { class: 'page-head' },
    h('a', { class: 'back', href: '/?view=data', data: { nav: 'here' } }, '‹ Data sets'),
    h('h1', {}, plain(dataset.name)),
    h(
      'div',
      { class: 'page-actions' },
      kinds.map(link),
      h(
        'button',
        {
          type: 'button',
          class: 'quiet',
          on: { click: async () => (await removeDataset(dataset)) && router.open({ dataset: null }) },
        },
        'Delete',
      ),
    ),
  );
}

/** @param {Dataset} dataset */
function facts({ kind, rows, bytes: size, sha256, created }) {
  return h(
    'p',
    { class: 'facts' },
    h('span', { class: 'badge' }, kind),
    h('span', { class: 'num' }, count(rows, 'row')),
    h('span', { class: 'num' }, bytes(size)),
    h('span', { class: 'num' }, whenFull(created)),
    h('span', { class: 'mono sha' }, `sha256 ${sha256}`),
  );
}

/** Asks, and deletes; whether it is gone. @param {Dataset} dataset */
export async function removeDataset({ name, rows }) {
  const text = `${name} with its ${count(rows, 'row')} is removed from the server. Jobs that read it keep their copy.`;
  if (!(await confirm('Delete this data set?', text, 'Delete'))) return false;
  try {
    await api.deleteDataset(name);
    notice(`${name} was deleted.`);
    return true;
  } catch (error) {
    notice(`The data set was not deleted: ${explain(error)}`, 'bad');
    return false;
  }
}
