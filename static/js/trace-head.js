// The head of a trace: verdict, question, what was scored with what, and compare, export, edit and delete.

import { h } from './dom.js';
import { exportMenu } from './export-menu.js';
import { count, duration, lastQuestion, plain, verdictMark, whenFull } from './format.js';
import * as router from './router.js';

/** @typedef {import('./types.js').Trace} Trace */

/** Longer prompts are folded to their first lines. */
const FOLD_LINES = 4;
const FOLD_CHARACTERS = 360;

/** @param {Trace} trace @param {{remove: () => void, picture: () => Promise<Blob>}} on @returns {HTMLElement[]} */
export function traceHead(trace, on) {
  const { symbol, word } = verdictMark(trace.verdict?.status);
  const again = router.address({ ...router.parse(''), view: 'new', from: trace.id });
  const compare = router.address({ ...router.parse(''), view: 'compare', trace: trace.id });
  const title = h(
    'div',
    { class: 'trace-title' },
    h('a', { class: 'back', href: '/', data: { nav: 'traces' } }, '‹ Traces'),
    h('h1', { class: `verdict ${trace.verdict?.status ?? 'none'}`, id: 'verdict' }, `${symbol} ${word}`),
    answers(trace.verdict),
    h(
      'div',
      { class: 'trace-actions' },
      h('a', { class: 'button quiet', href: compare, title: 'Compare (c)', data: { nav: 'here' } }, 'Compare'),
      exportMenu(trace.id, on.picture),
      h('a', { class: 'button quiet', href: again, data: { nav: 'again' } }, 'Edit'),
      h('button', { type: 'button', class: 'quiet', id: 'delete-trace', on: { click: on.remove } }, 'Delete'),
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
  const last = lastQuestion(prompt);
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
