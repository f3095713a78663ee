// A fold of settings with the API's defaults, remembered for the tab. Its summary tells what will be used without
// opening it; a value that the server refuses opens it at the field.

import { fill, h } from './dom.js';
import { integer, short } from './format.js';

/**
 * @typedef {object} Field
 * @property {string} key
 * @property {string} label
 * @property {string} param The request's own name for it, in errors.
 * @property {number|string} start The default.
 * @property {number} [min]
 * @property {number} [max]
 * @property {number|'any'} [step]
 * @property {[string, string][]} [options] Value and text; for a choice.
 * @property {string} [about]
 */

/** @type {Record<string, Field>} */
export const SAMPLING = {
  temperature: {
    key: 'temperature',
    label: 'Temperature',
    param: 'sampling.temperature',
    start: 0.5,
    min: 0,
    max: 100,
    step: 'any',
  },
  max_tokens: {
    key: 'max_tokens',
    label: 'Most tokens',
    param: 'sampling.max_tokens',
    start: 1024,
    min: 1,
    step: 1,
    about: 'Most tokens after the fork; by default as many as the model’s context has room for, up to 1,024.',
  },
  model: { key: 'model', label: 'Drawn by', param: 'model', start: 'base', options: [['base', 'base']] },
  seed: {
    key: 'seed',
    label: 'Seed',
    param: 'sampling.seed',
    start: 0,
    min: 0,
    step: 1,
    about: 'The same seed gives the same rollouts.',
  },
};

export class Settings {
  /**
   * @param {string} name of the group, for what is remembered @param {Field[]} fields
   * @param {(values: Record<string, any>) => string} summary
   */
  constructor(name, fields, summary) {
    this.store = `linchpin.${name}`;
    this.fields = fields;
    this.summarise = summary;
    /** @type {Record<string, string>} what differs from the defaults, as typed */
    this.changed = read(this.store);
    /** @type {Map<string, {input: any, problem: HTMLElement}>} */
    this.parts = new Map();
    /** Told of every change. @type {() => void} */
    this.onChange = () => {};
    this.summary = h('span', { class: 'num' });
    this.reset = h(
      'button',
      { type: 'button', class: 'quiet', on: { click: () => this.#defaults() } },
      'Back to the defaults',
    );
    this.root = h(
      'details',
      { class: 'settings' },
      h('summary', {}, this.summary),
      h(
        'div',
        { class: 'settings-fields' },
        fields.map((field) => this.#field(name, field)),
        this.reset,
      ),
    );
    this.#told();
  }

  /** @param {string} name @param {Field} field */
  #field(name, field) {
    const id = `${name}-${field.key}`;
    const on = { input: () => this.#change(field), change: () => this.#change(field) };
    const input = field.options
      ? h('select', { id, on })
      : h('input', { id, type: 'number', min: field.min, max: field.max, step: field.step, on });
    const problem = h('span', { class: 'problem', role: 'alert' });
    this.parts.set(field.key, { input, problem });
    if (field.options) this.choices(field.key, field.options);
    input.value = this.changed[field.key] ?? String(field.start);
    return h(
      'label',
      { class: 'field', title: field.about },
      h('span', { class: 'field-label' }, field.label),
      input,
      problem,
    );
  }

  /** @param {string} key */
  #part(key) {
    return /** @type {{input: any, problem: HTMLElement}} */ (this.parts.get(key));
  }

  /**
   * Sets what a choice offers, keeping what is chosen where it still stands.
   * @param {string} key @param {[string, string][]} options
   */
  choices(key, options) {
    const { input } = this.#part(key);
    const field = this.fields.find((one) => one.key === key);
    const before = this.changed[key] ?? (input.value || field?.start);
    fill(
      input,
      options.map(([value, text]) => h('option', { value }, text)),
    );
    input.value = options.some(([value]) => value === before) ? before : String(field?.start);
    this.#told();
  }

  /** Moves a default, such as one that hangs on the model. @param {string} key @param {number|string} start */
  start(key, start) {
    const field = this.fields.find((one) => one.key === key);
    if (!field || field.start === start) return;
    field.start = start;
    if (this.changed[key] === undefined) this.#part(key).input.value = String(start);
    this.#told();
  }

  /** @param {Field} field */
  #change(field) {
    const { input, problem } = this.#part(field.key);
    problem.textContent = '';
    input.removeAttribute('aria-invalid');
    if (input.value === String(field.start)) delete this.changed[field.key];
    else this.changed[field.key] = input.value;
    write(this.store, this.changed);
    this.#told();
  }

  #defaults() {
    this.changed = {};
    write(this.store, this.changed);
    for (const field of this.fields) {
      this.#part(field.key).input.value = String(field.start);
      this.#change(field);
    }
  }

  /** The values by key: numbers as numbers, null where a number is missing. @returns {Record<string, any>} */
  values() {
    return Object.fromEntries(
      this.fields.map(({ key, options }) => {
        const { value } = this.#part(key).input;
        return [key, options ? value : value.trim() === '' ? null : Number(value)];
      }),
    );
  }

  #told() {
    if (this.parts.size < this.fields.length) return;
    this.summary.textContent = this.summarise(this.values());
    this.reset.hidden = Object.keys(this.changed).length === 0;
    this.onChange();
  }

  /** Whether every value can be sent; if not, the field says why. */
  check() {
    return this.fields.every((field) => {
      const { input } = this.#part(field.key);
      if (field.options || (input.value.trim() !== '' && input.validity.valid)) return true;
      this.refuse(field.param, input.validationMessage || 'Give a number.');
      return false;
    });
  }

  /**
   * Shows an error at the field that it is about; whether there is one.
   * @param {string|null} param @param {string} message
   */
  refuse(param, message) {
    const field = this.fields.find((one) => one.param === param);
    if (!field) return false;
    const { input, problem } = this.#part(field.key);
    problem.textContent = message;
    input.setAttribute('aria-invalid', 'true');
    this.root.open = true;
    input.focus();
    return true;
  }
}

/**
 * How rollouts are drawn, in short; what hardly ever changes only where it was changed.
 * @param {Record<string, any>} values
 */
export function samplingText({ temperature, max_tokens: longest, model, seed }) {
  const parts = [`temperature ${short(temperature ?? 0)}`, `≤ ${integer(longest ?? 0)} tokens`];
  return [...parts, model === 'base' ? '' : model, seed ? `seed ${seed}` : ''].filter(Boolean).join(' · ');
}

/**
 * What the choice of a drawing model offers: the roles that are taken, then whatever else is loaded.
 * @param {import('./types.js').ModelCard[]} models @returns {[string, string][]}
 */
export function modelChoices(models) {
  const playing = models.flatMap(({ id, roles }) =>
    roles.map((role) => /** @type {[string, string]} */ ([role, role === id ? id : `${role} (${id})`])),
  );
  const others = models
    .filter(({ roles }) => !roles.length)
    .map(({ id }) => /** @type {[string, string]} */ ([id, id]));
  return [...playing, ...others];
}

/** @param {string} key @returns {Record<string, string>} */
function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? '{}');
  } catch {
    return {};
  }
}

/** @param {string} key @param {object} value */
function write(key, value) {
  try {
    sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Storage may be forbidden; the settings then last as long as the page.
  }
}
