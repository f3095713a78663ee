// Fields of a job's settings, made from the server's own description of them. An empty field is the published setting,
// which it shows as its placeholder: only what was changed has a value, and only that is sent.

import { h } from './dom.js';
import { integer } from './format.js';

/**
 * @typedef {object} Field
 * @property {string} path As errors name it, without `config.`.
 * @property {HTMLElement} root
 * @property {HTMLElement} input What is focused, and labelled.
 * @property {() => any} read The value, undefined for the default; throws a message that says what is wrong.
 * @property {(value: any) => void} write The default, or null where that is it, empties the field.
 */

/**
 * @typedef {object} Choices What the server has that fields choose from.
 * @property {(name: string) => {value: string, text: string}[]} datasets those that fit a field, by its name
 * @property {string[]} models ids and roles
 * @property {{job: string, artifact: string, text: string}[]} adapters
 */

/** Upper bounds from here on are the machine's, and no advice. */
const FAR = 1e6;

/** @param {any} schema @param {string} type */
const is = (schema, type) => [schema.type].flat().includes(type);

/** Whether it has fields of its own. @param {any} schema */
export function isGroup(schema) {
  return is(schema, 'object') && !schema.properties?.artifact;
}

/** Whether null may stand there. @param {any} schema */
export function nullable(schema) {
  return is(schema, 'null');
}

/** @param {string} name @param {string} path @param {any} schema @param {Choices} choices @returns {Field} */
export function makeField(name, path, schema, choices) {
  const id = `job-${path.replaceAll('.', '-')}`;
  const make = maker(name, schema);
  const { input, read, write } = make(schema, choices, name);
  const hint = h('span', { class: 'hint', id: `${id}-hint` }, coded(schema.description ?? ''), bounds(schema));
  const control = /** @type {HTMLElement} */ (input);
  control.id = id;
  control.dataset.path = path;
  control.setAttribute('aria-describedby', hint.id);
  const label = h('label', { class: 'field-name', for: id }, name);
  const flag = is(schema, 'boolean');
  const root = h('div', { class: `setting${flag ? ' flag' : ''}` }, flag ? [input, label] : [label, input], hint);
  // What has to be chosen is no change.
  const mark = () => root.classList.toggle('changed', !/dataset$/.test(name) && changed(read));
  control.addEventListener('input', mark);
  return { path, root, input: control, read, write: (value) => (write(value), mark()) };
}

/** @param {() => any} read */
function changed(read) {
  try {
    return read() !== undefined;
  } catch {
    return true;
  }
}

/** @param {string} name @param {any} schema */
function maker(name, schema) {
  if (/dataset$/.test(name)) return datasetField;
  if (schema.oneOf) return modelField;
  if (schema.properties?.artifact) return modelField;
  if (schema.enum) return choiceField;
  if (is(schema, 'boolean')) return flagField;
  if (is(schema, 'integer') || is(schema, 'number')) return numberField;
  if (is(schema, 'array')) return listField;
  return textField;
}

/** @typedef {{input: HTMLElement, read: () => any, write: (value: any) => void}} Control */

/** @param {any} schema @param {Choices} choices @param {string} name @returns {Control} */
function datasetField(schema, choices, name) {
  const none = nullable(schema) ? 'none' : 'choose one';
  const options = choices.datasets(name).map(({ value, text }) => h('option', { value }, text));
  const input = h('select', { required: !nullable(schema) }, h('option', { value: '' }, none), options);
  if (!nullable(schema) && options.length === 1) input.value = options[0].value;
  return { input, read: () => input.value || undefined, write: (value) => (input.value = value ?? '') };
}

/** A loaded model, or an adapter of a job's. @param {any} schema @param {Choices} choices @returns {Control} */
function modelField(schema, choices) {
  const normal = schema.default ?? null;
  const models = schema.oneOf ? choices.models.filter((id) => id !== normal) : [];
  const value = (/** @type {any} */ model) => JSON.stringify(model);
  const input = h(
    'select',
    {},
    h('option', { value: '' }, normal === null ? 'none' : `${normal} (default)`),
    models.length
      ? h(
          'optgroup',
          { label: 'loaded' },
          models.map((id) => h('option', { value: value(id) }, id)),
        )
      : null,
    choices.adapters.length
      ? h(
          'optgroup',
          { label: 'made by jobs' },
          choices.adapters.map(({ job, artifact, text }) => h('option', { value: value({ job, artifact }) }, text)),
        )
      : null,
  );
  return {
    input,
    read: () => (input.value ? JSON.parse(input.value) : undefined),
    write: (model) => {
      const wanted = model === null || model === normal ? '' : value(model);
      // A model that is not there any more is still what the other job took.
      if (wanted && ![...input.options].some((option) => option.value === wanted)) {
        const text = typeof model === 'string' ? model : `${model.job} ${model.artifact}`;
        input.append(h('option', { value: wanted }, text));
      }
      input.value = wanted;
    },
  };
}

/** @param {any} schema @returns {Control} */
function choiceField({ enum: options, default: normal }) {
  const input = h(
    'select',
    {},
    options.map((/** @type {string} */ option) =>
      h('option', { value: option }, option === normal ? `${option} (default)` : option),
    ),
  );
  input.value = normal;
  return {
    input,
    read: () => (input.value === normal ? undefined : input.value),
    write: (value) => (input.value = value),
  };
}

/** @param {any} schema @returns {Control} */
function flagField({ default: normal = false }) {
  const input = h('input', { type: 'checkbox' });
  input.checked = normal;
  return {
    input,
    read: () => (input.checked === normal ? undefined : input.checked),
    write: (value) => (input.checked = value),
  };
}

/** A number as it is written: 4e-5 and not 0.00004. @param {number} x */
function written(x) {
  return x && Math.abs(x) < 1e-3 ? x.toExponential().replace('e-0', 'e-') : String(x);
}

/** @param {any} schema @returns {Control} */
function numberField(schema) {
  const normal = schema.default ?? null;
  const input = h('input', {
    type: 'text',
    // Keyboards for decimals have no e.
    inputmode: is(schema, 'integer') ? 'numeric' : null,
    autocomplete: 'off',
    placeholder: normal === null ? 'none' : written(normal),
  });
  return {
    input,
    read: () => {
      const text = input.value.trim();
      if (text === '') return undefined;
      if (nullable(schema) && /^(none|null)$/.test(text)) return normal === null ? undefined : null;
      const value = Number(text);
      const wrong = fault(value, schema);
      if (wrong) throw new RangeError(wrong);
      return value === normal ? undefined : value;
    },
    write: (value) => (input.value = value === normal ? '' : value === null ? 'none' : written(value)),
  };
}

/** What is wrong with a number; null for a right one. @param {number} value @param {any} schema */
function fault(value, schema) {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  if (!Number.isFinite(value)) return `This is no number${nullable(schema) ? ', and not “none”' : ''}.`;
  if (is(schema, 'integer') && !Number.isInteger(value)) return 'This must be a whole number.';
  if (is(schema, 'integer') && !Number.isSafeInteger(value)) return 'This page cannot hold so large a number exactly.';
  const within =
    value >= (minimum ?? -Infinity) &&
    value <= (maximum ?? Infinity) &&
    value > (exclusiveMinimum ?? -Infinity) &&
    value < (exclusiveMaximum ?? Infinity);
  return within ? null : `This must be ${range(schema)}.`;
}

/** Bounds in words. @param {any} schema */
function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${integer(maximum)}`;
  const said = [
    minimum !== undefined ? `${minimum} or more` : exclusiveMinimum !== undefined ? `above ${exclusiveMinimum}` : '',
    maximum !== undefined
      ? `at most ${integer(maximum)}`
      : exclusiveMaximum !== undefined
        ? `below ${exclusiveMaximum}`
        : '',
  ];
  return said.filter(Boolean).join(', ');
}

/** @param {any} schema */
function bounds(schema) {
  if (is(schema, 'array')) return '; one a line, \\n for a line break, [] for none';
  if (!is(schema, 'integer') && !is(schema, 'number')) return '';
  // A bound that nobody comes near is told only to whoever does.
  const said = [range(schema.maximum >= FAR ? { ...schema, maximum: undefined } : schema)];
  if (nullable(schema) && schema.default !== undefined) said.push('or none');
  const text = said.filter(Boolean).join(', ');
  return text ? `; ${text}` : '';
}

/** Texts, one a line. @param {any} schema @returns {Control} */
function listField(schema) {
  const normal = schema.default ?? null;
  const line = (/** @type {string} */ text) =>
    text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\t', '\\t');
  const lines = (/** @type {string[]|null} */ texts) => (texts ?? []).map(line).join('\n');
  const input = h('textarea', {
    rows: Math.max(1, normal?.length ?? 1),
    spellcheck: 'false',
    placeholder: normal ? lines(normal) : 'none',
  });
  /** @type {Record<string, string>} */
  const escapes = { n: '\n', t: '\t', '\\': '\\' };
  return {
    input,
    read: () => {
      if (input.value.trim() === '') return undefined;
      if (input.value.trim() === '[]') return [];
      const texts = input.value
        .split('\n')
        .filter(Boolean)
        .map((/** @type {string} */ line) => line.replace(/\\([nt\\])/g, (_, c) => escapes[c]));
      return JSON.stringify(texts) === JSON.stringify(normal) ? undefined : texts;
    },
    write: (texts) => {
      input.value = JSON.stringify(texts) === JSON.stringify(normal) ? '' : texts?.length === 0 ? '[]' : lines(texts);
    },
  };
}

/** @param {any} schema @returns {Control} */
function textField({ default: normal = '' }) {
  const input = h('textarea', { rows: 2, spellcheck: 'false', placeholder: normal });
  return {
    input,
    read: () => (input.value === '' || input.value === normal ? undefined : input.value),
    write: (value) => (input.value = value === normal ? '' : value),
  };
}

/** A description with its `names` as code. @param {string} text */
export function coded(text) {
  return text.split('`').map((part, index) => (index % 2 ? h('code', {}, part) : part));
}
