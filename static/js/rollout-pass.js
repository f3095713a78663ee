// pass@k with the response's own token and with others in its place: how likely one of k rollouts is right. A small
// chart over log2 k with its lines named where they end, and the same as a table.

import { fill, h, svg } from './dom.js';
import { count, percent, visible } from './format.js';

/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {{name: string, kind: 'with'|'without', points: [number, number][]}} Line */

const WIDTH = 380;
const HEIGHT = 168;
const LEFT = 40;
const RIGHT = 112;
const TOP = 10;
const BOTTOM = 34;
/** Room between the names of two lines that end at nearly the same height. */
const APART = 16;

export class PassChart {
  constructor() {
    this.body = h('div', {});
    this.root = h('section', { class: 'pass', 'aria-label': 'pass@k' }, h('h3', {}, 'pass@k'), this.body);
  }

  /** @param {Rollouts} set */
  show(set) {
    /** @type {Line[]} */
    const lines = [
      { name: `with ${visible(set.original.token.text)}`, kind: 'with', points: points(set.with_token) },
      { name: 'with another', kind: 'without', points: points(set.without_token) },
    ];
    const drawn = lines.filter((line) => line.points.length);
    this.root.hidden = !drawn.length;
    if (!drawn.length) return;
    const open = this.body.querySelector('details')?.open;
    fill(
      this.body,
      h(
        'p',
        { class: 'hint' },
        'How likely one of k rollouts is right: does the model get there if it may try more often? ',
        drawnText(drawn, set),
      ),
      picture(drawn),
      h('details', { open: open ?? false }, h('summary', {}, 'As a table'), table(drawn)),
    );
  }
}

/** @param {import('./types.js').RolloutPool} pool @returns {[number, number][]} */
function points({ pass_at_k: estimates }) {
  return Object.entries(estimates)
    .map(([k, p]) => /** @type {[number, number]} */ ([Number(k), p]))
    .sort((a, b) => a[0] - b[0]);
}

/** @param {Line[]} lines */
function picture(lines) {
  const last = Math.max(...lines.map(({ points: all }) => all[all.length - 1][0]));
  const octaves = Math.max(1, Math.log2(last));
  const x = (/** @type {number} */ k) => LEFT + (Math.log2(k) / octaves) * (WIDTH - LEFT - RIGHT);
  const y = (/** @type {number} */ p) => TOP + (1 - p) * (HEIGHT - TOP - BOTTOM);
  const ks = [];
  for (let k = 1; k <= last; k *= 2) ks.push(k);
  // Every second tick where they would touch.
  const ticks = ks.filter((_, i) => ks.length <= 8 || i % 2 === 0);
  const ends = lines.map(({ points: all }) => y(all[all.length - 1][1]));
  if (ends.length === 2 && Math.abs(ends[0] - ends[1]) < APART) {
    const upper = ends[0] < ends[1] || (ends[0] === ends[1] && ends[0] < HEIGHT / 2) ? 0 : 1;
    const middle = Math.min(HEIGHT - BOTTOM - APART / 2, Math.max(TOP + APART / 2, (ends[0] + ends[1]) / 2));
    ends[upper] = middle - APART / 2;
    ends[1 - upper] = middle + APART / 2;
  }
  return svg(
    'svg',
    {
      class: 'pass-chart',
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      width: WIDTH,
      height: HEIGHT,
      role: 'img',
      'aria-label': lines
        .map(({ name, points: all }) => `${name}: ${all.map(([k, p]) => `${percent(p)} at ${k}`).join(', ')}`)
        .join('; '),
    },
    [0, 0.5, 1].map((p) => [
      svg('line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: y(p), y2: y(p) }),
      svg('text', { class: 'tick', x: LEFT - 6, y: y(p) + 4, 'text-anchor': 'end' }, percent(p)),
    ]),
    ticks.map((k) => svg('text', { class: 'tick', x: x(k), y: HEIGHT - BOTTOM + 16, 'text-anchor': 'middle' }, k)),
    svg('text', { class: 'tick', x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, 'text-anchor': 'middle' }, 'k rollouts'),
    lines.map(({ name, kind, points: all }, i) => [
      svg('polyline', {
        class: `curve ${kind}`,
        points: all.map(([k, p]) => `${x(k).toFixed(1)},${y(p).toFixed(1)}`).join(' '),
      }),
      all.map(([k, p]) => mark(kind, x(k), y(p), `${name}: pass@${k} ${percent(p)}`)),
      svg('text', { class: `name ${kind}`, x: x(all[all.length - 1][0]) + 10, y: ends[i] + 4 }, name),
    ]),
  );
}

/**
 * Round where the response's own token stands, square where another does.
 * @param {Line['kind']} kind @param {number} x @param {number} y @param {string} title
 */
function mark(kind, x, y, title) {
  const about = svg('title', {}, title);
  if (kind === 'with')
    return svg('circle', { class: `point ${kind}`, cx: x.toFixed(1), cy: y.toFixed(1), r: 3.5 }, about);
  return svg(
    'rect',
    { class: `point ${kind}`, x: (x - 3.2).toFixed(1), y: (y - 3.2).toFixed(1), width: 6.4, height: 6.4 },
    about,
  );
}

/** @param {Line[]} lines */
function table(lines) {
  const ks = [...new Set(lines.flatMap(({ points: all }) => all.map(([k]) => k)))].sort((a, b) => a - b);
  return h(
    'table',
    { class: 'numbers pass-table' },
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        h('th', { scope: 'col' }, 'k'),
        lines.map(({ name }) => h('th', { scope: 'col' }, name)),
      ),
    ),
    h(
      'tbody',
      {},
      ks.map((k) =>
        h(
          'tr',
          {},
          h('th', { scope: 'row', class: 'num' }, k),
          lines.map(({ points: all }) => {
            const found = all.find(([other]) => other === k);
            return h('td', { class: 'num' }, found ? percent(found[1]) : '–');
          }),
        ),
      ),
    ),
  );
}

/** What the estimates rest on. @param {Line[]} lines @param {Rollouts} set */
function drawnText(lines, { with_token: own, without_token: others }) {
  const samples = { with: own.samples, without: others.samples };
  return `Estimated ${lines.map(({ name, kind }) => `${name} from ${count(samples[kind], 'rollout')}`).join(', ')}.`;
}
