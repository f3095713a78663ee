// A list of any length with a bounded number of rows in the page: each row has the same height, so that what is in
// sight follows from the scroll position; its page is asked for by offset, and no longer once it has gone by.

import { fill, h, setVars } from './dom.js';
import { placeholder } from './list-row.js';

/** Rows asked for at once. */
const PAGE = 50;
/** Rows drawn beyond each end of what is in sight. */
const BEYOND = 8;
/** Pages kept; the farthest goes first. */
const KEPT = 20;
/** Milliseconds that a page must stay in sight before it is asked for: a scroll through thousands asks for few. */
const SETTLE = 70;

/**
 * @template Row
 * @typedef {object} Source
 * @property {(offset: number, limit: number, signal?: AbortSignal) => Promise<{rows: Row[], total: number}>} ask
 * @property {(row: Row, index: number) => any[]} draw The first element is what takes the focus.
 * @property {(row: Row) => string} idOf
 * @property {(state: {total: number|null, error: unknown}) => void} on Told when the length is known or asking failed.
 */

/** @template Row */
export class ListWindow {
  /** @param {Source<Row>} source @param {string} label */
  constructor(source, label) {
    this.source = source;
    /** @type {number|null} null while unknown */
    this.total = null;
    /** @type {Map<number, Row[]>} */
    this.pages = new Map();
    /** @type {Map<number, AbortController>} */
    this.asked = new Map();
    /** @type {Set<number>} Pages that are shown though they may be out of date. */
    this.stale = new Set();
    /** @type {Map<number, any>} index to element */
    this.items = new Map();
    this.active = 0;
    this.queued = 0;
    this.settling = 0;
    this.root = h('ul', {
      class: 'rows',
      'aria-label': label,
      on: {
        keydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
        focusin: (/** @type {FocusEvent} */ event) => this.#focused(event),
      },
    });
    // Which element scrolls depends on the width of the page.
    addEventListener('scroll', () => this.#later(), { capture: true, passive: true });
    new ResizeObserver(() => this.#later()).observe(this.root);
    addEventListener('resize', () => this.#later());
  }

  /** Asks for another list from its beginning. */
  reset() {
    this.#abort();
    this.pages.clear();
    this.stale.clear();
    this.active = 0;
    for (const index of [...this.items.keys()]) this.#drop(index);
    this.#length(null);
    this.root.parentElement?.scrollTo(0, 0);
    this.#fetch(0);
  }

  /** Asks for what is in sight again, and shows the old rows meanwhile. */
  refresh() {
    this.#abort();
    const { first, last } = this.#inSight();
    for (const page of this.pages.keys()) {
      if (page < Math.floor(first / PAGE) || page > Math.floor(last / PAGE)) this.pages.delete(page);
      else this.stale.add(page);
    }
    return Promise.all(this.#pagesInSight().map((page) => this.#fetch(page)));
  }

  /** @param {number} index @returns {Row|undefined} */
  row(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** The rows of a stretch, asked for where they are not at hand. @param {number} first @param {number} last @returns {Promise<Row[]>} */
  async stretch(first, last) {
    const rows = [];
    for (let index = first; index <= last;) {
      const known = this.row(index);
      const found = known ? [known] : (await this.source.ask(index, Math.min(2 * PAGE, last - index + 1))).rows;
      if (!found.length) break;
      rows.push(...found);
      index += found.length;
    }
    return rows;
  }

  /** Moves the focus to a row, wherever it is. @param {number} index */
  focus(index) {
    if (!this.total) return;
    this.active = Math.min(this.total - 1, Math.max(0, index));
    const item = this.items.get(this.active) ?? this.#put(this.active);
    this.#mark();
    item.firstElementChild.focus({ preventScroll: true });
    item.scrollIntoView({ block: 'nearest' });
  }

  /** The index of the row that an element stands in, -1 outside. @param {EventTarget|null} target */
  indexOf(target) {
    const item = target instanceof Element ? /** @type {HTMLElement|null} */ (target.closest('.rows > li')) : null;
    return item ? Number(item.dataset.index) : -1;
  }

  #abort() {
    for (const request of this.asked.values()) request.abort();
    this.asked.clear();
  }

  /** @param {number|null} total */
  #length(total) {
    this.total = total;
    setVars(this.root, { '--n': total ?? 0 });
  }

  #later() {
    this.queued ||= requestAnimationFrame(() => {
      this.queued = 0;
      this.#draw();
    });
  }

  /** The first and the last index that can be seen. */
  #inSight() {
    const { top, height } = this.root.getBoundingClientRect();
    const clip = /** @type {HTMLElement} */ (this.root.parentElement).getBoundingClientRect();
    // A hidden list has no height: its beginning is what will be seen.
    const tall = this.total && height ? height / this.total : 1;
    const first = Math.floor((Math.max(0, clip.top) - top) / tall);
    const last = Math.floor((Math.min(innerHeight, clip.bottom) - top) / tall);
    const end = Math.max(0, (this.total ?? 1) - 1);
    return { first: Math.min(end, Math.max(0, first)), last: Math.min(end, Math.max(0, last)) };
  }

  /** How many whole rows fit into the window, but for one that stays in sight. */
  #screen() {
    const clip = /** @type {HTMLElement} */ (this.root.parentElement).getBoundingClientRect();
    const seen = Math.min(innerHeight, clip.bottom) - Math.max(0, clip.top);
    return Math.max(1, Math.floor((seen * (this.total ?? 1)) / this.root.clientHeight) - 1);
  }

  #pagesInSight() {
    const { first, last } = this.#inSight();
    const begin = Math.floor(Math.max(0, first - BEYOND) / PAGE);
    const end = Math.floor(Math.min((this.total ?? 1) - 1, last + BEYOND) / PAGE);
    return Array.from({ length: Math.max(0, end - begin) + 1 }, (_, i) => begin + i);
  }

  #draw() {
    // A hidden list has no place from which anything follows.
    if (!this.total || !this.root.checkVisibility()) return;
    const { first, last } = this.#inSight();
    const [begin, end] = [Math.max(0, first - BEYOND), Math.min(this.total - 1, last + BEYOND)];
    const focused = this.indexOf(document.activeElement);
    for (const index of [...this.items.keys()]) {
      // The row with the focus stays, or the focus would be lost with it.
      if ((index < begin || index > end) && index !== focused) this.#drop(index);
    }
    if (focused < 0 && (this.active < begin || this.active > end)) this.active = first;
    for (let index = begin; index <= end; index += 1) if (!this.items.has(index)) this.#put(index);
    this.#mark();
    this.#ask();
  }

  /** Asks for the pages in sight once they have stayed for a moment, and for no others. */
  #ask() {
    const wanted = this.#pagesInSight();
    for (const [page, request] of this.asked) {
      if (wanted.includes(page)) continue;
      request.abort();
      this.asked.delete(page);
    }
    clearTimeout(this.settling);
    if (wanted.every((page) => this.pages.has(page) || this.asked.has(page))) return;
    this.settling = window.setTimeout(() => {
      for (const page of this.#pagesInSight()) if (!this.pages.has(page) && !this.asked.has(page)) this.#fetch(page);
    }, SETTLE);
  }

  /** @param {number} page */
  async #fetch(page) {
    const request = new AbortController();
    this.asked.set(page, request);
    this.root.setAttribute('aria-busy', 'true');
    try {
      const { rows, total } = await this.source.ask(page * PAGE, PAGE, request.signal);
      if (request.signal.aborted) return;
      this.asked.delete(page);
      // Another length: traces came or went, and every other page has moved.
      if (this.total !== null && total !== this.total) {
        for (const other of this.pages.keys()) if (other !== page && !this.stale.has(other)) this.pages.delete(other);
      }
      this.pages.set(page, rows);
      this.stale.delete(page);
      this.#length(total);
      this.#forget(page);
      for (const index of [...this.items.keys()]) {
        if (index >= total) this.#drop(index);
        else if (Math.floor(index / PAGE) === page) this.#put(index);
      }
      this.source.on({ total, error: null });
      this.#draw();
    } catch (error) {
      if (request.signal.aborted) return;
      this.asked.delete(page);
      this.source.on({ total: this.total, error });
    } finally {
      if (!this.asked.size) this.root.removeAttribute('aria-busy');
    }
  }

  /** @param {number} near */
  #forget(near) {
    const far = [...this.pages.keys()].sort((a, b) => Math.abs(b - near) - Math.abs(a - near));
    for (const page of far.slice(0, Math.max(0, far.length - KEPT))) this.pages.delete(page);
  }

  /** Draws one row, or its placeholder. @param {number} index */
  #put(index) {
    const row = this.row(index);
    const old = this.items.get(index);
    const held = old?.contains(document.activeElement);
    const item = old ?? h('li', { data: { index }, vars: { '--i': index } });
    item.setAttribute('aria-posinset', String(index + 1));
    item.setAttribute('aria-setsize', String(this.total));
    item.dataset.id = row ? this.source.idOf(row) : '';
    fill(item, row ? this.source.draw(row, index) : placeholder());
    if (!old) {
      const next = [...this.root.children].find((other) => Number(other.dataset.index) > index);
      this.root.insertBefore(item, next ?? null);
      this.items.set(index, item);
    }
    this.#mark(index);
    if (held) item.firstElementChild.focus({ preventScroll: true });
    return item;
  }

  /** @param {number} index */
  #drop(index) {
    this.items.get(index)?.remove();
    this.items.delete(index);
  }

  /** Of all rows one is in the order of Tab. @param {number} [only] */
  #mark(only) {
    for (const [index, item] of this.items) {
      if (only !== undefined && index !== only) continue;
      for (const element of item.querySelectorAll('[tabindex]')) {
        element.tabIndex = index === this.active ? 0 : -1;
      }
    }
  }

  /** @param {FocusEvent} event */
  #focused(event) {
    const index = this.indexOf(event.target);
    if (index < 0 || index === this.active) return;
    this.active = index;
    this.#mark();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const index = this.indexOf(event.target);
    if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const screen = this.#screen();
    /** @type {Record<string, number>} */
    const to = {
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      PageDown: index + screen,
      PageUp: index - screen,
      Home: 0,
      End: (this.total ?? 1) - 1,
    };
    if (!Object.hasOwn(to, event.key)) return;
    event.preventDefault();
    this.focus(to[event.key]);
  }
}
