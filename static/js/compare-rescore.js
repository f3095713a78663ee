// Scores a trace's tokens again with other models: the same trajectory before and after a training, side by side.

import * as api from './api.js';
import { fill, h } from './dom.js';
import { plain } from './format.js';
import { explain } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */

/** The request that scores the same tokens, by the same settings, with other models. @param {Trace} trace @param {{positive: string|null, negative: string|null}} models */
function again(trace, models) {
  return {
    prompt_token_ids: trace.prompt.token_ids,
    response_token_ids: trace.tokens.map(({ id }) => id),
    ...(trace.verdict && { answer: trace.verdict.reference }),
    beta: trace.beta,
    ...(trace.rule && { critical: trace.rule }),
    top_logprobs: Math.min(...trace.tokens.map(({ top }) => top.length)),
    ...(trace.tags?.length && { tags: trace.tags }),
    models,
    save: true,
  };
}

/** @param {Trace} trace @param {(scored: Trace) => void} onScored */
export function rescoreForm(trace, onScored) {
  const choice = (/** @type {'positive'|'negative'} */ role) =>
    h('select', { id: `again-${role}`, required: true }, h('option', { value: '' }, 'loading…'));
  const selects = { positive: choice('positive'), negative: choice('negative') };
  const problem = h('p', { class: 'problem', role: 'alert' });
  const button = h('button', { type: 'submit' }, 'Score and compare');
  const field = (/** @type {'positive'|'negative'} */ role) =>
    h('label', { class: 'field' }, h('span', { class: 'field-label' }, role), selects[role]);
  const value = (/** @type {'positive'|'negative'} */ role) => selects[role].value || null;

  async function fillSelects() {
    try {
      const models = await api.models();
      for (const role of /** @type {const} */ (['positive', 'negative'])) {
        fill(
          selects[role],
          h('option', { value: '' }, '(none)'),
          models.map(({ id }) => h('option', { value: id }, plain(id))),
        );
        // What plays the role now, but for the positive one rather a model that this trace has not seen.
        const now = models.find(({ roles }) => roles.includes(role))?.id ?? '';
        const fresh = models.find(
          ({ id, kind, roles }) => kind === 'adapter' && !roles.length && id !== trace.models[role]?.id,
        );
        selects[role].value = role === 'positive' && fresh ? fresh.id : now;
      }
    } catch (error) {
      problem.textContent = `The models could not be listed: ${explain(error)}`;
    }
  }

  async function submit(/** @type {Event} */ event) {
    event.preventDefault();
    problem.textContent = '';
    button.disabled = true;
    button.textContent = 'Scoring…';
    try {
      onScored(await api.score(again(trace, { positive: value('positive'), negative: value('negative') })));
    } catch (error) {
      problem.textContent = explain(error);
    } finally {
      button.disabled = false;
      button.textContent = 'Score and compare';
    }
  }

  fillSelects();
  return h(
    'form',
    { class: 'rescore', 'aria-label': 'Score A again with other models', on: { submit } },
    h('p', { class: 'field-label' }, 'Score A again, the same tokens by the same rule, with'),
    h('div', { class: 'field-row' }, field('positive'), field('negative'), button),
    problem,
  );
}
