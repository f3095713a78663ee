// The palette: everything that can be gone to or switched, found by typing.

import { jobs } from './api-jobs.js';
import { traces } from './api.js';
import { choose } from './chooser.js';
import { help } from './dialogs.js';
import { h } from './dom.js';
import { plain } from './format.js';
import { stateMark, title } from './job-words.js';
import { rowTexts, rowTop } from './list-row.js';
import { MEASURES } from './measures.js';
import * as router from './router.js';
import { switchTheme } from './theme.js';

/** So many traces and jobs are listed. */
const LISTED = 8;

/** Milliseconds for the server to answer: what needs none of its answers must not wait for it. */
const PATIENCE = 1500;

/** @typedef {import('./chooser.js').Choice<() => void>} Act */

/** @param {string} group @param {string} text @param {() => void} value @param {string} [key] @returns {Act & {text: string}} */
function act(group, text, value, key) {
  return {
    group,
    text,
    value,
    body: h('span', { class: 'palette-line' }, h('span', {}, text), key ? h('kbd', {}, key) : null),
  };
}

/** What can be done without asking the server: where to go, and what to switch. */
function acts() {
  const to = (/** @type {Partial<router.Route>} */ change) => () => router.open({ ...router.parse(''), ...change });
  const { view, trace } = router.route();
  const seen = (view === 'traces' && trace) || view === 'compare';
  const places = [
    act('Go to', 'Traces', () => router.open(router.traceSight(null))),
    act('Go to', 'Score a trajectory', to({ view: 'new' }), 'n'),
    act('Go to', 'Compare', to({ view: 'compare' })),
    act('Go to', 'Jobs', to({ view: 'jobs' })),
    act('Go to', 'Data', to({ view: 'data' })),
    act('Go to', 'Models', to({ view: 'models' })),
  ];
  const others = [
    ...(seen
      ? MEASURES.map(({ key, label }) =>
          act('Colour by', `Colour by ${label}`, () => router.open({ measure: key, threshold: null })),
        )
      : []),
    act('Do', 'Switch between light and dark', switchTheme, 't'),
    act('Do', 'Keys and help', help, '?'),
  ];
  return [places, others];
}

/** @param {string} text @param {AbortSignal} signal @returns {Promise<Act[]>} */
async function storedTraces(text, signal) {
  const { data } = await traces({ ...(text && { q: text }), limit: String(LISTED) }, signal);
  return data.map((row) => ({
    group: text ? 'Traces' : 'Newest traces',
    body: [rowTop(row), rowTexts(row)],
    value: () => router.open(router.traceSight(row.id)),
  }));
}

/** @param {string} text @param {AbortSignal} signal @returns {Promise<Act[]>} */
async function latestJobs(text, signal) {
  const { data } = await jobs({ limit: LISTED }, null, signal);
  return data
    .map((job) =>
      act('Jobs', `${plain(title(job))} · ${stateMark(job.state).word}`, () =>
        router.open({ ...router.parse(''), view: 'jobs', job: job.id }),
      ),
    )
    .filter((one) => one.text.toLowerCase().includes(text.toLowerCase()));
}

/** What is found in time; nothing where it fails. @param {Promise<Act[]>} found @returns {Promise<Act[]>} */
function inTime(found) {
  const late = new Promise((resolve) => setTimeout(() => resolve([]), PATIENCE));
  return Promise.race([found.catch(() => []), /** @type {Promise<Act[]>} */ (late)]);
}

export async function palette() {
  const chosen = await choose({
    title: 'Go to',
    placeholder: 'A view, a trace, a job, a measure…',
    find: async (text, signal) => {
      const found = await Promise.all([storedTraces(text, signal), latestJobs(text, signal)].map(inTime));
      const words = text.toLowerCase().split(/\s+/);
      const [places, others] = acts();
      const fits = (/** @type {{text: string}} */ one) => words.every((word) => one.text.toLowerCase().includes(word));
      return [...places.filter(fits), ...(text ? others.filter(fits) : []), ...found.flat(), ...(text ? [] : others)];
    },
  });
  chosen?.();
}
