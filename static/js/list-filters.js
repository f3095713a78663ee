// What stands above the list of traces: the search, the filters behind one button, those that are on as chips to take
// away, and the order. It draws the route and changes it; the list follows the route by itself.

import * as api from './api.js';
import { fill, h } from './dom.js';
import { plain, verdictMark } from './format.js';
import { ORDERS, filtersOn } from './list-query.js';
import * as router from './router.js';

/** Milliseconds to wait for the next letter of a search. */
const TYPING = 220;

export class ListFilters {
  constructor() {
    this.typing = 0;
    this.search = h('input', {
      type: 'search',
      id: 'search',
      placeholder: 'Search text  /',
      'aria-label': 'Search the traces’ text',
      autocomplete: 'off',
      on: { input: () => this.#typed() },
    });
    this.button = h(
      'button',
      {
        type: 'button',
        id: 'filter-button',
        'aria-expanded': 'false',
        'aria-controls': 'filter-fields',
        on: { click: () => this.#unfold(this.fields.hidden) },
      },
      'Filter',
    );
    this.sort = choice('filter-sort', 'Order', (value) => ({ sort: /** @type {router.Sort} */ (value) }), [
      ...Object.entries(ORDERS).map(([value, { label }]) => ({ value, label })),
    ]);
    this.verdict = choice('filter-verdict', 'Verdict', (value) => ({ verdict: value || null }), [
      { value: '', label: 'any verdict' },
      ...['wrong', 'correct', 'unparsed', 'timeout'].map((value) => {
        const { symbol, word } = verdictMark(value);
        return { value, label: `${symbol} ${word}` };
      }),
    ]);
    this.model = choice('filter-model', 'Model', (value) => ({ model: value }), []);
    this.tag = h('input', {
      type: 'text',
      id: 'filter-tag',
      autocomplete: 'off',
      on: { change: () => router.open({ tag: this.tag.value.trim() }) },
    });
    this.critical = h('input', {
      type: 'checkbox',
      id: 'filter-critical',
      on: { change: () => router.open({ critical: this.critical.checked }) },
    });
    this.after = day('filter-after', (value) => ({ after: value }));
    this.before = day('filter-before', (value) => ({ before: value }));
    this.fields = h(
      'div',
      { class: 'filter-fields', id: 'filter-fields', hidden: true },
      field('Verdict', this.verdict),
      field('Model', this.model),
      field('Tag', this.tag),
      h('label', { class: 'check' }, this.critical, ' has critical tokens'),
      field('From', this.after),
      field('To', this.before),
    );
    this.chips = h('ul', { class: 'filter-chips', 'aria-label': 'Filters that are on' });
    this.root = h(
      'form',
      { class: 'filters', role: 'search', on: { submit: (/** @type {Event} */ event) => event.preventDefault() } },
      h('div', { class: 'filter-row' }, this.search, this.button),
      this.fields,
      this.chips,
    );
    /** @type {string[]} */
    this.models = [];
  }

  /** @param {router.Route} route */
  show(route) {
    if (document.activeElement !== this.search) this.search.value = route.q;
    this.verdict.value = route.verdict ?? '';
    this.critical.checked = route.critical;
    this.tag.value = route.tag;
    this.after.value = route.after ?? '';
    this.before.value = route.before ?? '';
    this.sort.value = route.sort;
    this.#fillModels(route.model);
    const on = filtersOn(route);
    this.button.textContent = on.length ? `Filter · ${on.length}` : 'Filter';
    this.chips.hidden = !on.length;
    fill(
      this.chips,
      on.map(({ text, without }) =>
        h(
          'li',
          {},
          h(
            'button',
            {
              type: 'button',
              class: 'filter-chip',
              title: 'Take this filter away',
              on: { click: () => this.#without(without) },
            },
            h('span', { class: 'unseen' }, 'Without the filter '),
            h('span', { class: 'filter-chip-text' }, plain(text)),
            h('span', { 'aria-hidden': 'true' }, '✕'),
          ),
        ),
      ),
    );
  }

  focus() {
    this.search.focus();
    this.search.select();
  }

  #typed() {
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => router.adjust({ q: this.search.value.trim() }), TYPING);
  }

  /** @param {boolean} open */
  #unfold(open) {
    this.fields.hidden = !open;
    this.button.setAttribute('aria-expanded', String(open));
    if (open) this.#askModels();
  }

  /** The chip goes with its button: the focus must not go with it. @param {Partial<router.Route>} without */
  #without(without) {
    router.open(without);
    (this.chips.querySelector('button') ?? this.button).focus();
  }

  async #askModels() {
    try {
      this.models = (await api.models()).map(({ id }) => id);
      this.#fillModels(router.route().model);
    } catch {
      // The list itself tells that the server cannot be asked.
    }
  }

  /** A trace may be of a model that is not loaded now: the one in the address is always there. @param {string} current */
  #fillModels(current) {
    const ids = current && !this.models.includes(current) ? [...this.models, current] : this.models;
    fill(
      this.model,
      h('option', { value: '' }, 'any model'),
      ids.map((id) => h('option', { value: id }, plain(id))),
    );
    this.model.value = current;
  }
}

/** @param {string} label @param {HTMLElement} input */
function field(label, input) {
  return h('label', { class: 'field' }, h('span', { class: 'field-label' }, label), input);
}

/** @param {string} id @param {string} label @param {(value: string) => Partial<router.Route>} change @param {{value: string, label: string}[]} options */
function choice(id, label, change, options) {
  const select = h(
    'select',
    { id, 'aria-label': label, on: { change: () => router.open(change(select.value)) } },
    options.map(({ value, label: text }) => h('option', { value }, text)),
  );
  return select;
}

/** @param {string} id @param {(value: string|null) => Partial<router.Route>} change */
function day(id, change) {
  const input = h('input', { type: 'date', id, on: { change: () => router.open(change(input.value || null)) } });
  return input;
}
