// Asks for the reference answer where a trace has none: without it no rollout can be told right from wrong.

import { h } from './dom.js';

/** @type {Map<string, string>} by trace, so that the next roll out need not ask again */
const given = new Map();

export class AnswerField {
  /** @param {string} id */
  constructor(id) {
    this.trace = '';
    this.input = h('input', {
      type: 'text',
      id,
      autocomplete: 'off',
      on: { input: () => (this.refuse(''), given.set(this.trace, this.input.value)) },
    });
    this.problem = h('span', { class: 'problem', role: 'alert' });
    this.root = h(
      'label',
      { class: 'field', hidden: true },
      h('span', { class: 'field-label' }, 'Reference answer (this trace was scored without one)'),
      this.input,
      this.problem,
    );
  }

  /** @param {import('./types.js').Trace} trace */
  show(trace) {
    this.root.hidden = trace.verdict !== null;
    if (this.trace === trace.id && document.activeElement === this.input) return;
    this.trace = trace.id;
    this.input.value = given.get(trace.id) ?? '';
  }

  /** What the request says of it; null, and the field asks, while it is missing. @returns {{answer?: string}|null} */
  request() {
    if (this.root.hidden) return {};
    const answer = this.input.value.trim();
    if (answer) return { answer };
    this.refuse('Needed to tell right from wrong.');
    this.input.focus();
    return null;
  }

  /** @param {string} message */
  refuse(message) {
    this.problem.textContent = message;
    if (message) this.input.setAttribute('aria-invalid', 'true');
    else this.input.removeAttribute('aria-invalid');
  }
}
