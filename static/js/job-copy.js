// A button that copies a text.

import { notice } from './dialogs.js';
import { h } from './dom.js';

/** @param {string} what it is, in words @param {() => string} text */
export function copyButton(what, text) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      notice(`Copied ${what}.`);
    } catch {
      // Clipboards need a secure origin and consent.
      notice('This browser does not let the page copy. Select the text and copy it.', 'bad');
    }
  };
  const label = `Copy ${what}`;
  const props = { type: 'button', class: 'quiet copy', 'aria-label': label, title: label, on: { click: copy } };
  return h('button', props, 'Copy');
}
