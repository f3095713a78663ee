// Keys for what the buttons do. A key never acts while a text is being typed or a dialog is open.

import { help, undoLast } from './dialogs.js';
import { palette } from './palette.js';
import * as router from './router.js';
import { switchTheme } from './theme.js';

/** Input types in which letters and arrows have a meaning of their own. */
const TYPED = 'textarea, select, dialog, input:not([type="checkbox"]):not([type="radio"]):not([type="range"])';
const ARROWED = `${TYPED}, input`;

/** What can be walked over token by token. @typedef {import('./trace-view.js').TraceView|import('./compare-pair.js').ComparePair} Walked */

/**
 * @param {object} page
 * @param {() => import('./trace-view.js').TraceView|null} page.trace the open trace
 * @param {() => import('./compare-pair.js').ComparePair|null} page.pair the two that are compared
 * @param {() => void} page.compare
 * @param {() => void} page.search
 */
export function listen(page) {
  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.altKey || document.querySelector('dialog[open]')) return;
    const target = /** @type {Element} */ (event.target);
    const typing = target.matches?.(TYPED);
    if (event.ctrlKey || event.metaKey) {
      withControl(event, Boolean(typing));
      return;
    }
    if (event.key === 'Escape') {
      if (typing) /** @type {HTMLElement} */ (target).blur();
      else (page.trace() ?? page.pair())?.release();
      return;
    }
    if (typing) return;
    /** @type {Walked|null} */
    const walked = page.trace() ?? page.pair();
    const inResponse = target.matches?.('.response');
    /** @type {Record<string, () => void>} */
    const keys = {
      '/': page.search,
      '?': help,
      t: switchTheme,
      n: () => router.open({ view: 'new', from: null }),
    };
    if (walked) {
      keys.c = page.compare;
      const walk = (/** @type {-1|1} */ direction) => {
        // From the list into the text: Enter then rolls out, and does not open the trace again.
        if (target.closest?.('#side')) page.trace()?.response.root.focus({ preventScroll: true });
        walked.stepFlagged(direction);
      };
      keys.j = () => walk(1);
      keys.k = () => walk(-1);
      if (!target.matches?.(ARROWED)) {
        keys.ArrowRight = () => walked.step(1);
        keys.ArrowLeft = () => walked.step(-1);
      }
      if (inResponse) {
        keys.ArrowDown = () => walked.stepLine(1);
        keys.ArrowUp = () => walked.stepLine(-1);
      }
    }
    const trace = page.trace();
    if (trace && (inResponse || target === document.body)) keys.Enter = () => trace.rollOut();
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** The two keys that the page has with Ctrl or ⌘; in a text, undoing is the text's own. @param {KeyboardEvent} event @param {boolean} typing */
function withControl(event, typing) {
  if (event.shiftKey) return;
  if (event.key === 'k') palette();
  else if (event.key !== 'z' || typing || !undoLast()) return;
  event.preventDefault();
}
