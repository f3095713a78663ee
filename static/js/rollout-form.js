// Starts rollouts at the chosen token: the draws of the model in its place, the likeliest tokens, one from the table,
// or one that is typed. One form for all tokens; it keeps what was typed while the panel shows something else.

import * as api from './api-runs.js';
import { ApiError } from './api.js';
import { fill, h } from './dom.js';
import { count, visible } from './format.js';
import { AnswerField } from './rollout-answer.js';
import { SAMPLING, Settings, modelChoices, samplingText } from './rollout-settings.js';
import { explain } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */
/**
 * @typedef {{source: 'sampled'}|{source: 'top', model: string, k: number}|{source: 'given', token_ids: number[]}|
 * {source: 'given', texts: string[]}} Alternatives
 */

const DEFAULT_MAX_TOKENS = 1024;
/** What the request calls a setting elsewhere than in the form. @type {Record<string, string>} */
const SAME = { 'alternatives.count': 'samples', original_samples: 'samples' };
/** Milliseconds after the last key before a typed text is looked up. */
const TYPING_PAUSE = 200;

export class RolloutForm {
  /** @param {(request: object) => Promise<unknown>} start */
  constructor(start) {
    this.start = start;
    /** @type {Trace|null} */
    this.trace = null;
    this.position = 0;
    this.room = DEFAULT_MAX_TOKENS;
    this.busy = false;
    this.looking = new AbortController();
    this.timer = 0;
    this.settings = new Settings(
      'rollouts',
      [
        {
          key: 'samples',
          label: 'Rollouts',
          param: 'samples',
          start: 64,
          min: 1,
          max: 4096,
          step: 1,
          about:
            'After the response’s own token, and after each other one; as many draws where the model chooses them.',
        },
        SAMPLING.temperature,
        { ...SAMPLING.max_tokens },
        SAMPLING.model,
        SAMPLING.seed,
      ],
      (values) => [count(values.samples ?? 0, 'rollout'), samplingText(values)].join(' · '),
    );
    this.settings.onChange = () => this.#labels();
    this.answer = new AnswerField('rollout-answer');
    this.main = h('button', {
      type: 'button',
      class: 'main-button',
      id: 'roll-out',
      on: { click: () => this.sampled() },
    });
    this.k = h('input', {
      type: 'number',
      id: 'top-k',
      min: 1,
      max: 100,
      step: 1,
      value: 5,
      'aria-label': 'How many of the likeliest tokens',
    });
    this.of = h(
      'select',
      { id: 'top-of', 'aria-label': 'Likeliest by which model' },
      h('option', { value: 'base' }, 'base'),
    );
    this.typed = h('input', {
      type: 'text',
      id: 'typed-token',
      autocomplete: 'off',
      autocapitalize: 'off',
      spellcheck: 'false',
      'aria-describedby': 'typed-echo typed-problem',
      on: { input: () => this.#typing() },
    });
    this.echo = h('p', { class: 'hint echo', id: 'typed-echo', role: 'status' });
    this.typedProblem = h('p', { class: 'problem', role: 'alert', id: 'typed-problem' });
    this.problem = h('p', { class: 'problem', role: 'alert' });
    const submit = (/** @type {() => unknown} */ act) => ({
      submit: (/** @type {Event} */ event) => (event.preventDefault(), act()),
    });
    this.root = h(
      'section',
      { class: 'rollout-form', 'aria-label': 'Roll out' },
      this.answer.root,
      this.main,
      h(
        'form',
        { class: 'rollout-line', novalidate: true, on: submit(() => this.top()) },
        h('span', { class: 'label' }, 'or top'),
        this.k,
        h('span', { class: 'label' }, 'of'),
        this.of,
        h('button', { id: 'roll-out-top' }, 'Roll out'),
      ),
      h(
        'form',
        { class: 'rollout-line', on: submit(() => this.given({ source: 'given', texts: [this.typed.value] })) },
        h('label', { class: 'label', for: 'typed-token' }, 'or the token'),
        this.typed,
        h('button', { id: 'roll-out-typed' }, 'Roll out'),
      ),
      this.echo,
      this.typedProblem,
      this.problem,
      this.settings.root,
    );
    this.#labels();
  }

  /** @param {Trace} trace @param {number} position */
  show(trace, position) {
    if (this.trace !== trace || this.position !== position) this.#settle();
    this.trace = trace;
    this.position = position;
    this.answer.show(trace);
    const taken = trace.prompt.token_ids.length + position + 1;
    this.settings.start('max_tokens', Math.max(1, Math.min(DEFAULT_MAX_TOKENS, this.room - taken)));
  }

  /** Offers the loaded models. @param {import('./types.js').ModelCard[]} models */
  models(models) {
    const choices = modelChoices(models);
    this.settings.choices('model', choices);
    const roles = ['base', 'positive', 'negative'].filter((role) => models.some((model) => model.roles.includes(role)));
    fill(
      this.of,
      roles.map((role) => h('option', { value: role }, role)),
    );
    this.room = Math.min(...models.map(({ max_context: context }) => context));
    if (this.trace) this.show(this.trace, this.position);
  }

  #labels() {
    const { samples } = this.settings.values();
    fill(this.main, `Roll out: ${samples ?? '–'} sampled`);
    this.main.title = 'Draws other tokens from the model in this one’s place, and a rollout after each (Enter)';
  }

  #settle() {
    this.problem.textContent = '';
    this.typedProblem.textContent = '';
    this.typed.removeAttribute('aria-invalid');
  }

  /** Says what tokens the typed text is, with its spaces to be seen. */
  #typing() {
    this.#settle();
    this.looking.abort();
    clearTimeout(this.timer);
    const text = this.typed.value;
    if (text === '') {
      fill(this.echo);
      return;
    }
    const looking = new AbortController();
    this.looking = looking;
    this.timer = window.setTimeout(async () => {
      try {
        const { tokens, token_strs: texts } = await api.tokenize(text, looking.signal);
        const own = tokens.length === 1 && texts[0] === text;
        fill(
          this.echo,
          own ? '✓ one token: ' : `${count(tokens.length, 'token')}, not one: `,
          texts.map((one) => [h('span', { class: 'chip' }, visible(one)), ' ']),
          own ? '' : ` for ${visible(text)}`,
        );
      } catch {
        // Only a help: the server checks again when it is asked to roll out.
        if (!looking.signal.aborted) fill(this.echo, `${visible(text)}`);
      }
    }, TYPING_PAUSE);
  }

  /** The paper's rule: as many draws of the model, with the response's own token left out. */
  sampled() {
    return this.given({ source: 'sampled' });
  }

  top() {
    return this.given({ source: 'top', model: this.of.value, k: this.k.valueAsNumber });
  }

  /** @param {Alternatives} alternatives */
  async given(alternatives) {
    const { trace, position } = this;
    if (!trace || this.busy || !this.settings.check()) return;
    this.#settle();
    const reference = this.answer.request();
    if (!reference) return;
    const { samples, temperature, max_tokens, model, seed } = this.settings.values();
    const drawn = alternatives.source === 'sampled';
    this.busy = true;
    this.root.setAttribute('aria-busy', 'true');
    try {
      await this.start({
        trace_id: trace.id,
        position,
        model,
        alternatives: drawn ? { source: 'sampled', count: samples } : alternatives,
        samples: drawn ? 1 : samples,
        original_samples: samples,
        sampling: { temperature, max_tokens, seed },
        ...reference,
      });
    } catch (error) {
      this.#refused(error);
    } finally {
      this.busy = false;
      this.root.removeAttribute('aria-busy');
    }
  }

  /** Says what is wrong where it is wrong. @param {unknown} error */
  #refused(error) {
    const param = error instanceof ApiError ? error.param : null;
    const message = error instanceof Error ? error.message : String(error);
    if (param === 'alternatives.texts[0]') {
      this.typedProblem.textContent = `${visible(this.typed.value)} ${message}`;
      this.typed.setAttribute('aria-invalid', 'true');
      this.typed.focus();
    } else if (param === 'answer') this.answer.refuse(message);
    else if (!this.settings.refuse(SAME[param ?? ''] ?? param, message)) this.problem.textContent = explain(error);
  }
}
