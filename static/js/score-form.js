// The form that scores a trajectory: texts as they stand, an optional reference answer, the settings of the analysis.

import * as api from './api.js';
import { fill, h } from './dom.js';
import { EXAMPLES } from './examples.js';
import { duration } from './format.js';
import * as router from './router.js';
import { explain } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */

/** Which field an error's `param` belongs to. @type {Record<string, string>} */
const FIELD_OF = {
  prompt: 'prompt',
  messages: 'prompt',
  response: 'response',
  answer: 'answer',
  beta: 'beta',
  top_logprobs: 'top',
  critical: 'rule-value',
  tags: 'tags',
};

/** What each rule's number means, and where it begins. @type {Record<string, {label: string, value: string}>} */
const RULES = {
  threshold: { label: 's_t at most', value: '0.05' },
  lowest: { label: 'how many', value: '3' },
  quantile: { label: 'share of tokens', value: '0.05' },
};

export class ScoreForm {
  /** @param {(trace: Trace) => void} onScored */
  constructor(onScored) {
    this.onScored = onScored;
    /** @type {AbortController|null} */
    this.running = null;
    /** @type {string|null} */
    this.filledFrom = null;

    const text = (/** @type {string} */ name, /** @type {number} */ rows, /** @type {string} */ placeholder) =>
      h('textarea', {
        name,
        id: `score-${name}`,
        rows,
        placeholder,
        spellcheck: 'false',
        on: { input: () => this.#checkJoint() },
      });
    const number = (/** @type {string} */ name, /** @type {string} */ value, /** @type {object} */ limits) =>
      h('input', { type: 'number', name, id: `score-${name}`, value, ...limits });
    this.prompt = text('prompt', 5, 'Question: …\nAnswer:');
    this.response = text('response', 9, ' The response, with the space that it begins with');
    this.answer = h('input', {
      type: 'text',
      name: 'answer',
      id: 'score-answer',
      autocomplete: 'off',
      placeholder: 'optional',
    });
    this.chat = h(
      'select',
      { name: 'as', id: 'score-as', on: { change: () => this.#checkJoint() } },
      h('option', { value: 'text' }, 'text, as it stands'),
      h('option', { value: 'chat' }, 'a user’s message, in the chat template'),
    );
    this.beta = number('beta', '1', { min: 0, max: 10, step: 'any', required: true });
    this.top = number('top', '5', { min: 0, max: 100, step: 1, required: true });
    this.rule = h(
      'select',
      { name: 'rule', id: 'score-rule', on: { change: () => this.#chooseRule() } },
      h('option', { value: 'threshold' }, 'threshold'),
      h('option', { value: 'lowest' }, 'the lowest k'),
      h('option', { value: 'quantile' }, 'lowest share'),
    );
    this.ruleValue = number('rule-value', '0.05', { min: 0, step: 'any', required: true });
    this.ruleLabel = h('span', {}, RULES.threshold.label);
    this.tags = h('input', {
      type: 'text',
      name: 'tags',
      id: 'score-tags',
      autocomplete: 'off',
      placeholder: 'optional, separated by commas',
    });
    this.joint = h('p', { class: 'hint', id: 'score-joint' });
    this.problem = h('p', { class: 'problem', role: 'alert', id: 'score-problem' });
    this.submit = h('button', { type: 'submit', class: 'main-button' }, 'Score');
    this.stop = h('button', { type: 'button', hidden: true, on: { click: () => this.running?.abort() } }, 'Stop');
    this.progress = h('span', { class: 'num hint', role: 'status' });
    this.root = h(
      'form',
      {
        class: 'score-form',
        id: 'score-form',
        'aria-labelledby': 'score-title',
        novalidate: true,
        on: {
          submit: (/** @type {Event} */ event) => this.#submit(event),
          keydown: (/** @type {KeyboardEvent} */ event) => this.#shortcut(event),
        },
      },
      h('h1', { id: 'score-title' }, 'Score a trajectory'),
      h(
        'div',
        { class: 'examples' },
        h('span', {}, 'Try one:'),
        EXAMPLES.map((example) =>
          h(
            'button',
            { type: 'button', class: 'quiet', title: example.note, on: { click: () => this.fill(example) } },
            example.name,
          ),
        ),
      ),
      field('Question or prompt', this.prompt),
      field('Response', this.response),
      this.joint,
      h(
        'div',
        { class: 'field-row' },
        field('Reference answer', this.answer),
        field('The prompt is', this.chat),
        field('Tags', this.tags),
      ),
      h(
        'div',
        { class: 'field-row short' },
        field('beta', this.beta),
        field('Alternatives a token', this.top),
        field('Critical tokens by', this.rule),
        field(this.ruleLabel, this.ruleValue),
      ),
      this.problem,
      h(
        'div',
        { class: 'form-actions' },
        this.submit,
        this.stop,
        this.progress,
        h('span', { class: 'hint keys-hint' }, h('kbd', {}, 'Ctrl'), ' ', h('kbd', {}, '⏎')),
      ),
    );
    this.#checkJoint();
  }

  /** @param {{prompt: string, response: string, answer?: string|null}} texts */
  fill({ prompt, response, answer }) {
    this.prompt.value = prompt;
    this.response.value = response;
    this.answer.value = answer ?? '';
    this.chat.value = 'text';
    this.#clearProblem();
    this.#checkJoint();
    this.submit.focus();
  }

  /** Takes over a stored trace's texts, once. @param {string|null} id @param {(id: string) => Promise<Trace>} load */
  async from(id, load) {
    if (!id || id === this.filledFrom) return;
    this.filledFrom = id;
    try {
      const trace = await load(id);
      this.fill({ prompt: trace.prompt.text, response: trace.response.text, answer: trace.verdict?.reference });
      this.beta.value = String(trace.beta);
    } catch (error) {
      this.#problem(`The trace to begin from could not be read: ${explain(error)}`);
    }
  }

  #chooseRule() {
    const { label, value } = RULES[this.rule.value];
    this.ruleLabel.textContent = label;
    this.ruleValue.value = value;
  }

  /** The texts are joined without a space: say so when that glues two words together. */
  #checkJoint() {
    const glued = this.chat.value === 'text' && /\S$/.test(this.prompt.value) && /^\S/.test(this.response.value);
    if (!glued) fill(this.joint, 'Prompt and response are joined exactly as written.');
    else {
      fill(
        this.joint,
        'There is no space between the prompt and the response. ',
        h(
          'button',
          {
            type: 'button',
            class: 'quiet',
            on: { click: () => ((this.response.value = ` ${this.response.value}`), this.#checkJoint()) },
          },
          'Begin the response with a space',
        ),
      );
    }
  }

  /** @param {KeyboardEvent} event */
  #shortcut(event) {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.root.requestSubmit();
  }

  /** @param {string} text @param {HTMLElement|null} [at] */
  #problem(text, at = null) {
    this.problem.textContent = text;
    at?.setAttribute('aria-invalid', 'true');
    at?.setAttribute('aria-describedby', this.problem.id);
    at?.focus();
  }

  #clearProblem() {
    this.problem.textContent = '';
    for (const input of this.root.querySelectorAll('[aria-invalid]')) {
      input.removeAttribute('aria-invalid');
      input.removeAttribute('aria-describedby');
    }
  }

  /** The request, or null after saying what is missing. */
  #request() {
    const missing = [
      [this.prompt, 'Give the question or prompt.'],
      [this.response, 'Give the response to score.'],
    ].find(([input]) => input.value === '');
    if (missing) {
      this.#problem(missing[1], missing[0]);
      return null;
    }
    const invalid = [this.beta, this.top, this.ruleValue].find((input) => !input.checkValidity());
    if (invalid) {
      this.#problem(invalid.validationMessage, invalid);
      return null;
    }
    const number = this.ruleValue.valueAsNumber;
    const tags = this.tags.value
      .split(',')
      .map((/** @type {string} */ tag) => tag.trim())
      .filter(Boolean);
    return {
      ...(this.chat.value === 'chat'
        ? { messages: [{ role: 'user', content: this.prompt.value }] }
        : { prompt: this.prompt.value }),
      response: this.response.value,
      ...(this.answer.value.trim() ? { answer: this.answer.value.trim() } : {}),
      beta: this.beta.valueAsNumber,
      critical: this.rule.value === 'lowest' ? { rule: 'lowest', k: number } : { rule: this.rule.value, value: number },
      top_logprobs: this.top.valueAsNumber,
      ...(tags.length ? { tags } : {}),
      save: true,
    };
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    if (this.running) return;
    this.#clearProblem();
    const request = this.#request();
    if (!request) return;
    const running = new AbortController();
    this.running = running;
    this.submit.disabled = true;
    this.stop.hidden = false;
    const began = performance.now();
    const tick = () => (this.progress.textContent = `Scoring… ${duration(performance.now() - began)}`);
    tick();
    const clock = setInterval(tick, 200);
    try {
      this.onScored(await api.score(request, running.signal));
    } catch (error) {
      if (running.signal.aborted) this.#problem('Stopped. Nothing was kept.');
      else {
        const param = /** @type {any} */ (error).param?.split(/[.[]/)[0] ?? '';
        const name = FIELD_OF[param];
        this.#problem(
          explain(error),
          name ? /** @type {HTMLElement|null} */ (this.root.querySelector(`[name="${name}"]`)) : null,
        );
      }
    } finally {
      clearInterval(clock);
      this.running = null;
      this.submit.disabled = false;
      this.stop.hidden = true;
      this.progress.textContent = '';
    }
  }
}

/** @param {any} label @param {HTMLElement} input */
function field(label, input) {
  return h('label', { class: 'field' }, h('span', { class: 'field-label' }, label), input);
}
