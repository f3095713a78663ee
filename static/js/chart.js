// The measure by position, as bars that leave the neutral line: up and blue where sound, down and orange where
// suspicious. One canvas whatever the length; where tokens are narrower than a pixel the worst of them is drawn.

import { h } from './dom.js';
import { isFlagged, neutralShade } from './sight.js';
import { onTheme } from './theme.js';

/** @typedef {import('./sight.js').Sight} Sight */

const NOTCH = 5;
/** Room above the bars for the notches, in CSS pixels. */
const TOP = 8;

export class Chart {
  /** @param {{hover: (token: number|null) => void, select: (token: number) => void}} on */
  constructor(on) {
    /** @type {Sight|null} */
    this.sight = null;
    this.limit = 0;
    this.chosen = -1;
    this.hovered = -1;
    this.queued = 0;
    this.canvas = h('canvas', {
      class: 'chart-canvas',
      role: 'img',
      on: {
        pointermove: (/** @type {PointerEvent} */ event) => on.hover(this.#tokenAt(event)),
        pointerleave: () => on.hover(null),
        click: (/** @type {MouseEvent} */ event) => {
          const token = this.#tokenAt(event);
          if (token !== null) on.select(token);
        },
      },
    });
    this.root = h('div', { class: 'chart' }, this.canvas);
    new ResizeObserver(() => this.#later()).observe(this.root);
    onTheme(() => this.#later());
  }

  /** @param {Sight} sight @param {number} limit the threshold @param {string} summary what the picture says, in words */
  show(sight, limit, summary) {
    this.sight = sight;
    this.limit = limit;
    this.canvas.setAttribute('aria-label', summary);
    this.#later();
  }

  /** @param {number|null} chosen @param {number|null} hovered */
  mark(chosen, hovered) {
    this.chosen = chosen ?? -1;
    this.hovered = hovered ?? -1;
    this.#later();
  }

  #later() {
    this.queued ||= requestAnimationFrame(() => {
      this.queued = 0;
      this.#draw();
    });
  }

  /** @param {MouseEvent} event */
  #tokenAt(event) {
    const n = this.sight?.shade.length ?? 0;
    const { left, width } = this.canvas.getBoundingClientRect();
    if (!n || !width) return null;
    return Math.min(n - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * n)));
  }

  #draw() {
    const { sight, limit, chosen, hovered } = this;
    const { clientWidth: width, clientHeight: height } = this.root;
    if (!sight || !width || !height) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext('2d');
    if (!context) return;
    context.scale(ratio, ratio);
    paintChart(context, { sight, limit, width, height, ratio, style: getComputedStyle(this.root), chosen, hovered });
  }
}

/**
 * @typedef {object} Painted
 * @property {Sight} sight
 * @property {number} limit the threshold
 * @property {number} width in CSS pixels
 * @property {number} height
 * @property {number} ratio device pixels in a CSS pixel
 * @property {CSSStyleDeclaration} style has the colours
 * @property {number} [chosen] -1 for none
 * @property {number} [hovered]
 */

/** @param {CanvasRenderingContext2D} context @param {Painted} painted */
export function paintChart(context, { sight, limit, width, height, ratio, style, chosen = -1, hovered = -1 }) {
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const step = width / sight.shade.length;
  const y = (/** @type {number} */ shade) => TOP + (1 - shade) * (height - TOP - 1);
  const middle = y(neutralShade(sight.measure, limit));
  const bar = Math.max(1 / ratio, step - (step > 4 ? 1 : 0));
  const [good, bad, line, ink] = ['--blue', '--orange', '--line-strong', '--ink'].map(colour);

  for (const [token, alpha] of [
    [hovered, 0.14],
    [chosen, 0.22],
  ]) {
    if (token < 0) continue;
    context.globalAlpha = alpha;
    context.fillStyle = ink;
    context.fillRect(Math.floor(token * step), 0, Math.max(2, step), height);
  }
  context.globalAlpha = 1;
  const threshold = y(sight.measure.toScale(limit));
  context.strokeStyle = line;
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(0, Math.round(threshold) + 0.5);
  context.lineTo(width, Math.round(threshold) + 0.5);
  context.stroke();

  const columns = [...worstByColumn(sight, width * ratio)].map(({ token, shade }) => ({
    token,
    shade,
    flagged: isFlagged(sight.measure, sight.value[token], limit),
  }));
  // Too many notches would run into one line and tell nothing.
  const notches = columns.filter(({ flagged }) => flagged).length * NOTCH * 2 < width;
  for (const { token, shade, flagged } of columns) {
    const end = y(shade);
    const below = end > middle;
    context.fillStyle = below || flagged ? bad : good;
    context.globalAlpha = below || flagged ? 1 : 0.55;
    context.fillRect(token * step, Math.min(end, middle), bar, Math.max(1, Math.abs(end - middle)));
    if (!flagged || !notches) continue;
    const x = token * step + bar / 2;
    context.beginPath();
    context.moveTo(x - NOTCH / 2, 0);
    context.lineTo(x + NOTCH / 2, 0);
    context.lineTo(x, NOTCH);
    context.fill();
  }
  context.globalAlpha = 1;
}

/** The worst token of every column. @param {Sight} sight @param {number} columns device pixels across */
function* worstByColumn({ shade }, columns) {
  const share = Math.max(1, Math.ceil(shade.length / columns));
  for (let start = 0; start < shade.length; start += share) {
    let token = -1;
    for (let i = start; i < Math.min(start + share, shade.length); i += 1) {
      if (!Number.isNaN(shade[i]) && (token < 0 || shade[i] < shade[token])) token = i;
    }
    if (token >= 0) yield { token, shade: shade[token] };
  }
}
