// Keys for what the buttons do. A key never acts while a text is being typed or a dialog is open.

import { help } from './dialogs.js';
import * as router from './router.js';
import { switchTheme } from './theme.js';

/** Input types in which letters and arrows have a meaning of their own. */
const TYPED = 'textarea, select, dialog, input:not([type="checkbox"]):not([type="radio"]):not([type="range"])';
const ARROWED = `${TYPED}, input`;

/**
 * @param {{trace: () => import('./trace-view.js').TraceView|null, search: () => void}} page
 */
export function listen(page) {
  addEventListener('keydown', (event) => {
    if (
      event.defaultPrevented ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      document.querySelector('dialog[open]')
    )
      return;
    const target = /** @type {Element} */ (event.target);
    const typing = target.matches?.(TYPED);
    if (event.key === 'Escape') {
      if (typing) /** @type {HTMLElement} */ (target).blur();
      else page.trace()?.release();
      return;
    }
    if (typing) return;
    const trace = page.trace();
    const inResponse = target.id === 'response';
    /** @type {Record<string, () => void>} */
    const keys = {
      '/': page.search,
      '?': help,
      t: switchTheme,
      n: () => router.open({ view: 'new', from: null }),
    };
    if (trace) {
      keys.j = () => trace.stepFlagged(1);
      keys.k = () => trace.stepFlagged(-1);
      if (!target.matches?.(ARROWED)) {
        keys.ArrowRight = () => trace.step(1);
        keys.ArrowLeft = () => trace.step(-1);
      }
      if (inResponse) {
        keys.ArrowDown = () => trace.stepLine(1);
        keys.ArrowUp = () => trace.stepLine(-1);
      }
    }
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (!act) return;
    event.preventDefault();
    act();
  });
}
