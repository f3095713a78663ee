// The search for the critical token among the trace's tools: the button that starts it, how it goes, what it found, and
// the strip under the chart. Searches that are stored are shown the same way.

import { fill, h, setVars } from './dom.js';
import { count, integer, percent, visible, when } from './format.js';
import { RunStatus } from './run-status.js';
import { SearchForm } from './search-form.js';
import { SearchStrip } from './search-strip.js';
import { searchTable } from './search-table.js';
import { outcome, settingsText, sureText } from './search-words.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Search} Search */
/** @typedef {import('./run-live.js').LiveRun} LiveRun */
/** @typedef {{id: string, search: Search|null, run: LiveRun|null}} Hunt A search, stored or under way. */

export class SearchView {
  /**
   * @param {{start: (request: object) => Promise<unknown>, choose: (id: string) => void, stop: (run: LiveRun) => void,
   *   dismiss: (id: string) => void, hover: (token: number|null) => void, select: (token: number) => void}} on
   */
  constructor(on) {
    this.on = on;
    /** @type {Hunt|null} */
    this.hunt = null;
    this.drawn = '';
    this.form = new SearchForm(async (request) => {
      await on.start(request);
      this.again.open = false;
    });
    this.which = h('select', { 'aria-label': 'Which search', on: { change: () => on.choose(this.which.value) } });
    this.status = new RunStatus(on);
    this.select = h('button', { type: 'button', id: 'select-critical', class: 'main-button' });
    this.select.addEventListener('click', () => this.leading !== null && on.select(this.leading));
    this.further = h(
      'button',
      {
        type: 'button',
        title: 'Search again with three times the budget',
        on: { click: () => this.hunt?.search && this.form.further(this.hunt.search.settings.budget) },
      },
      'Search further',
    );
    this.why = h('span', { class: 'hint' });
    this.spent = h('p', { class: 'hint num spent' });
    this.meter = h('span', { class: 'meter', 'aria-hidden': 'true' });
    this.strip = new SearchStrip(on);
    this.table = h('details', { class: 'search-positions' });
    this.table.addEventListener('toggle', () => this.#table());
    /** @type {number|null} */
    this.leading = null;
    this.found = h(
      'div',
      { class: 'search-found' },
      h('div', { class: 'search-line' }, this.status.root, this.select, this.why, this.further, this.which),
      this.strip.root,
    );
    this.again = h('details', { class: 'search-again' }, h('summary', {}, 'Search again'));
    this.foot = h('div', { class: 'search-line' }, this.meter, this.spent, this.table, this.again);
    this.first = h('div', { class: 'search-line' });
    this.root = h(
      'section',
      { class: 'search', 'aria-label': 'Search for the critical token' },
      this.found,
      this.first,
      this.foot,
    );
  }

  /** @param {Trace} trace @param {Hunt[]} hunts newest first @param {string|null} wanted */
  show(trace, hunts, wanted) {
    this.trace = trace;
    this.form.show(trace);
    this.hunt = hunts.find(({ id }) => id === wanted) ?? hunts[0] ?? null;
    this.found.hidden = !this.hunt;
    this.foot.hidden = !this.hunt;
    // Once there is a search, another is no longer the first thing to do.
    const place = this.hunt ? this.again : this.first;
    if (this.form.button.parentElement !== place) place.append(this.form.button, this.form.more);
    if (!this.hunt) return;
    this.#which(hunts);
    if (this.hunt.search) this.#stored(trace, this.hunt.search);
    else if (this.hunt.run) this.#live(trace, this.hunt.run);
    this.#table();
  }

  /** @param {number|null} chosen @param {number|null} hovered */
  mark(chosen, hovered) {
    this.strip.mark(chosen, hovered);
  }

  /** @param {Hunt[]} hunts */
  #which(hunts) {
    const options = hunts.map(({ id, search, run }) => ({
      id,
      text: search ? `${when(search.created)} · ${settingsText(search)}` : (run?.state ?? ''),
    }));
    const listed = JSON.stringify(options);
    if (this.which.dataset.listed !== listed) {
      this.which.dataset.listed = listed;
      fill(
        this.which,
        options.map(({ id, text }) => h('option', { value: id }, text)),
      );
    }
    this.which.value = this.hunt?.id;
    this.which.hidden = hunts.length < 2;
  }

  /** @param {Trace} trace @param {Search} search */
  #stored(trace, search) {
    if (this.drawn === search.id) return;
    this.drawn = search.id;
    const token = search.critical === null ? '' : trace.tokens[search.critical].text;
    const { symbol, head, why } = outcome(search);
    this.status.show(null, `${symbol} ${head}${search.critical === null ? '.' : ':'}`);
    this.leading = search.critical;
    this.select.hidden = search.critical === null;
    fill(
      this.select,
      'token ',
      h('span', { class: 'num' }, search.critical ?? ''),
      ' ',
      h('span', { class: 'chip' }, visible(token)),
    );
    this.select.title = 'Select this token';
    this.further.hidden = search.reason !== 'budget_spent' || search.settings.budget >= 1;
    this.why.textContent = why;
    const { samples, generated_tokens: spent, exhaustive_tokens: whole } = search.usage;
    this.#spent(samples, spent, whole);
    this.strip.show({
      tokens: trace.tokens.length,
      positions: search.positions,
      drawing: [],
      leading: search.critical,
      found: search.reason === 'found',
      summary: `Rollouts after ${count(search.positions.length, 'token')}: ${this.status.said} ${search.critical ?? ''} ${why}`,
    });
  }

  /** @param {Trace} trace @param {LiveRun} run */
  #live(trace, run) {
    this.drawn = '';
    const { progress } = run;
    const leading = progress?.leading ?? null;
    const words = progress
      ? `Round ${progress.round}: drawing after ${count(progress.drawing.length, 'token')}.`
      : 'Waiting for the model…';
    this.status.show(run, words);
    this.leading = leading;
    const running = run.state === 'running';
    this.select.hidden = leading === null;
    if (leading !== null)
      fill(
        this.select,
        'leading: token ',
        h('span', { class: 'num' }, leading),
        ' ',
        h('span', { class: 'chip' }, visible(trace.tokens[leading].text)),
      );
    this.further.hidden = true;
    this.why.textContent = progress?.confidence === null || !progress ? '' : sureText(progress.confidence);
    const positions = run.seen();
    const samples = positions.reduce((total, seen) => total + seen.samples, 0);
    this.#spent(samples, progress?.generated_tokens ?? 0, progress?.exhaustive_tokens ?? 0);
    this.strip.show({
      tokens: trace.tokens.length,
      positions,
      drawing: running ? (progress?.drawing ?? []) : [],
      leading,
      found: false,
      summary: `Searching: rollouts after ${count(positions.length, 'token')} so far`,
    });
  }

  /** @param {number} samples @param {number} spent @param {number} whole what the exhaustive search draws */
  #spent(samples, spent, whole) {
    const share = whole ? Math.min(1, spent / whole) : 0;
    setVars(this.meter, { '--share': share.toFixed(4) });
    this.spent.textContent = [
      count(samples, 'rollout'),
      `${integer(spent)} tokens`,
      whole ? `${percent(share)} of an exhaustive search` : '',
    ]
      .filter(Boolean)
      .join(' · ');
    this.spent.title = whole ? `Drawing every rollout after every token takes about ${integer(whole)} tokens.` : '';
  }

  /** Filled only while it is open: it may be long. */
  #table() {
    const positions = this.hunt?.search?.positions ?? this.hunt?.run?.seen() ?? [];
    const summary = this.table.firstElementChild ?? h('summary', {}, 'As a table');
    if (!this.table.open || !this.trace) fill(this.table, summary);
    else fill(this.table, summary, searchTable(this.trace, positions, this.leading, this.on.select));
  }
}
