// The list of stored traces: filters above, the rows in a window, selection, import and deletion around them.

import * as api from './api.js';
import { notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { downloadTraces } from './export-files.js';
import { count, integer } from './format.js';
import { ListFilters } from './list-filters.js';
import { Importer } from './list-import.js';
import { UNFILTERED, filtersOn, queryOf } from './list-query.js';
import { listRow } from './list-row.js';
import { ListWindow } from './list-window.js';
import * as router from './router.js';
import { explain, failed, loading } from './states.js';

/** @typedef {import('./types.js').TraceSummary} TraceSummary */

export class TraceList {
  /**
   * @param {HTMLElement} root
   * @param {{remove: (ids: string[], progress?: (done: number) => void) => Promise<void>, ready: () => Promise<void>}} on
   *   `ready` is when there is time for the list
   */
  constructor(root, on) {
    this.on = on;
    this.side = root;
    this.asked = '';
    this.scrolled = 0;
    this.selecting = false;
    /** @type {Set<string>} */
    this.selected = new Set();
    /** Where a stretch to select begins. */
    this.anchor = 0;

    this.filters = new ListFilters();
    this.importer = new Importer({
      imported: () => this.refresh(),
      status: (text) => (this.status.textContent = text),
    });
    this.window = /** @type {ListWindow<TraceSummary>} */ (
      new ListWindow(
        {
          ask: async (offset, limit, signal) => {
            await on.ready();
            const query = { ...queryOf(router.route()), offset: String(offset), limit: String(limit) };
            const { data, total } = await api.traces(query, signal);
            return { rows: data, total };
          },
          draw: (row, index) => this.#row(row, index),
          idOf: (row) => row.id,
          on: (state) => this.#told(state),
        },
        'Traces',
      )
    );
    this.window.root.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.total = h('span', { class: 'num', id: 'list-total' });
    this.select = h(
      'button',
      { type: 'button', class: 'quiet', id: 'select-button', on: { click: () => this.#selectMode(!this.selecting) } },
      'Select',
    );
    this.foot = h('div', { class: 'rows-foot' });
    this.status = h('p', { class: 'unseen', role: 'status' });
    this.actions = h('div', { class: 'side-foot' });
    fill(
      root,
      this.filters.root,
      h('div', { class: 'list-head' }, this.total, this.select, this.filters.sort),
      h('div', { class: 'rows-scroll' }, this.window.root, this.foot),
      this.actions,
      this.importer.picker,
      this.status,
    );
    this.#drawActions();
    addEventListener(
      'scroll',
      ({ target }) => {
        if (target instanceof HTMLElement && target.id === 'frame' && this.#alone()) this.scrolled = target.scrollTop;
      },
      { capture: true, passive: true },
    );
  }

  /** @param {router.Route} route */
  show(route) {
    this.filters.show(route);
    const asked = JSON.stringify(queryOf(route));
    if (asked !== this.asked) {
      this.asked = asked;
      this.#selectMode(false);
      this.window.reset();
      fill(this.foot, loading('Loading traces…'));
    }
    this.#mark();
    // On a narrow page list and trace share one scroll position: each begins where it belongs.
    const frame = /** @type {HTMLElement} */ (this.side.parentElement);
    if (getComputedStyle(frame).overflowY === 'auto') frame.scrollTop = this.#alone() ? this.scrolled : 0;
  }

  /** Asks anew: after a score, an import, a deletion. */
  refresh() {
    return this.window.refresh();
  }

  focusSearch() {
    this.filters.focus();
  }

  /** Whether the list is a view of its own now, as on a narrow page. */
  #alone() {
    return document.body.dataset.view === 'traces' && this.side.checkVisibility();
  }

  /** @param {{total: number|null, error: unknown}} state */
  #told({ total, error }) {
    if (error) {
      fill(
        this.foot,
        failed('The traces could not be listed', error, () => this.window.refresh()),
      );
      return;
    }
    const route = router.route();
    const filtered = route.q !== '' || filtersOn(route).length > 0;
    this.total.textContent = count(total ?? 0, 'trace');
    this.status.textContent = `${count(total ?? 0, 'trace')} listed`;
    this.select.hidden = !total;
    if (total) fill(this.foot);
    else if (filtered) {
      fill(
        this.foot,
        h(
          'div',
          { class: 'state' },
          h('p', {}, 'No trace matches.'),
          h('button', { type: 'button', on: { click: () => router.open(UNFILTERED) } }, 'Clear the filters'),
        ),
      );
    } else {
      fill(
        this.foot,
        h(
          'div',
          { class: 'state' },
          h('p', {}, 'No traces yet. Scored trajectories are kept here. Files of traces can be dropped on this page.'),
        ),
      );
    }
    this.#mark();
  }

  /** @param {TraceSummary} row @param {number} index */
  #row(row, index) {
    const parts = listRow(row, {
      selecting: () => this.selecting,
      remove: () => this.#remove([row.id], index),
      toggle: (range) => this.#toggle(index, range),
    });
    this.#markRow(parts, row.id);
    return parts;
  }

  /** @param {any[]} parts a row's link and its box @param {string} id */
  #markRow([anchor, box], id) {
    const { trace, view } = router.route();
    if (view === 'traces' && id === trace) anchor.setAttribute('aria-current', 'true');
    else anchor.removeAttribute('aria-current');
    box.checked = this.selected.has(id);
    anchor.classList.toggle('selected', box.checked);
  }

  #mark() {
    for (const item of this.window.items.values()) {
      if (item.dataset.id) this.#markRow([...item.children], item.dataset.id);
    }
  }

  /** @param {boolean} on */
  #selectMode(on) {
    this.selecting = on;
    if (!on) this.selected.clear();
    this.window.root.classList.toggle('selecting', on);
    this.select.textContent = on ? 'Done' : 'Select';
    this.select.setAttribute('aria-pressed', String(on));
    this.#mark();
    this.#drawActions();
  }

  /** Selects or lets go of a row; with `range`, selects all from the last one on. @param {number} index @param {boolean} range */
  async #toggle(index, range) {
    const row = this.window.row(index);
    if (!row) return;
    if (range && this.selecting) {
      const [first, last] = [Math.min(this.anchor, index), Math.max(this.anchor, index)];
      await this.#select(first, last);
    } else if (!this.selected.delete(row.id)) this.selected.add(row.id);
    this.anchor = index;
    if (!this.selecting) this.#selectMode(true);
    this.#mark();
    this.#drawActions();
  }

  async #selectAll() {
    await this.#select(0, (this.window.total ?? 0) - 1);
    this.#mark();
    this.#drawActions();
  }

  /** Selects a stretch, unless another list is shown, or nothing is to be selected any longer, once it is there. @param {number} first @param {number} last */
  async #select(first, last) {
    const { asked } = this;
    try {
      const rows = await this.window.stretch(first, last);
      if (!this.selecting || asked !== this.asked) return;
      for (const { id } of rows) this.selected.add(id);
    } catch (error) {
      notice(`Not selected: ${explain(error)}`, 'bad');
    }
  }

  #drawActions() {
    const button = (/** @type {string} */ label, /** @type {() => void} */ click, name = 'quiet') =>
      h('button', { type: 'button', class: name, on: { click } }, label);
    if (!this.selecting) {
      fill(
        this.actions,
        h('a', { class: 'button', href: '/?view=new', data: { nav: 'new' } }, 'Score a trajectory'),
        button('Import…', () => this.importer.pick()),
      );
      return;
    }
    const ids = [...this.selected];
    const [trace, other] = ids;
    fill(
      this.actions,
      h('span', { class: 'num selected-count', role: 'status' }, `${integer(ids.length)} selected`),
      ids.length === 2
        ? h(
            'a',
            {
              class: 'button',
              href: router.address({ ...router.parse(''), view: 'compare', trace, with: other }),
              data: { nav: 'here' },
            },
            'Compare',
          )
        : null,
      ids.length ? button('Export', () => downloadTraces(ids), '') : null,
      ids.length ? button('Delete', () => this.#remove(ids, this.window.active), '') : null,
      ids.length < (this.window.total ?? 0) ? button('All', () => this.#selectAll()) : null,
    );
  }

  /** @param {string[]} ids @param {number} index where the focus goes on */
  async #remove(ids, index) {
    const held = this.side.contains(document.activeElement);
    await this.on.remove(ids, (done) => {
      if (ids.length > 1) this.total.textContent = `deleting ${integer(done)} of ${integer(ids.length)}…`;
    });
    this.#selectMode(false);
    if (held) this.window.focus(index);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const index = this.window.indexOf(event.target);
    const row = this.window.row(index);
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = /** @type {Element} */ (event.target).matches('input, button');
    if (event.key === 'Delete') this.#remove(this.selecting && this.selected.size ? [...this.selected] : [row.id], index);
    else if (event.key === ' ' && !box) this.#toggle(index, event.shiftKey);
    else if (event.key === 'Escape' && this.selecting) this.#selectMode(false);
    else return;
    event.preventDefault();
  }
}
