// The states between: waiting, empty, failed. Each says what happened and offers the next step.

import { ApiError } from './api.js';
import { h } from './dom.js';

/** @param {string} text */
export function loading(text) {
  return h(
    'div',
    { class: 'state', role: 'status' },
    h('span', { class: 'pulse', 'aria-hidden': 'true' }),
    h('p', {}, text),
  );
}

/** @param {string} title @param {any} text @param {...any} actions */
export function empty(title, text, ...actions) {
  return h(
    'div',
    { class: 'state' },
    h('h2', {}, title),
    h('p', {}, text),
    actions.length ? h('div', { class: 'state-actions' }, actions) : null,
  );
}

/** What a failure means to the reader. @param {unknown} error */
export function explain(error) {
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 401) return 'The server asks for an API key.';
  if (error.status === 429) {
    return `${error.message.replace(/[^.!?]$/, '$&.')} Try again ${error.retryAfter ? `in ${error.retryAfter} s` : 'in a moment'}.`;
  }
  return error.param && !error.message.includes(error.param) ? `${error.param}: ${error.message}` : error.message;
}

/** @param {string} title @param {unknown} error @param {(() => void)|null} [retry] @param {...any} actions */
export function failed(title, error, retry = null, ...actions) {
  return h(
    'div',
    { class: 'state bad', role: 'alert' },
    h('h2', {}, title),
    h('p', {}, explain(error)),
    h(
      'div',
      { class: 'state-actions' },
      retry ? h('button', { type: 'button', on: { click: retry } }, 'Try again') : null,
      actions,
    ),
  );
}
