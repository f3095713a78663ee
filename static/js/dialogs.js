// Questions and messages over the page: the key, a confirmation, help, and short notices that go by themselves.

import { setKey } from './api.js';
import { h } from './dom.js';

/** @type {[string, string][]} */
const SHORTCUTS = [
  ['j  k', 'next and previous flagged token'],
  ['←  →', 'next and previous token'],
  ['↑  ↓', 'token in the line above or below (in the response)'],
  ['Esc', 'let go of the token'],
  ['/', 'search the stored traces'],
  ['n', 'score a new trajectory'],
  ['t', 'light or dark'],
  ['?', 'this help'],
];

/**
 * Opens a dialog and waits until it is closed.
 * @param {string} title @param {any[]} body @param {any[]} buttons the last one is the main one
 * @returns {Promise<string>} the value of the button, '' when dismissed
 */
function dialog(title, body, buttons) {
  const before = /** @type {HTMLElement|null} */ (document.activeElement);
  const heading = h('h2', { id: 'dialog-title' }, title);
  const form = h('form', { method: 'dialog' }, heading, body, h('div', { class: 'dialog-buttons' }, buttons));
  const element = h('dialog', { 'aria-labelledby': 'dialog-title' }, form);
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
function cancel(label) {
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
        'table',
        { class: 'keys' },
        h(
          'tbody',
          {},
          SHORTCUTS.map(([keys, what]) =>
            h(
              'tr',
              {},
              h(
                'th',
                { scope: 'row' },
                keys.split('  ').map((key) => h('kbd', {}, key)),
              ),
              h('td', {}, what),
            ),
          ),
        ),
      ),
      h(
        'p',
        { class: 'hint' },
        'Programs use the same API as this page: ',
        h('a', { href: '/docs' }, 'its reference'),
        '.',
      ),
    ],
    [h('button', { class: 'main-button', value: 'ok', autofocus: true }, 'Close')],
  );
}

/** Says something in passing. @param {string} text @param {'note'|'bad'} [kind] */
export function notice(text, kind = 'note') {
  const toast = h('p', { class: `toast ${kind}` }, text);
  document.getElementById('toasts')?.append(toast);
  setTimeout(() => toast.remove(), kind === 'bad' ? 9000 : 4500);
}
