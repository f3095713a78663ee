// Settings that belong together, made from the server's description: the common ones first, the rest folded away, and
// those of a stage or an adapter in a fold of their own.

import { h } from './dom.js';
import { coded, isGroup, makeField, nullable } from './job-fields.js';

/** @typedef {import('./job-fields.js').Field} Field */
/** @typedef {import('./job-fields.js').Choices} Choices */

/** The settings that are changed most often, in their order. What a kind does not have is passed over. */
const COMMON = [
  'dataset',
  'eval_dataset',
  'model',
  'positive',
  'negative',
  'responses',
  'loss',
  'beta',
  'prompt_format',
  'n',
  'temperature',
  'max_tokens',
  'coverage',
  'learning_rate',
  'num_train_epochs',
  'max_steps',
  'warmup_steps',
  'per_device_train_batch_size',
];

/** Says what is wrong with a field, and which it is. */
export class FieldFault extends Error {
  /** @param {Field} field @param {string} message */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

export class SettingsGroup {
  /**
   * @param {any} schema an object's @param {string} path where it stands, empty for the whole
   * @param {Choices} choices
   */
  constructor(schema, path, choices) {
    this.path = path;
    this.nulled = nullable(schema) ? h('input', { type: 'checkbox', data: { path } }) : null;
    /** @type {Map<string, Field|SettingsGroup>} */
    this.parts = new Map();
    for (const [name, inner] of Object.entries(schema.properties)) {
      const at = path ? `${path}.${name}` : name;
      const part = isGroup(inner) ? new SettingsGroup(inner, at, choices) : makeField(name, at, inner, choices);
      this.parts.set(name, part);
    }
    const names = [...this.parts.keys()];
    const fields = names.filter((name) => !(this.parts.get(name) instanceof SettingsGroup));
    const groups = names.filter((name) => this.parts.get(name) instanceof SettingsGroup);
    const common = COMMON.filter((name) => fields.includes(name));
    // With little else, or nothing common, nothing is folded away.
    const all = !common.length || fields.length - common.length < 2;
    const first = all ? [...common, ...fields.filter((name) => !common.includes(name))] : common;
    const rest = fields.filter((name) => !first.includes(name));
    const roots = (/** @type {string[]} */ some) => some.map((name) => this.parts.get(name)?.root);
    const adapter = path.endsWith('lora') || !groups.includes('lora') ? [] : ['lora'];
    this.body = h(
      'div',
      { class: 'settings-body' },
      h('div', { class: 'settings-grid' }, roots(first)),
      roots(groups.filter((name) => !adapter.includes(name))),
      rest.length || adapter.length
        ? h(
            'details',
            { class: 'settings-more' },
            h('summary', {}, 'More settings'),
            h('div', { class: 'settings-grid' }, roots(rest)),
            roots(adapter),
          )
        : null,
    );
    this.root = path ? this.#fold(schema) : this.body;
  }

  /** @param {any} schema */
  #fold(schema) {
    const name = this.path.split('.').pop();
    const sync = () => (this.body.disabled = this.nulled?.checked);
    const body = h('fieldset', { class: 'settings-fold-body' });
    body.append(this.body);
    this.body = body;
    this.nulled?.addEventListener('input', sync);
    return h(
      'details',
      { class: 'settings-fold' },
      h(
        'summary',
        {},
        h('span', { class: 'field-name' }, name),
        ' ',
        h('span', { class: 'hint' }, coded(schema.description ?? '')),
      ),
      this.nulled ? h('label', { class: 'check' }, this.nulled, ' send ', h('code', {}, 'null')) : null,
      body,
    );
  }

  /** What differs from the defaults; undefined where nothing does. */
  read() {
    if (this.nulled?.checked) return null;
    /** @type {Record<string, any>} */
    const said = {};
    for (const [name, part] of this.parts) {
      const value = part instanceof SettingsGroup ? part.read() : readField(part);
      if (value !== undefined) said[name] = value;
    }
    return Object.keys(said).length || !this.path ? said : undefined;
  }

  /** Takes over complete settings, or some. @param {any} config */
  write(config) {
    if (this.nulled) {
      this.nulled.checked = config === null;
      this.body.disabled = this.nulled.checked;
    }
    for (const [name, value] of Object.entries(config ?? {})) this.parts.get(name)?.write(value);
  }

  /** The field of a path, as an error names it. @param {string} path @returns {HTMLElement|null} */
  at(path) {
    for (const part of this.parts.values()) {
      if (part instanceof SettingsGroup) {
        const found = part.at(path);
        if (found) return found;
      } else if (path === part.path || path.startsWith(`${part.path}.`) || path.startsWith(`${part.path}[`)) {
        return part.input;
      }
    }
    return path && path === this.path ? (this.nulled ?? this.root.querySelector('summary')) : null;
  }
}

/** @param {Field} field */
function readField(field) {
  try {
    return field.read();
  } catch (wrong) {
    throw new FieldFault(field, /** @type {Error} */ (wrong).message);
  }
}
