// The numbers of one token: its score, what each model says of it, and the alternatives side by side. Without a token
// it lists the most suspicious ones.

import { fill, h } from './dom.js';
import { compact, decimal, integer, probability, visible } from './format.js';
import { told } from './measures.js';
import { mostSuspicious } from './sight.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Token} Token */
/** @typedef {import('./types.js').Role} Role */
/** @typedef {import('./types.js').TopToken} TopToken */

/** @type {Role[]} */
const ROLES = ['base', 'positive', 'negative'];
/** Bars are drawn on a log scale of so many powers of ten. */
const DECADES = 4;
const COLUMNS = /** @type {const} */ (['base', 'positive', 'negative', 'score']);
const HEADS = { base: 'base', positive: 'pos', negative: 'neg', score: 's_t' };

/** How long a probability's bar is, 0 to 1. @param {number} logprob */
const barLength = (logprob) => Math.max(0, 1 + logprob / (DECADES * Math.LN10)).toFixed(3);

export class TokenPanel {
  /**
   * @param {{select: (token: number) => void, step: (direction: -1|1) => void, close: () => void}} on
   * @param {import('./run-desk.js').RunDesk} desk rolls out
   */
  constructor(on, desk) {
    this.on = on;
    this.desk = desk;
    /** @type {typeof COLUMNS[number]} */
    this.sortBy = 'base';
    /** @type {(() => void)|null} */
    this.again = null;
    this.root = h('div', { class: 'panel-body', id: 'panel-body' });
    // Read out once a token is chosen; hovering does not speak.
    this.spoken = h('p', { class: 'unseen', 'aria-live': 'polite' });
  }

  /**
   * @param {Trace} trace @param {number} position @param {{flagged: boolean, rule: string, shown: string, part: string, spoken: boolean, chosen: boolean}} seen
   *   `rule`, the flag's rule in words; `shown`, the value that colours the token where that is not s_t; `part`, what
   *   is odd about the token's span; `spoken`, whether it is to be read out; `chosen`, else it is only pointed at
   */
  show(trace, position, seen) {
    this.again = () => this.show(trace, position, seen);
    const token = trace.tokens[position];
    const scored = token.score !== null;
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    const steps = h(
      'div',
      { class: 'panel-steps' },
      this.#button('‹ flagged', 'Previous flagged token (k)', () => this.on.step(-1)),
      this.#button('flagged ›', 'Next flagged token (j)', () => this.on.step(1)),
      this.#button('✕', 'Let go of the token (Esc)', this.on.close),
    );
    fill(
      this.root,
      h(
        'div',
        { class: 'panel-head' },
        h('h2', {}, 'Token ', h('span', { class: 'num' }, position), ' ', chip(token.text)),
        steps,
      ),
      h(
        'p',
        { class: 'panel-score' },
        scored
          ? [
              h('span', {}, 's', h('sub', {}, 't'), ' '),
              h('strong', { class: 'num', id: 'panel-st' }, probability(token.score)),
            ]
          : null,
        seen.shown ? h('span', { class: 'num' }, seen.shown) : null,
        token.critical ? h('span', { class: 'badge critical' }, '▼ critical') : null,
        seen.flagged && !token.critical ? h('span', { class: 'badge' }, `▼ ${seen.rule}`) : null,
      ),
      this.#models(token),
      this.#alternatives(token, scored, position),
      this.desk.parts(position, seen.chosen),
      h(
        'p',
        { class: 'hint num' },
        `id ${token.id} · bytes ${token.start}–${token.end}`,
        seen.part ? ` · ${seen.part}` : '',
      ),
    );
    // What is kept from token to token was taken out and put back.
    if (focused?.isConnected) /** @type {HTMLElement} */ (focused).focus();
    if (seen.spoken) {
      this.spoken.textContent = `Token ${position}, ${visible(token.text)}${scored ? `, s t ${probability(token.score)}` : ''}${seen.flagged ? ', flagged' : ''}`;
    }
  }

  /** @param {Trace} trace @param {import('./sight.js').Sight} sight */
  overview(trace, sight) {
    this.again = null;
    this.spoken.textContent = '';
    const worst = mostSuspicious(sight, 8);
    fill(
      this.root,
      h('h2', {}, 'Most suspicious'),
      h(
        'p',
        { class: 'hint' },
        `By ${sight.measure.label}. Point at a token for its numbers, choose one to keep them.`,
      ),
      worst.length
        ? h(
            'ol',
            { class: 'suspects' },
            worst.map((token) =>
              h(
                'li',
                {},
                h(
                  'button',
                  { type: 'button', on: { click: () => this.on.select(token) } },
                  h('span', { class: 'num pos' }, token),
                  chip(trace.tokens[token].text),
                  h('span', { class: 'num' }, told(sight.measure, trace.tokens[token], trace)),
                ),
              ),
            ),
          )
        : h('p', {}, 'Nothing is measured here.'),
      this.desk.overview(),
    );
  }

  /** @param {string} label @param {string} title @param {() => void} click */
  #button(label, title, click) {
    return h('button', { type: 'button', class: 'quiet', title, 'aria-label': title, on: { click } }, label);
  }

  /** @param {Token} token */
  #models(token) {
    const row = (/** @type {Role} */ role) => {
      const logprob = token.logprob[role];
      if (logprob === null)
        return h(
          'tr',
          { class: 'absent' },
          h('th', { scope: 'row' }, role),
          h('td', { colspan: 4 }, 'no model in this role'),
        );
      return h(
        'tr',
        {},
        h('th', { scope: 'row' }, role),
        h('td', { class: `num bar ${role}`, vars: { '--w': barLength(logprob) } }, probability(Math.exp(logprob))),
        h('td', { class: 'num' }, decimal(logprob, 2)),
        h('td', { class: 'num' }, token.rank[role] === null ? '–' : integer(/** @type {number} */ (token.rank[role]))),
        h('td', { class: 'num' }, decimal(token.entropy[role], 2)),
      );
    };
    const head = ['', 'p', 'log p', 'rank', 'entropy'];
    return h(
      'table',
      { class: 'numbers models', 'aria-label': 'What each model says of this token; bars on a log scale' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          head.map((name) => h('th', { scope: 'col' }, name || h('span', { class: 'unseen' }, 'model'))),
        ),
      ),
      h('tbody', {}, ROLES.map(row)),
    );
  }

  /** @param {Token} token @param {boolean} scored @param {number} position */
  #alternatives(token, scored, position) {
    if (!token.top.length)
      return h(
        'p',
        { class: 'hint lookup' },
        'This trace was scored without alternatives. ',
        h('button', { type: 'button', on: { click: () => this.desk.lookUp() } }, 'Look them up'),
      );
    const rows = token.top.some(({ id }) => id === token.id)
      ? [...token.top]
      : [...token.top, { id: token.id, text: token.text, ...token.logprob, score: token.score }];
    const columns = COLUMNS.filter((column) => (column === 'score' ? scored : token.logprob[column] !== null));
    const by = columns.includes(this.sortBy) ? this.sortBy : 'base';
    rows.sort((a, b) => (b[by] ?? -Infinity) - (a[by] ?? -Infinity));
    const head = (/** @type {typeof COLUMNS[number]} */ column) =>
      h(
        'th',
        { scope: 'col', 'aria-sort': column === by ? 'descending' : null },
        h(
          'button',
          { type: 'button', class: 'sort', title: `Sort by ${HEADS[column]}`, on: { click: () => this.#sort(column) } },
          HEADS[column],
        ),
      );
    const cell = (/** @type {TopToken} */ row, /** @type {typeof COLUMNS[number]} */ column) => {
      const value = row[column];
      if (value === null) return h('td', { class: 'num' }, '–');
      const logprob = column === 'score' ? Math.log(value) : value;
      const p = Math.exp(logprob);
      return h(
        'td',
        { class: `num bar ${column}`, title: probability(p), vars: { '--w': barLength(logprob) } },
        compact(p),
      );
    };
    return h(
      'table',
      { class: 'numbers alternatives', 'aria-label': 'Alternatives at this position, by model' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('th', { scope: 'col' }, 'instead'),
          columns.map(head),
          h('th', { scope: 'col', class: 'act' }, h('span', { class: 'unseen' }, 'roll out')),
        ),
      ),
      h(
        'tbody',
        {},
        rows.map((row) =>
          h(
            'tr',
            { class: row.id === token.id ? 'actual' : '' },
            h(
              'th',
              { scope: 'row', title: `id ${row.id}` },
              row.id === token.id ? h('span', { class: 'unseen' }, 'the response’s own: ') : null,
              chip(row.text),
            ),
            columns.map((column) => cell(row, column)),
            h('td', { class: 'act' }, row.id === token.id ? null : this.#rollOut(row, position)),
          ),
        ),
      ),
    );
  }

  /** @param {TopToken} row @param {number} position */
  #rollOut({ id, text }, position) {
    const title = `Roll out with ${visible(text)} here`;
    const click = () => this.desk.rollOut(position, { source: 'given', token_ids: [id] });
    return h('button', { type: 'button', class: 'quiet roll', title, 'aria-label': title, on: { click } }, '▶');
  }

  /** @param {typeof COLUMNS[number]} column */
  #sort(column) {
    this.sortBy = column;
    this.again?.();
    /** @type {HTMLElement|null} */ (this.root.querySelector('[aria-sort] .sort'))?.focus();
  }
}

/** A token's text with its white space visible. @param {string} text */
function chip(text) {
  return h('span', { class: 'chip' }, visible(text));
}
