// A search along the trajectory, under the chart and on the same axis: how often rollouts after each looked-at token
// are right, with intervals; where it draws now; the leading candidate and the found token.

import { h, svg } from './dom.js';
import { percent } from './format.js';
import { positionText } from './search-words.js';

/** @typedef {import('./types.js').SearchPosition} SearchPosition */

/**
 * @typedef {object} Picture
 * @property {number} tokens How many the trajectory has.
 * @property {SearchPosition[]} positions
 * @property {number[]} drawing
 * @property {number|null} leading The likeliest position so far, or what was found.
 * @property {boolean} found
 * @property {string} summary The picture in words.
 */

const HEIGHT = 62;
const TOP = 13;
const BOTTOM = 5;

/** @param {number} rate */
const y = (rate) => TOP + (1 - rate) * (HEIGHT - TOP - BOTTOM);

export class SearchStrip {
  /** @param {{hover: (token: number|null) => void, select: (token: number) => void}} on */
  constructor(on) {
    this.tokens = 0;
    this.marks = svg('g', {});
    this.chosen = svg('rect', { class: 'band chosen', y: 0, height: HEIGHT });
    this.hovered = svg('rect', { class: 'band hovered', y: 0, height: HEIGHT });
    this.svg = svg(
      'svg',
      {
        class: 'strip',
        height: HEIGHT,
        role: 'img',
        on: {
          pointermove: (/** @type {PointerEvent} */ event) => on.hover(this.#tokenAt(event)),
          pointerleave: () => on.hover(null),
          click: (/** @type {MouseEvent} */ event) => {
            const token = this.#tokenAt(event);
            if (token !== null) on.select(token);
          },
        },
      },
      this.hovered,
      this.chosen,
      [0, 0.5, 1].map((rate) => svg('line', { class: 'grid', x1: 0, x2: '100%', y1: y(rate), y2: y(rate) })),
      this.marks,
    );
    const top = h('span', { class: 'strip-top num', 'aria-hidden': 'true' }, percent(1));
    this.root = h('div', { class: 'strip-frame' }, this.svg, top);
  }

  /** @param {MouseEvent} event */
  #tokenAt(event) {
    const { left, width } = this.svg.getBoundingClientRect();
    if (!this.tokens || !width) return null;
    return Math.min(this.tokens - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * this.tokens)));
  }

  /** @param {number} position @param {number} [within] 0 to 1 */
  #x(position, within = 0.5) {
    return `${((100 * (position + within)) / this.tokens).toFixed(3)}%`;
  }

  /** @param {Picture} picture */
  show({ tokens, positions, drawing, leading, found, summary }) {
    this.tokens = tokens;
    this.svg.setAttribute('aria-label', summary);
    this.marks.replaceChildren(
      ...drawing.map((position) =>
        svg('rect', { class: 'band drawing', x: this.#x(position, 0), y: 0, width: this.#x(0, 1), height: HEIGHT }),
      ),
      ...(leading === null ? [] : this.#leading(leading, found)),
      ...positions.map((seen) => this.#position(seen)),
    );
  }

  /** @param {number} position @param {boolean} found */
  #leading(position, found) {
    const x = this.#x(position);
    return [
      svg('line', { class: `leading${found ? ' found' : ''}`, x1: x, x2: x, y1: TOP - 4, y2: HEIGHT }),
      svg(
        'svg',
        { class: 'at', x },
        svg('path', { class: `leading-notch${found ? ' found' : ''}`, d: 'M-6 0h12l-6 9z' }),
      ),
    ];
  }

  /** @param {SearchPosition} seen */
  #position(seen) {
    const { position, rate, samples, interval, decided } = seen;
    // The more was drawn, the larger the mark and the firmer the line.
    const size = Math.min(4.5, 2 + Math.log2(samples) / 2.5);
    const x = this.#x(position);
    const shape =
      decided === 'zero' || decided === 'tail'
        ? svg('rect', { x: -size, y: y(rate) - size, width: 2 * size, height: 2 * size })
        : svg('circle', { r: size, cy: y(rate) });
    return svg(
      'g',
      { class: `seen ${decided}${samples < 8 ? ' few' : ''}` },
      svg('title', {}, `token ${position}: ${positionText(seen)}`),
      svg('line', { x1: x, x2: x, y1: y(interval[0]), y2: y(interval[1]) }),
      svg('svg', { class: 'at', x }, shape),
    );
  }

  /** @param {number|null} chosen @param {number|null} hovered */
  mark(chosen, hovered) {
    this.#band(this.chosen, chosen);
    this.#band(this.hovered, hovered);
  }

  /** @param {SVGRectElement} band @param {number|null} token */
  #band(band, token) {
    const seen = token !== null && this.tokens > 0;
    band.setAttribute('x', seen ? this.#x(token, 0) : '0');
    band.setAttribute('width', seen ? this.#x(0, 1) : '0');
  }
}
