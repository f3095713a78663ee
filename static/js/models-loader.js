// Loads an adapter: from the server's adapters folder, or from what a job made.

import { jobs, loadArtifact } from './api-jobs.js';
import * as api from './api.js';
import { notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { plain, when } from './format.js';
import { adapterFolders, slug, title } from './job-words.js';
import * as router from './router.js';
import { setSwitch, switchOf } from './sight-tools.js';
import { explain } from './states.js';

/** @typedef {import('./job-words.js').Job} Job */

/** So many jobs are looked through for adapters. */
const LOOKED_THROUGH = 50;
const WAYS = [
  { key: 'folder', label: 'a folder', about: 'A PEFT folder inside the server’s adapters folder' },
  { key: 'job', label: 'a job', about: 'What a training job made' },
];

/** @param {() => Promise<void>} onLoaded */
export function adapterLoader(onLoaded) {
  /** @type {{job: Job, folder: string}[]} */
  let made = [];
  const input = (/** @type {string} */ id, /** @type {string} */ placeholder) =>
    h('input', { type: 'text', name: id, id: `adapter-${id}`, required: true, autocomplete: 'off', placeholder });
  const id = input('id', 'positive');
  const path = input('path', 'positive-epoch-1');
  const artifact = h('select', { id: 'adapter-job', on: { change: () => choose() } });
  const about = h('p', { class: 'hint', id: 'adapter-about' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const button = h('button', { type: 'submit', class: 'main-button' }, 'Load');
  const fromFolder = h('label', { class: 'field grow' }, label('Path inside the folder'), path);
  const fromJob = h('label', { class: 'field grow', hidden: true }, label('Adapter of a job'), artifact);
  const ways = switchOf('adapter-from', 'Load it from', WAYS, (key) => from(key));

  /** @param {string} key */
  function from(key) {
    problem.textContent = '';
    fromFolder.hidden = key !== 'folder';
    fromJob.hidden = key !== 'job';
    path.required = key === 'folder';
    button.disabled = key === 'job';
    if (key === 'job') askJobs();
    else {
      fill(
        about,
        'A PEFT folder (adapter_config.json, adapter_model.safetensors) for this base, inside the server’s adapters folder. ',
        'The server can also start with --positive and --negative.',
      );
    }
  }

  async function askJobs() {
    fill(about, 'Looking for adapters…');
    try {
      const { data } = await jobs({ limit: LOOKED_THROUGH }, null);
      made = data.flatMap((job) => adapterFolders(job.artifacts).map((folder) => ({ job, folder })));
      fill(
        artifact,
        made.map(({ job, folder }, index) =>
          h('option', { value: index }, `${plain(title(job))} / ${folder} · ${when(job.created)}`),
        ),
      );
      choose();
    } catch (error) {
      problem.textContent = `The jobs could not be listed: ${explain(error)}`;
    }
  }

  function choose() {
    const chosen = made[Number(artifact.value)];
    button.disabled = !chosen;
    if (!chosen) {
      fill(about, 'No job has made an adapter yet. ', goTo({ job: 'new' }, 'Train one'), '.');
      return;
    }
    const { job, folder } = chosen;
    id.value = slug(`${title(job)}-${folder}`);
    fill(about, `Made by a ${job.kind} job: `, goTo({ job: job.id }, 'see the job'), '.');
  }

  async function submit(/** @type {Event} */ event) {
    event.preventDefault();
    problem.textContent = '';
    button.disabled = true;
    const name = id.value.trim();
    try {
      if (!fromJob.hidden) {
        const { job, folder } = made[Number(artifact.value)];
        await loadArtifact(name, job.id, folder);
      } else await api.loadAdapter(name, path.value.trim());
      notice(`${name} was loaded.`);
      await onLoaded();
    } catch (error) {
      problem.textContent = explain(error);
    } finally {
      button.disabled = false;
    }
  }

  setSwitch(ways, 'folder');
  from('folder');
  return h(
    'form',
    { class: 'card', 'aria-labelledby': 'load-title', on: { submit } },
    h('div', { class: 'card-head' }, h('h2', { id: 'load-title' }, 'Load an adapter from'), ways),
    about,
    h('div', { class: 'field-row' }, fromFolder, fromJob, h('label', { class: 'field' }, label('Name'), id), button),
    problem,
  );
}

/** @param {string} text */
function label(text) {
  return h('span', { class: 'field-label' }, text);
}

/** @param {Partial<router.Route>} change @param {string} text */
function goTo(change, text) {
  return h(
    'a',
    { href: router.address({ ...router.parse(''), view: 'jobs', ...change }), data: { nav: 'here' } },
    text,
  );
}
