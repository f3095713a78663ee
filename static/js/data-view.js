// Data sets: the list of them with what can be uploaded, or one of them with its rows, as the address has it.

import * as api from './api-jobs.js';
import { DataPage, removeDataset } from './data-page.js';
import { DataUpload } from './data-upload.js';
import { fill, h } from './dom.js';
import { bytes, integer, plain, when, whenFull } from './format.js';
import { kindFor } from './job-words.js';
import * as router from './router.js';
import { empty, failed, loading } from './states.js';

/** @typedef {import('./job-words.js').Dataset} Dataset */

export class DataView {
  constructor() {
    /** @type {AbortController|null} */
    this.running = null;
    this.upload = new DataUpload(() => this.#list());
    this.body = h('div', {});
    this.page = new DataPage();
    this.list = h(
      'div',
      { class: 'page-body' },
      h('div', { class: 'page-head' }, h('h1', {}, 'Data sets')),
      this.upload.root,
      this.body,
    );
    this.root = h('section', { class: 'data-view' });
  }

  /** @param {router.Route} route */
  show(route) {
    const part = route.dataset ? this.page.root : this.list;
    if (this.root.firstChild !== part) fill(this.root, part);
    if (route.dataset) this.page.show(route.dataset);
    else {
      // Another upload may take the name meanwhile.
      this.page.leave();
      this.#list();
    }
  }

  leave() {
    this.running?.abort();
    this.page.leave();
  }

  async #list() {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    if (!this.body.firstChild) fill(this.body, loading('Loading data sets…'));
    try {
      const datasets = await api.datasets(running.signal);
      this.upload.names = new Set(datasets.map(({ name }) => name));
      fill(
        this.body,
        datasets.length
          ? table(datasets, () => this.#list())
          : empty(
              'No data sets yet',
              'Drop a JSONL file above. Rows are problems (question, answer), trajectories (prompt, response) or ' +
                'preferences (prompt, chosen, rejected).',
            ),
      );
    } catch (error) {
      if (running.signal.aborted) return;
      fill(
        this.body,
        failed('The data sets could not be listed', error, () => this.#list()),
      );
    }
  }
}

/** What a narrow page leaves out. */
const MINOR = ['size', 'uploaded', 'sha256'];

/** @param {Dataset[]} datasets @param {() => void} onRemoved */
function table(datasets, onRemoved) {
  const head = ['name', 'rows are', 'rows', 'size', 'uploaded', 'sha256', ''];
  const look = (/** @type {string} */ name) =>
    [['rows', 'size'].includes(name) ? 'num' : '', MINOR.includes(name) ? 'minor' : ''].join(' ');
  return h(
    'div',
    { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Data sets' },
    h(
      'table',
      { class: 'models-table data-table' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          head.map((name) =>
            h('th', { scope: 'col', class: look(name) }, name || h('span', { class: 'unseen' }, 'actions')),
          ),
        ),
      ),
      h(
        'tbody',
        {},
        datasets.map((dataset) => row(dataset, onRemoved)),
      ),
    ),
  );
}

/** @param {Dataset} dataset @param {() => void} onRemoved */
function row(dataset, onRemoved) {
  const { name, kind, rows, bytes: size, sha256, created } = dataset;
  const here = { ...router.parse(''), dataset: name };
  const train = router.address({ ...here, view: 'jobs', job: 'new', kind: kindFor(kind) });
  return h(
    'tr',
    { data: { name } },
    h(
      'th',
      { scope: 'row' },
      h('a', { href: router.address({ ...here, view: 'data' }), data: { nav: 'here' } }, plain(name)),
    ),
    h('td', {}, kind),
    h('td', { class: 'num' }, integer(rows)),
    h('td', { class: 'num minor' }, bytes(size)),
    h(
      'td',
      { class: 'minor' },
      h('time', { datetime: new Date(created * 1000).toISOString(), title: whenFull(created) }, when(created)),
    ),
    h('td', { class: 'mono minor', title: sha256 }, `${sha256.slice(0, 12)}…`),
    h(
      'td',
      { class: 'data-actions' },
      h(
        'a',
        { class: 'button', href: train, data: { nav: 'here' } },
        'Train',
        h('span', { class: 'minor' }, '\u00a0on this'),
      ),
      h(
        'button',
        {
          type: 'button',
          class: 'quiet minor',
          'aria-label': `Delete ${name}`,
          on: { click: async () => (await removeDataset(dataset)) && onRemoved() },
        },
        'Delete',
      ),
    ),
  );
}
