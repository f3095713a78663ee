// The list of stored traces: filters, pages, import. Rows are plain links, so that they open in a new tab too.

import * as api from './api.js';
import { fill, h } from './dom.js';
import { count, integer, plain, verdictMark, when, whenFull } from './format.js';
import { MEASURES } from './measures.js';
import { notice } from './dialogs.js';
import * as router from './router.js';
import { sparkline } from './spark.js';
import { explain, failed, loading } from './states.js';

/** @typedef {import('./types.js').TraceSummary} TraceSummary */

/** Milliseconds to wait for the next letter of a search. */
const TYPING = 220;

export class TraceList {
  /** @param {HTMLElement} root */
  constructor(root) {
    /** @type {TraceSummary[]} */
    this.rows = [];
    /** @type {string|null} */
    this.cursor = null;
    /** @type {AbortController|null} */
    this.running = null;
    this.asked = '';
    this.typing = 0;

    this.search = h('input', {
      type: 'search',
      id: 'search',
      placeholder: 'Search text  /',
      'aria-label': 'Search the traces’ text',
      autocomplete: 'off',
      on: { input: () => this.#typed() },
    });
    this.verdict = h(
      'select',
      {
        id: 'filter-verdict',
        'aria-label': 'Verdict',
        on: { change: () => router.open({ verdict: this.verdict.value || null }) },
      },
      h('option', { value: '' }, 'any verdict'),
      ['wrong', 'correct', 'unparsed', 'timeout'].map((status) =>
        h('option', { value: status }, `${verdictMark(status).symbol} ${verdictMark(status).word}`),
      ),
    );
    this.critical = h('input', {
      type: 'checkbox',
      id: 'filter-critical',
      on: { change: () => router.open({ critical: this.critical.checked }) },
    });
    this.tag = h('input', {
      type: 'text',
      id: 'filter-tag',
      placeholder: 'tag',
      'aria-label': 'Tag',
      autocomplete: 'off',
      on: { change: () => router.open({ tag: this.tag.value.trim() }) },
    });
    this.file = h('input', {
      type: 'file',
      id: 'import-file',
      class: 'unseen',
      accept: '.jsonl,.ndjson,application/x-ndjson',
      tabindex: -1,
      'aria-label': 'JSONL file of traces',
      on: { change: () => this.#import() },
    });
    this.list = h('ul', { class: 'rows', 'aria-label': 'Traces' });
    this.foot = h('div', { class: 'rows-foot' });
    this.status = h('p', { class: 'unseen', role: 'status' });
    fill(
      root,
      h(
        'form',
        { class: 'filters', role: 'search', on: { submit: (/** @type {Event} */ event) => event.preventDefault() } },
        this.search,
        h('div', { class: 'filter-row' }, this.verdict, this.tag),
        h('div', { class: 'filter-row' }, h('label', { class: 'check' }, this.critical, ' has critical tokens')),
      ),
      h('div', { class: 'rows-scroll' }, this.list, this.foot),
      h(
        'div',
        { class: 'side-foot' },
        h('a', { class: 'button', href: '/?view=new', data: { nav: 'new' } }, 'Score a trajectory'),
        h('button', { type: 'button', class: 'quiet', on: { click: () => this.file.click() } }, 'Import JSONL…'),
        this.file,
      ),
      this.status,
    );
    // The next page is fetched before the end of the list is reached; the button remains for those who prefer it.
    this.watcher = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting) && this.cursor && !this.running) this.#fetch(true);
      },
      { rootMargin: '300px' },
    );
  }

  /** @param {router.Route} route */
  show(route) {
    const filter = { verdict: route.verdict, critical: route.critical, q: route.q, tag: route.tag };
    const asked = JSON.stringify(filter);
    if (document.activeElement !== this.search) this.search.value = route.q;
    this.verdict.value = route.verdict ?? '';
    this.critical.checked = route.critical;
    this.tag.value = route.tag;
    if (asked !== this.asked) {
      this.asked = asked;
      this.#fetch(false);
    }
    this.#mark();
  }

  /** Asks anew: after a score, an import, a deletion. */
  refresh() {
    return this.#fetch(false);
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  #typed() {
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => router.adjust({ q: this.search.value.trim() }), TYPING);
  }

  /** @param {boolean} more the next page instead of the first */
  async #fetch(more) {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    this.watcher.disconnect();
    if (more || this.rows.length) this.list.setAttribute('aria-busy', 'true');
    else fill(this.foot, loading('Loading traces…'));
    try {
      const page = await api.traces(JSON.parse(this.asked), more ? this.cursor : null, running.signal);
      if (this.running !== running) return;
      this.running = null;
      this.cursor = page.has_more ? page.next_cursor : null;
      this.rows = more ? [...this.rows, ...page.data] : page.data;
      if (!more) fill(this.list);
      this.list.append(...page.data.map((/** @type {TraceSummary} */ row) => this.#row(row)));
      this.#mark();
      this.#footer();
    } catch (error) {
      if (running.signal.aborted) return;
      this.running = null;
      if (!more) {
        this.rows = [];
        fill(this.list);
      }
      fill(
        this.foot,
        failed('The traces could not be listed', error, () => this.#fetch(more)),
      );
    } finally {
      if (!this.running) this.list.removeAttribute('aria-busy');
    }
  }

  #footer() {
    const filtered = this.asked !== JSON.stringify({ verdict: null, critical: false, q: '', tag: '' });
    this.status.textContent = `${count(this.rows.length, 'trace')} listed${this.cursor ? ', more to come' : ''}`;
    if (this.cursor) {
      fill(
        this.foot,
        h('button', { type: 'button', class: 'quiet more', on: { click: () => this.#fetch(true) } }, 'Load more'),
      );
      this.watcher.observe(this.foot);
    } else if (this.rows.length) fill(this.foot, h('p', { class: 'hint' }, count(this.rows.length, 'trace')));
    else if (filtered) {
      fill(
        this.foot,
        h(
          'div',
          { class: 'state' },
          h('p', {}, 'No trace matches.'),
          h(
            'button',
            { type: 'button', on: { click: () => router.open({ verdict: null, critical: false, q: '', tag: '' }) } },
            'Clear the filters',
          ),
        ),
      );
    } else
      fill(this.foot, h('div', { class: 'state' }, h('p', {}, 'No traces yet. Scored trajectories are kept here.')));
  }

  /** @param {TraceSummary} row */
  #row(row) {
    const { symbol, word } = verdictMark(row.verdict);
    const critical = row.critical_count;
    return h(
      'li',
      { data: { id: row.id } },
      h(
        'a',
        {
          class: 'row',
          href: router.address({ ...router.parse(''), trace: row.id }),
          on: {
            click: (/** @type {MouseEvent} */ event) => {
              if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
              event.preventDefault();
              router.open(router.traceSight(row.id));
            },
          },
        },
        h(
          'span',
          { class: 'row-top' },
          sparkline(row.sparkline, MEASURES[0].threshold),
          h('span', { class: `verdict ${row.verdict ?? 'none'}` }, `${symbol} ${word}`),
          critical
            ? h('span', { class: 'badge critical', title: count(critical, 'critical token') }, `▼ ${critical}`)
            : null,
          h(
            'time',
            { class: 'num', datetime: new Date(row.created * 1000).toISOString(), title: whenFull(row.created) },
            when(row.created),
          ),
        ),
        h('span', { class: 'row-text' }, plain(row.response_excerpt.trim() || '(white space)')),
        h('span', { class: 'row-sub' }, plain(row.prompt_excerpt.trim())),
        row.tags.length
          ? h(
              'span',
              { class: 'row-tags' },
              row.tags.map((tag) => h('span', { class: 'tag' }, plain(tag))),
            )
          : null,
      ),
    );
  }

  #mark() {
    const { trace, view } = router.route();
    for (const item of this.list.children) {
      const on = view === 'traces' && item.dataset.id === trace;
      if (on) item.firstElementChild.setAttribute('aria-current', 'true');
      else item.firstElementChild.removeAttribute('aria-current');
    }
  }

  async #import() {
    const file = this.file.files?.[0];
    if (!file) return;
    this.status.textContent = `Importing ${file.name}`;
    try {
      const report = await api.importTraces(file);
      notice(importedText(report, file.name), report.errors.length ? 'bad' : 'note');
      await this.refresh();
    } catch (error) {
      notice(`${file.name} was not imported: ${explain(error)}`, 'bad');
    }
    // The same file may be chosen again after it was corrected.
    this.file.value = '';
  }
}

/**
 * What an import did, with the first of the refused lines.
 * @param {{imported: number, unchanged: number, errors: {line: number, message: string}[]}} report @param {string} name
 */
function importedText({ imported, unchanged, errors }, name) {
  const said = [`${count(imported, 'trace')} imported from ${name}`];
  if (unchanged) said.push(`${integer(unchanged)} stored already`);
  if (errors.length) said.push(`${count(errors.length, 'line')} refused (${errors[0].message})`);
  return `${said.join(', ')}.`;
}
