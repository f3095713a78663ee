// Scrolls a token to where nothing stands over it: below the pinned tools and above the open sheet.

import { calm, setVars } from './dom.js';

/** The most room that is left between a token and what covers the text, in CSS pixels. */
const ROOM = 40;

/** @param {HTMLElement} element @param {boolean} jump at once and to the middle, for a sight just opened */
export function bringIntoSight(element, jump) {
  const main = element.closest('main');
  if (!main) return;
  const tools = /** @type {HTMLElement|null} */ (main.querySelector('.tools'));
  const sheet = document.querySelector('.panel.open');
  const above = tools && getComputedStyle(tools).position === 'sticky' ? tools.offsetHeight : 0;
  const below = sheet && getComputedStyle(sheet).position === 'fixed' ? sheet.clientHeight : 0;
  const free = innerHeight - main.getBoundingClientRect().top - above - below - element.offsetHeight;
  const room = Math.max(0, Math.min(ROOM, free / 2));
  setVars(element, { '--above': `${above + room}px`, '--below': `${below + room}px` });
  element.scrollIntoView(jump ? { block: 'center' } : { block: 'nearest', behavior: calm() ? 'auto' : 'smooth' });
}
