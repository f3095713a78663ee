// The exports of a trace behind one button: a menu in which the arrows walk and letters find.

import * as api from './api.js';
import { notice } from './dialogs.js';
import { h } from './dom.js';
import { downloadTrace } from './export-files.js';
import { handOver } from './hand-over.js';
import { explain } from './states.js';

/** @typedef {import('./export-files.js').Format} Format */

let made = 0;

/**
 * @param {string} id the trace's
 * @param {() => Promise<Blob>} picture draws what is seen now
 */
export function exportMenu(id, picture) {
  made += 1;
  const menuId = `export-menu-${made}`;
  const file = (/** @type {Format} */ format, /** @type {string} */ about) =>
    item(format.toUpperCase(), about, {
      href: api.exportAddress(id, format),
      download: `${id}.${format}`,
      click: (event) => {
        // The plain link does it, but cannot carry a key.
        if (!api.key()) return;
        event.preventDefault();
        downloadTrace(id, format);
      },
    });
  const items = [
    item('PNG', 'the picture of what is seen now', { click: () => savePicture(id, picture) }),
    file('html', 'one page that needs no server'),
    file('csv', 'a row a token'),
    file('jsonl', 'to import again, with rollouts'),
    item('Copy link', 'to this very sight', { click: copyLink }),
  ];
  const menu = h('div', { class: 'menu', id: menuId, role: 'menu', 'aria-label': 'Export', hidden: true }, items);
  const button = h(
    'button',
    {
      type: 'button',
      class: 'quiet',
      id: 'export-button',
      'aria-haspopup': 'menu',
      'aria-expanded': 'false',
      'aria-controls': menuId,
      on: { click: () => show(menu.hidden), keydown: (/** @type {KeyboardEvent} */ event) => opens(event) },
    },
    'Export ▾',
  );
  const root = h('span', { class: 'menu-at' }, button, menu);

  /** @param {boolean} open @param {number} [focus] */
  function show(open, focus = 0) {
    if (menu.hidden === !open) return;
    menu.hidden = !open;
    button.setAttribute('aria-expanded', String(open));
    if (open) {
      items.at(focus)?.focus();
      document.addEventListener('pointerdown', elsewhere);
    } else {
      document.removeEventListener('pointerdown', elsewhere);
      if (menu.contains(document.activeElement)) button.focus();
    }
  }

  /** @param {PointerEvent} event */
  function elsewhere(event) {
    if (!root.contains(/** @type {Node} */ (event.target))) show(false);
  }

  /** @param {KeyboardEvent} event */
  function opens(event) {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    show(true, event.key === 'ArrowDown' ? 0 : -1);
  }

  menu.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const named = items.findIndex(
      (one, i) =>
        event.key.length === 1 && i > at && one.textContent?.toLowerCase().startsWith(event.key.toLowerCase()),
    );
    /** @type {Record<string, number>} */
    const to = { ArrowDown: (at + 1) % items.length, ArrowUp: at - 1, Home: 0, End: -1 };
    if (event.key === 'Escape') show(false);
    else if (event.key === 'Tab') return show(false);
    else if (Object.hasOwn(to, event.key)) items.at(to[event.key])?.focus();
    else if (event.key === ' ') items[at]?.click();
    else if (named >= 0) items[named].focus();
    else return;
    event.preventDefault();
    // The page's own keys must not act meanwhile.
    event.stopPropagation();
  });
  menu.addEventListener('click', () => show(false));
  return root;
}

/** @param {string} name @param {string} about @param {{href?: string, download?: string, click: (event: Event) => void}} does @returns {HTMLElement} */
function item(name, about, { href, download: file, click }) {
  return h(
    href ? 'a' : 'button',
    {
      ...(href ? { href, download: file } : { type: 'button' }),
      class: 'menu-item',
      role: 'menuitem',
      tabindex: -1,
      on: { click },
    },
    h('span', { class: 'menu-name' }, name),
    h('span', { class: 'hint' }, about),
  );
}

/** @param {string} id @param {() => Promise<Blob>} picture */
async function savePicture(id, picture) {
  try {
    handOver(await picture(), `${id}.png`);
  } catch (error) {
    notice(`The picture was not made: ${explain(error)}`, 'bad');
  }
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    notice('The link was copied.');
  } catch {
    // Clipboards need a secure origin and consent: show it to be copied by hand.
    notice(location.href);
  }
}
