// A dialog with a field and the list of what it finds: type, walk with the arrows, Enter. The palette and the choice of
// a trace are made of it.

import { fill, h } from './dom.js';
import { explain } from './states.js';

/** Milliseconds to wait for the next letter. */
const TYPING = 160;

/**
 * @template T
 * @typedef {object} Choice
 * @property {string} group Choices of one group stand together, under its name.
 * @property {any} body What is seen.
 * @property {T} value
 */

/**
 * @template T
 * @param {object} asked
 * @param {string} asked.title
 * @param {string} asked.placeholder
 * @param {(text: string, signal: AbortSignal) => Promise<Choice<T>[]>} asked.find
 * @returns {Promise<T|null>} null when dismissed
 */
export function choose({ title, placeholder, find }) {
  const before = /** @type {HTMLElement|null} */ (document.activeElement);
  /** @type {Choice<T>[]} */
  let choices = [];
  /** @type {HTMLElement[]} */
  let options = [];
  let at = -1;
  let typing = 0;
  /** Whether the choices are of what was typed before. */
  let stale = false;
  /** @type {AbortController|null} */
  let running = null;
  /** @type {T|null} */
  let chosen = null;

  const list = h('div', { class: 'chooser-list', id: 'chooser-list', role: 'listbox', 'aria-label': title });
  const said = h('p', { class: 'hint chooser-said', role: 'status' });
  const input = h('input', {
    // Not a search field: there Esc would empty the text before it closes the dialog.
    type: 'text',
    id: 'chooser-input',
    role: 'combobox',
    placeholder,
    autocomplete: 'off',
    autofocus: true,
    'aria-label': title,
    'aria-controls': 'chooser-list',
    'aria-expanded': 'true',
    'aria-autocomplete': 'list',
    on: {
      input: () => {
        stale = true;
        clearTimeout(typing);
        typing = window.setTimeout(search, TYPING);
      },
      keydown: (/** @type {KeyboardEvent} */ event) => key(event),
    },
  });
  const element = h(
    'dialog',
    { class: 'chooser', 'aria-label': title },
    h(
      'div',
      { class: 'chooser-head' },
      input,
      h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', on: { click: () => element.close() } }, '✕'),
    ),
    list,
    said,
  );

  async function search() {
    running?.abort();
    const request = new AbortController();
    running = request;
    try {
      choices = await find(input.value.trim(), request.signal);
      if (request.signal.aborted) return;
      stale = false;
      draw();
      said.textContent = choices.length ? '' : 'Nothing is found.';
    } catch (error) {
      if (!request.signal.aborted) said.textContent = explain(error);
    }
  }

  function draw() {
    options = choices.map(({ body }, index) =>
      h('div', { class: 'chooser-option', role: 'option', id: `choice-${index}`, data: { index } }, body),
    );
    const groups = [...new Set(choices.map(({ group }) => group))];
    fill(
      list,
      groups.map((group, index) =>
        h(
          'div',
          { role: 'group', 'aria-labelledby': `choices-${index}` },
          h('div', { class: 'chooser-group', id: `choices-${index}`, role: 'presentation' }, group),
          options.filter((_, i) => choices[i].group === group),
        ),
      ),
    );
    mark(choices.length ? 0 : -1);
  }

  /** @param {number} index */
  function mark(index) {
    options[at]?.removeAttribute('aria-selected');
    at = index;
    const option = options[at];
    option?.setAttribute('aria-selected', 'true');
    option?.scrollIntoView({ block: 'nearest' });
    if (option) input.setAttribute('aria-activedescendant', option.id);
    else input.removeAttribute('aria-activedescendant');
  }

  /** @param {number} index */
  function take(index) {
    if (!choices[index]) return;
    chosen = choices[index].value;
    element.close();
  }

  /** Takes what is marked; of what was just typed, the first that is found. */
  async function enter() {
    if (stale) {
      clearTimeout(typing);
      await search();
      if (stale) return;
    }
    take(at);
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    const n = choices.length;
    if (event.key === 'Enter') enter();
    else if (event.key === 'ArrowDown' && n) mark((at + 1) % n);
    else if (event.key === 'ArrowUp' && n) mark((at - 1 + n) % n);
    else return;
    event.preventDefault();
  }

  list.addEventListener('click', (/** @type {MouseEvent} */ event) => {
    const option = /** @type {HTMLElement|null} */ (/** @type {Element} */ (event.target).closest('[role=option]'));
    if (option) take(Number(option.dataset.index));
  });
  // A click beside the dialog closes it.
  element.addEventListener('click', (/** @type {MouseEvent} */ event) => event.target === element && element.close());
  document.body.append(element);
  element.showModal();
  search();
  return new Promise((resolve) => {
    element.addEventListener('close', () => {
      clearTimeout(typing);
      running?.abort();
      element.remove();
      before?.focus();
      resolve(chosen);
    });
  });
}
