// Questions and messages over the page: the key, a confirmation, help, and short notices that go by themselves, some
// with a way back.

import { setKey } from './api.js';
import { h } from './dom.js';

/** Milliseconds that a notice stays: in passing, of a failure, and with a way back. */
const NOTE_MS = 4500;
const BAD_MS = 9000;
const UNDO_MS = 15_000;

/** @type {[string, [string, string][]][]} */
const SHORTCUTS = [
  [
    'In a trace or a comparison',
    [
      ['j  k', 'next and previous flagged token'],
      ['←  →', 'next and previous token'],
      ['↑  ↓', 'token in the line above or below (in the response)'],
      ['Enter', 'roll out from the token'],
      ['c', 'compare this trace; in a comparison, swap A and B'],
      ['Esc', 'let go of the token'],
    ],
  ],
  [
    'In the list of traces',
    [
      ['↑  ↓', 'trace above or below; also PageUp, PageDown, Home, End'],
      ['Enter', 'open the trace'],
      ['Space', 'select it, with others'],
      ['Delete', 'delete it, or all that are selected'],
    ],
  ],
  [
    'Everywhere',
    [
      ['Ctrl K', 'go to a view, a trace, a job, a measure'],
      ['/', 'search the stored traces'],
      ['n', 'score a new trajectory'],
      ['Ctrl Z', 'bring back what was just deleted'],
      ['t', 'light or dark'],
      ['?', 'this help'],
    ],
  ],
];

/**
 * Opens a dialog and waits until it is closed.
 * @param {string} title @param {any[]} body @param {any[]} buttons the last one is the main one
 * @param {boolean} [long] a text to read, in a wide dialog that begins at its top
 * @returns {Promise<string>} the value of the button, '' when dismissed
 */
export function dialog(title, body, buttons, long = false) {
  const before = /** @type {HTMLElement|null} */ (document.activeElement);
  const heading = h('h2', { id: 'dialog-title', ...(long && { tabindex: -1, autofocus: true }) }, title);
  const form = h('form', { method: 'dialog' }, heading, body, h('div', { class: 'dialog-buttons' }, buttons));
  const element = h('dialog', { class: long ? 'long' : null, 'aria-labelledby': 'dialog-title' }, form);
  document.body.append(element);
  element.showModal();
  return new Promise((resolve) => {
    element.addEventListener('close', () => {
      element.remove();
      before?.focus();
      resolve(element.returnValue);
    });
  });
}

/** Not a submit button: Enter in a field must mean the main one. @param {string} label */
export function cancel(label) {
  return h(
    'button',
    {
      type: 'button',
      class: 'quiet',
      on: { click: (/** @type {any} */ event) => event.target.closest('dialog').close('') },
    },
    label,
  );
}

/** Asks for an API key. @param {boolean} rejected whether one was tried @returns {Promise<string|null>} */
export async function askKey(rejected) {
  // The refused key must not be sent again by the next request.
  setKey(null);
  const input = h('input', {
    type: 'password',
    name: 'key',
    autocomplete: 'off',
    required: true,
    autofocus: true,
    'aria-describedby': 'key-hint',
  });
  const answer = await dialog(
    'API key',
    [
      h('p', {}, rejected ? 'The server did not accept this key.' : 'This server asks for a key.'),
      h('label', {}, 'Key', input),
      h('p', { class: 'hint', id: 'key-hint' }, 'Kept for this tab’s session only, and sent to this server only.'),
    ],
    [cancel('Not now'), h('button', { class: 'main-button', value: 'ok' }, 'Use this key')],
  );
  return answer === 'ok' ? input.value.trim() || null : null;
}

/** @param {string} title @param {string} text @param {string} action the word on the button */
export async function confirm(title, text, action) {
  return (
    (await dialog(
      title,
      [h('p', {}, text)],
      [cancel('Cancel'), h('button', { class: 'main-button', value: 'ok' }, action)],
    )) === 'ok'
  );
}

export function help() {
  return dialog(
    'Reading a trace',
    [
      h(
        'p',
        {},
        'Each token is coloured by the chosen measure: blue where it looks sound, orange where it looks suspicious. A token past the threshold has a thick underline and a notch above it.',
      ),
      h(
        'p',
        {},
        's_t is the contrastive score: low where a model trained on right solutions finds the token unlikely, and one trained on wrong solutions finds it likely.',
      ),
      h(
        'p',
        {},
        'Rollout success is the share of drawn continuations that reach the right answer, always with how many were drawn and the 95% interval of the rate. In a comparison, B − A is blue where the token looks sounder in B and orange where it looks more suspicious there.',
      ),
      h(
        'div',
        { class: 'key-tables' },
        SHORTCUTS.map(([where, keys]) => keyTable(where, keys)),
      ),
      h(
        'p',
        { class: 'hint' },
        'Programs use the same API as this page: ',
        h('a', { href: '/docs' }, 'its reference'),
        '.',
      ),
    ],
    [h('button', { class: 'main-button', value: 'ok' }, 'Close')],
    true,
  );
}

/** @param {string} where @param {[string, string][]} keys */
function keyTable(where, keys) {
  const row = (/** @type {[string, string]} */ [names, what]) =>
    h(
      'tr',
      {},
      h(
        'th',
        { scope: 'row' },
        names.split('  ').map((name) => name.split(' ').map((key) => h('kbd', {}, key))),
      ),
      h('td', {}, what),
    );
  return h('table', { class: 'keys' }, h('caption', {}, where), h('tbody', {}, keys.map(row)));
}

/** Says something in passing. @param {string} text @param {'note'|'bad'} [kind] */
export function notice(text, kind = 'note') {
  const toast = h('p', { class: `toast ${kind}` }, text);
  document.getElementById('toasts')?.append(toast);
  setTimeout(() => toast.remove(), kind === 'bad' ? BAD_MS : NOTE_MS);
}

/** @type {(() => void)[]} What can be undone now, the latest last. */
const ways = [];

/**
 * Says what was done, with a button that undoes it. It stays for a while, and as long as it is pointed at or focused.
 * @param {string} text @param {() => Promise<void>|void} undo
 */
export function undoable(text, undo) {
  let timer = 0;
  const gone = () => {
    clearTimeout(timer);
    toast.remove();
    if (ways.includes(back)) ways.splice(ways.indexOf(back), 1);
  };
  const wait = () => {
    timer = window.setTimeout(() => (toast.matches(':hover, :focus-within') ? wait() : gone()), UNDO_MS);
  };
  const back = () => {
    gone();
    undo();
  };
  const toast = h(
    'div',
    { class: 'toast' },
    h('span', {}, text),
    h('button', { type: 'button', class: 'undo', title: 'Undo (Ctrl+Z)', on: { click: back } }, 'Undo'),
    h('button', { type: 'button', class: 'undo', 'aria-label': 'Close this notice', on: { click: gone } }, '✕'),
  );
  ways.push(back);
  document.getElementById('toasts')?.append(toast);
  wait();
}

/** Undoes the latest of what can be undone; whether there was anything. */
export function undoLast() {
  const back = ways.at(-1);
  back?.();
  return back !== undefined;
}
