// What a job made: its adapters, each ready to be loaded, and its files to be downloaded.

import * as api from './api-jobs.js';
import { confirm, notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { bytes, count, plain } from './format.js';
import { JobAdapter } from './job-adapter.js';
import { download } from './job-download.js';
import { adapterFolders, isOver, slug, title } from './job-words.js';
import * as router from './router.js';
import { explain } from './states.js';

/** @typedef {import('./job-words.js').Job} Job */

/** Files that are data sets themselves, for the next job to read. */
const DATASETS = ['samples.jsonl', 'positive.jsonl', 'negative.jsonl', 'preferences.jsonl', 'contrast.jsonl'];

/** What the files are. @type {Record<string, string>} */
const ABOUT = {
  'samples.jsonl': 'graded responses, a data set of trajectories',
  'positive.jsonl': 'the right responses that were selected',
  'negative.jsonl': 'the wrong responses that were selected',
  'preferences.jsonl': 'pairs, a data set of preferences',
  'contrast.jsonl': 'pairs with the scores of their tokens',
  'selection.json': 'what was selected, in numbers',
  'evaluation.jsonl': 'each problem with its response and verdict',
  'evaluation-before.jsonl': 'each problem as the base answered it',
  'evaluation-after.jsonl': 'each problem as the trained model answered it',
  'dropped.jsonl': 'rows that were left out, with the reason',
  'metrics.csv': 'the curves',
};

export class JobFiles {
  /** @param {Job} job @param {{onModels: (models: import('./types.js').ModelCard[]) => void}} on */
  constructor(job, on) {
    this.on = on;
    this.shown = '';
    /** Whether the reader wants the files unfolded; null while they have not said. @type {boolean|null} */
    this.open = null;
    /** Kept, so that a name that is being typed stays. @type {Map<string, JobAdapter>} */
    this.adapters = new Map();
    this.cards = h('div', { class: 'adapters' });
    this.files = h('div', {});
    this.root = h(
      'section',
      { class: 'job-part', 'aria-labelledby': 'files-title' },
      h('div', { class: 'part-head' }, h('h2', { id: 'files-title' }, 'What it made')),
      this.cards,
      this.files,
    );
  }

  /** @param {Job} job */
  update(job) {
    const shown = JSON.stringify([job.artifacts, job.state]);
    if (shown === this.shown) return;
    this.shown = shown;
    for (const folder of adapterFolders(job.artifacts)) {
      if (this.adapters.has(folder)) continue;
      const card = new JobAdapter(job, folder, this.on);
      this.adapters.set(folder, card);
      this.cards.append(card.root);
    }
    const whole = !this.adapters.size && job.artifacts.some(({ name }) => name === 'adapter/config.json');
    this.root.hidden = !job.artifacts.length;
    const open = this.open ?? !this.adapters.size;
    const choose = () => (this.open = !list.open);
    const all = job.artifacts.reduce((sum, file) => sum + file.bytes, 0);
    const list = h(
      'details',
      { id: 'job-files', open },
      h('summary', { on: { click: choose } }, `${count(job.artifacts.length, 'file')}, ${bytes(all)}`),
      h(
        'table',
        { class: 'plain-table' },
        h(
          'tbody',
          {},
          job.artifacts.map((file) => fileRow(job, file)),
        ),
      ),
    );
    fill(
      this.files,
      whole
        ? h('p', { class: 'banner' }, 'It trained every weight: its files are a whole model for --model, no adapter.')
        : null,
      list,
    );
  }
}

/** @param {Job} job @param {import('./job-words.js').Artifact} file */
function fileRow(job, file) {
  const path = api.artifactAddress(job.id, file.name);
  const plainName = file.name.split('/').pop() ?? file.name;
  const click = (/** @type {Event} */ event) => download(event, path, plainName);
  return h(
    'tr',
    {},
    h('th', { scope: 'row' }, h('a', { href: path, download: plainName, on: { click } }, `↓ ${plain(file.name)}`)),
    h('td', { class: 'num' }, bytes(file.bytes)),
    h('td', { class: 'hint' }, ABOUT[file.name] ?? ''),
    h('td', {}, DATASETS.includes(file.name) && isOver(job) ? storeButton(job, file.name) : null),
  );
}

/** Makes a data set of a file, so that another job can read it. @param {Job} job @param {string} file */
function storeButton(job, file) {
  const name = slug(`${title(job).slice(0, 40)}-${file.replace('.jsonl', '')}`);
  const store = async () => {
    button.disabled = true;
    try {
      const taken = (await api.datasets()).some((dataset) => dataset.name === name);
      const text = `There is a data set ${name}. Jobs that read the old one keep it.`;
      if (taken && !(await confirm('Replace the data set?', text, 'Replace'))) return;
      const { rows } = await api.putDataset(name, await api.fetched(api.artifactAddress(job.id, file)));
      const href = router.address({ ...router.parse(''), view: 'data', dataset: name });
      button.replaceWith(h('a', { href, data: { nav: 'here' } }, `✓ ${plain(name)}, ${count(rows, 'row')}`));
    } catch (error) {
      notice(`${file} was not stored: ${explain(error)}`, 'bad');
    } finally {
      button.disabled = false;
    }
  };
  const button = h('button', { type: 'button', class: 'quiet', on: { click: store } }, 'Store as data set');
  return button;
}
