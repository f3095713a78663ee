// How often the right answer is reached after a token and after others in its place: a row for each, with its interval
// on one axis from 0 to 1. Rows are made once and filled in as rollouts come, so that nothing jumps.

import { fill, h, setVars } from './dom.js';
import { count, integer, percent, plain, visible } from './format.js';
import { compared, finding } from './rollout-finding.js';
import { pool } from './rollout-stats.js';

/** @typedef {import('./types.js').RolloutGroup} RolloutGroup */
/** @typedef {import('./run-store.js').Fork} Fork */
/** @typedef {Pick<RolloutGroup, 'samples'|'correct'|'rate'|'interval'>} Share */

/** So many alternatives are seen before the rest is asked for. */
const FIRST = 8;
/** Fewer than this of a side are too few for a word on them while more are being drawn. */
const WORTH_SAYING = 8;

/** Where alternatives come from, in short. @param {import('./types.js').Rollouts} set */
export function sourceText({ alternatives_source: source, alternatives }) {
  if (source === 'sampled') {
    const draws = alternatives.reduce((total, { drawn }) => total + (drawn ?? 0), 0);
    return `${count(draws, 'draw')}, ${count(alternatives.length, 'token')}`;
  }
  if (source === 'top') return `top ${alternatives.length}`;
  return alternatives.length === 1 ? `${visible(alternatives[0].token.text)} instead` : `${alternatives.length} chosen`;
}

export class RolloutsTable {
  constructor() {
    /** @type {Map<string, Record<'row'|'name'|'plot'|'share'|'rate', HTMLElement>>} */
    this.rows = new Map();
    this.shown = '';
    this.all = false;
    this.finding = h('p', { class: 'finding' });
    this.body = h('tbody', {});
    this.more = h('button', {
      type: 'button',
      class: 'quiet',
      hidden: true,
      on: {
        click: () => {
          this.all = true;
          if (this.fork) this.show(this.fork);
        },
      },
    });
    const ticks = [0, 0.5, 1].map((x) => h('span', { vars: { '--x': x } }, percent(x)));
    this.table = h(
      'table',
      { class: 'numbers rates', 'aria-label': 'How often each token leads to the right answer, with 95% intervals' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('th', { scope: 'col' }, 'token'),
          h(
            'th',
            { scope: 'col' },
            h('span', { class: 'unseen' }, 'interval at 95%'),
            h('span', { class: 'rate-axis' }, ticks),
          ),
          h('th', { scope: 'col' }, 'right'),
          h('th', { scope: 'col' }, 'rate'),
        ),
      ),
      this.body,
    );
    this.settings = h('p', { class: 'hint num' });
    this.root = h('div', { class: 'rollouts' }, this.finding, this.table, this.more, this.settings);
    /** @type {Fork|null} */
    this.fork = null;
  }

  /** @param {Fork} fork */
  show(fork) {
    this.fork = fork;
    const { set, run } = fork;
    if (this.shown !== fork.id) {
      this.shown = fork.id;
      this.all = false;
      this.rows.clear();
    }
    this.table.hidden = !set;
    if (!set) {
      fill(this.finding);
      fill(this.settings);
      this.more.hidden = true;
      return;
    }
    const live = run !== null;
    const order = set.alternatives.map((_, i) => i);
    // While they fill in, rows stay where they are.
    if (!live) order.sort((a, b) => rank(set.alternatives[b]) - rank(set.alternatives[a]));
    const seen = this.all ? order : order.slice(0, FIRST);
    const together = set.alternatives.length > 1 ? pool(set.alternatives) : null;
    const rows = [
      this.#row('own', set.original.token.text, set.original, null, fork, 'own'),
      together ? this.#row('all', null, together, null, fork, 'all') : null,
      ...seen.map((i) => this.#row(String(i), set.alternatives[i].token.text, set.alternatives[i], i, fork, '')),
    ].filter((row) => row !== null);
    // Moved only where the order has changed: a pointer over a row stays over it.
    rows.forEach(
      (row, i) => this.body.children[i] !== row && this.body.insertBefore(row, this.body.children[i] ?? null),
    );
    while (this.body.children.length > rows.length) this.body.lastChild?.remove();
    this.more.hidden = seen.length === order.length;
    this.more.textContent = `Show ${count(order.length - seen.length, 'more alternative')}`;

    const { kind, words, next } = finding(set);
    const running = run?.state === 'running';
    const early = running && Math.min(set.with_token.samples, set.without_token.samples) < WORTH_SAYING;
    this.finding.className = `finding ${running ? '' : kind}`;
    if (early) fill(this.finding, 'Too early to tell.');
    else fill(this.finding, running ? 'So far: ' : '', h('strong', {}, words), ' ', running ? '' : next);
    fill(this.settings, settingsText(set));
  }

  /**
   * @param {string} key @param {string|null} text null for all alternatives as one @param {Share} share
   * @param {number|null} index @param {Fork} fork @param {string} kind
   */
  #row(key, text, share, index, fork, kind) {
    let parts = this.rows.get(key);
    if (!parts) {
      const name = h('th', { scope: 'row' });
      if (text === null) fill(name, h('span', { class: 'together' }, 'any other'));
      else
        fill(
          name,
          kind === 'own' ? h('span', { class: 'unseen' }, 'the response’s own: ') : null,
          h('span', { class: 'chip', title: visible(text) }, visible(text)),
        );
      const plot = h('span', { class: 'ci', 'aria-hidden': 'true' }, h('span', { class: 'ci-drawn' }));
      const [share, rate] = [h('td', { class: 'num' }), h('td', { class: 'num' })];
      const row = h('tr', {}, name, h('td', {}, plot), share, rate);
      parts = { row, name, plot, share, rate };
      this.rows.set(key, parts);
    }
    const { set, run } = fork;
    const planned = key === 'all' ? null : (run?.planned(index) ?? null);
    const running = run?.state === 'running';
    const state = share.samples
      ? running && (planned === null || share.samples < planned)
        ? 'drawing'
        : ''
      : running
        ? 'waiting'
        : 'none';
    const difference = kind === 'own' || !set ? '' : compared(share, set.original);
    parts.row.className = [kind === 'own' ? 'actual' : kind, state, difference].filter(Boolean).join(' ');
    setVars(parts.plot, {
      '--low': share.interval[0].toFixed(4),
      '--high': share.interval[1].toFixed(4),
      '--rate': (share.rate ?? 0).toFixed(4),
      '--drawn': planned ? Math.min(1, share.samples / planned).toFixed(4) : 0,
    });
    parts.row.title = title(share, state, difference, planned);
    parts.share.textContent = state === 'waiting' ? 'waiting' : `${integer(share.correct)}/${integer(share.samples)}`;
    fill(
      parts.rate,
      share.rate === null ? '–' : percent(share.rate),
      h('span', { class: 'unseen' }, share.rate === null ? '' : ` (${share.interval.map(percent).join('–')})`),
    );
    return parts.row;
  }
}

/** @param {import('./types.js').Rollouts} set */
function settingsText(set) {
  const { temperature, max_tokens: longest } = set.sampling;
  // The answer may be given as a whole solution: what was read from it is shorter.
  const answer = set.rollouts?.[0]?.verdict.reference ?? set.answer;
  const parts = [`answer ${plain(answer)}`, plain(set.model.id), `temperature ${temperature}`];
  return [...parts, `up to ${count(longest, 'token')}`, sourceText(set)].join(' · ');
}

/** Surely good ones first. @param {RolloutGroup} group */
const rank = ({ samples, interval, rate }) => (samples ? interval[0] + (rate ?? 0) * 1e-3 : -1);

/** @param {Share} share @param {string} state @param {string} difference @param {number|null} planned */
function title(share, state, difference, planned) {
  if (state === 'waiting') return planned ? `waiting for ${count(planned, 'rollout')}` : 'waiting';
  const told = [
    `${share.correct} of ${count(share.samples, 'rollout')} right, ${share.interval.map(percent).join('–')} at 95%`,
  ];
  if (state === 'drawing' && planned) told.push(`${planned} are drawn`);
  if (difference) told.push(`${difference} than the response’s own token`);
  return told.join('; ');
}

/** How far a run is. @param {Fork} fork */
export function progressText({ set, run }) {
  if (run?.state !== 'running' || !set) return '';
  const drawn = set.rollouts?.length ?? 0;
  const all = run.plannedAll();
  return all === null ? `${integer(drawn)} so far` : `${integer(drawn)} of ${integer(all)}`;
}
