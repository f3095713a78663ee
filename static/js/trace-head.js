// The head of a trace: verdict, question, what was scored with what, and export, edit and delete.

import * as api from './api.js';
import { confirm, notice } from './dialogs.js';
import { h } from './dom.js';
import { count, duration, plain, verdictMark, whenFull } from './format.js';
import * as router from './router.js';
import { explain } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {'jsonl'|'csv'|'html'} Format */

/** Longer prompts are folded to their first lines. */
const FOLD_LINES = 4;
const FOLD_CHARACTERS = 360;

/** @param {Trace} trace @param {() => void} onDeleted @returns {HTMLElement[]} */
export function traceHead(trace, onDeleted) {
  const { symbol, word } = verdictMark(trace.verdict?.status);
  const again = router.address({ ...router.parse(''), view: 'new', from: trace.id });
  const remove = { click: () => deleteTrace(trace, onDeleted) };
  const title = h(
    'div',
    { class: 'trace-title' },
    h('a', { class: 'back', href: '/', data: { nav: 'traces' } }, '‹ Traces'),
    h('h1', { class: `verdict ${trace.verdict?.status ?? 'none'}`, id: 'verdict' }, `${symbol} ${word}`),
    answers(trace.verdict),
    h(
      'div',
      { class: 'trace-actions' },
      exports(trace),
      h('a', { class: 'button quiet', href: again, data: { nav: 'again' } }, 'Edit'),
      h('button', { type: 'button', class: 'quiet', id: 'delete-trace', on: remove }, 'Delete'),
    ),
  );
  return [title, question(trace.prompt.text), facts(trace)];
}

/** @param {import('./types.js').Verdict|null} verdict */
function answers(verdict) {
  if (!verdict) return null;
  const number = (/** @type {string} */ text) => h('b', { class: 'num' }, plain(text));
  const answered = verdict.extracted === null ? [] : ['answered ', number(verdict.extracted), ', '];
  return h('p', { class: 'answers' }, answered, 'expected ', number(verdict.reference));
}

/**
 * The prompt, folded to the beginning of its last question: the examples before it are the same in every prompt.
 * @param {string} prompt
 */
function question(prompt) {
  const last = prompt.slice(Math.max(prompt.lastIndexOf('Question:'), prompt.lastIndexOf('Problem:'), 0));
  const text = h('p', { class: 'prompt-text', id: 'prompt-text' }, plain(prompt));
  const long = last !== prompt || prompt.split('\n').length > FOLD_LINES || prompt.length > FOLD_CHARACTERS;
  if (!long) return h('section', { class: 'prompt', 'aria-label': 'Question' }, text);
  const button = h('button', { type: 'button', class: 'quiet fold', 'aria-controls': 'prompt-text' });
  const show = (/** @type {boolean} */ all) => {
    text.textContent = plain(all ? prompt : last);
    text.classList.toggle('folded', !all);
    button.setAttribute('aria-expanded', String(all));
    button.textContent = all ? 'Fold' : 'Show the whole prompt';
  };
  button.addEventListener('click', () => show(text.classList.contains('folded')));
  show(false);
  return h('section', { class: 'prompt', 'aria-label': 'Question' }, text, button);
}

/** @param {Trace} trace */
function facts(trace) {
  const { usage, timing, models } = trace;
  const roles = /** @type {const} */ (['base', 'positive', 'negative']).filter((role) => models[role]);
  const number = (/** @type {string} */ text, title = '') => h('span', { class: 'num', title: title || null }, text);
  return h(
    'p',
    { class: 'facts' },
    number(`${count(usage.response_tokens, 'token')} after ${count(usage.prompt_tokens, 'prompt token')}`),
    number(`β ${trace.beta}`),
    trace.normalizer === 'truncated'
      ? h('span', { title: 'Z was summed over the top of the vocabulary only' }, 'truncated normaliser')
      : null,
    number(duration(timing.compute_ms), `${duration(timing.queue_ms)} in the queue`),
    roles.map((role) =>
      h('span', { title: `sha256 ${models[role]?.sha256}` }, `${role} `, h('b', {}, plain(models[role]?.id ?? ''))),
    ),
    number(whenFull(trace.created)),
    (trace.tags ?? []).map((tag) =>
      h('a', { class: 'tag', href: router.link({ tag }), data: { nav: 'tag', tag } }, plain(tag)),
    ),
  );
}

/** Plain links where they can work: with a key, the file is fetched and handed over instead. @param {Trace} trace */
function exports(trace) {
  const link = (/** @type {Format} */ format) =>
    h(
      'a',
      {
        class: 'button quiet',
        href: api.exportAddress(trace.id, format),
        download: `${trace.id}.${format}`,
        title: `Export as ${format.toUpperCase()}`,
        on: { click: (/** @type {Event} */ event) => exportTrace(event, trace, format) },
      },
      `↓ ${format}`,
    );
  return h(
    'span',
    { class: 'exports', role: 'group', 'aria-label': 'Export' },
    link('jsonl'),
    link('csv'),
    link('html'),
  );
}

/** @param {Event} event @param {Trace} trace @param {Format} format */
async function exportTrace(event, trace, format) {
  if (!api.key()) return;
  event.preventDefault();
  try {
    const file = URL.createObjectURL(await api.exported(trace.id, format));
    h('a', { href: file, download: `${trace.id}.${format}` }).click();
    setTimeout(() => URL.revokeObjectURL(file), 10_000);
  } catch (error) {
    notice(`The export failed: ${explain(error)}`, 'bad');
  }
}

/** @param {Trace} trace @param {() => void} onDeleted */
async function deleteTrace(trace, onDeleted) {
  const warning = 'It is removed from the server, with its scores. Export it first to keep a copy.';
  if (!(await confirm('Delete this trace?', warning, 'Delete'))) return;
  try {
    await api.deleteTrace(trace.id);
    notice('The trace was deleted.');
    onDeleted();
  } catch (error) {
    notice(`The trace was not deleted: ${explain(error)}`, 'bad');
  }
}
