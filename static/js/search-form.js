// Starts a search for the critical token, with its settings in a fold.

import { ApiError } from './api.js';
import { h } from './dom.js';
import { short } from './format.js';
import { AnswerField } from './rollout-answer.js';
import { SAMPLING, Settings, modelChoices, samplingText } from './rollout-settings.js';
import { explain } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */

const DEFAULT_MAX_TOKENS = 1024;
const MOST_BUDGET = 1;

export class SearchForm {
  /** @param {(request: object) => Promise<unknown>} start */
  constructor(start) {
    this.start = start;
    /** @type {Trace|null} */
    this.trace = null;
    this.room = DEFAULT_MAX_TOKENS;
    this.busy = false;
    this.settings = new Settings(
      'search',
      [
        {
          key: 'strategy',
          label: 'Strategy',
          param: 'strategy',
          start: 'adaptive',
          options: [
            ['adaptive', 'adaptive'],
            ['exhaustive', 'exhaustive'],
          ],
          about: 'Adaptive draws where the answer may still change; exhaustive draws every rollout after every token.',
        },
        { key: 'samples', label: 'Rollouts a token', param: 'samples', start: 64, min: 1, max: 1024, step: 1 },
        {
          key: 'tail',
          label: 'Tail',
          param: 'tail',
          start: 0.05,
          min: 0,
          max: 1,
          step: 'any',
          about: 'The highest share of right rollouts that a token after the critical one may have.',
        },
        {
          key: 'confidence',
          label: 'Confidence',
          param: 'confidence',
          start: 0.95,
          min: 0.5,
          max: 1,
          step: 'any',
          about: 'How sure an adaptive search must be that the exhaustive one gives the same answer.',
        },
        {
          key: 'budget',
          label: 'Budget',
          param: 'budget',
          start: 0.1,
          min: 0,
          max: MOST_BUDGET,
          step: 'any',
          about: 'The share of the exhaustive search’s tokens that an adaptive one may draw.',
        },
        SAMPLING.temperature,
        { ...SAMPLING.max_tokens },
        SAMPLING.model,
        SAMPLING.seed,
      ],
      (values) => {
        const { strategy, samples, tail, budget } = values;
        const parts = [strategy, `${samples ?? '–'} a token`, tail === 0.05 ? '' : `tail ${short(tail ?? 0)}`];
        if (strategy === 'adaptive' && budget !== 0.1) parts.push(`budget ${short(budget ?? 0)}`);
        return [...parts, samplingText(values)].filter(Boolean).join(' · ');
      },
    );
    this.answer = new AnswerField('search-answer');
    this.problem = h('p', { class: 'problem', role: 'alert' });
    this.button = h(
      'button',
      { type: 'button', id: 'find-critical', on: { click: () => this.go() } },
      'Find the critical token',
    );
    this.more = h('div', { class: 'search-more' }, this.answer.root, this.settings.root, this.problem);
  }

  /** @param {Trace} trace */
  show(trace) {
    if (this.trace !== trace) this.problem.textContent = '';
    this.trace = trace;
    this.answer.show(trace);
    const taken = trace.prompt.token_ids.length + trace.tokens.length;
    this.settings.start('max_tokens', Math.max(1, Math.min(DEFAULT_MAX_TOKENS, this.room - taken)));
  }

  /** @param {import('./types.js').ModelCard[]} models */
  models(models) {
    this.settings.choices('model', modelChoices(models));
    this.room = Math.min(...models.map(({ max_context: context }) => context));
    if (this.trace) this.show(this.trace);
  }

  /** @param {number} [budget] another than the one that is set */
  async go(budget) {
    if (!this.trace || this.busy || !this.settings.check()) return;
    const reference = this.answer.request();
    if (!reference) return;
    this.problem.textContent = '';
    const { strategy, samples, tail, confidence, model, temperature, max_tokens, seed, ...values } =
      this.settings.values();
    const sampling = { temperature, max_tokens, seed };
    this.busy = true;
    this.button.disabled = true;
    try {
      await this.start({
        trace_id: this.trace.id,
        strategy,
        samples,
        tail,
        confidence,
        budget: budget ?? values.budget,
        model,
        sampling,
        ...reference,
      });
    } catch (error) {
      const param = error instanceof ApiError ? error.param : null;
      const message = error instanceof Error ? error.message : String(error);
      if (param === 'answer') this.answer.refuse(message);
      else if (!this.settings.refuse(param, message)) this.problem.textContent = explain(error);
    } finally {
      this.busy = false;
      this.button.disabled = false;
    }
  }

  /** Searches again with a larger budget. @param {number} spent the budget that did not do */
  further(spent) {
    return this.go(Math.min(MOST_BUDGET, Math.max(0.1, spent) * 3));
  }
}
