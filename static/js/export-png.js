// A trace as a picture: title, question, the coloured response with its marks, legend and chart, as they are seen now,
// in the theme of now. The colours and faces are read from the page itself, so that both always agree.

import { paintChart } from './chart.js';
import { inFlow, lastQuestion, plain, short, verdictMark, whenFull } from './format.js';
import { ruleText } from './measures.js';
import { flaggedTokens, neutralShade } from './sight.js';

/** @typedef {import('./types.js').Trace} Trace */

/**
 * @typedef {object} Seen
 * @property {Trace} trace
 * @property {import('./sight.js').Sight} sight
 * @property {number} limit
 * @property {import('./response.js').ResponseView} response
 */

/** Pixels of the picture a CSS pixel. */
const SCALE = 2;
const WIDTH = 920;
const MARGIN = 32;
const LINE = 30;
/** Browsers refuse taller canvases. */
const TALLEST = 16_000;
const QUESTION_LINES = 8;

/** @param {Seen} seen @returns {Promise<Blob>} */
export async function picture(seen) {
  await document.fonts.ready;
  const canvas = document.createElement('canvas');
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  // Once to measure, once to draw.
  const tall = Math.ceil(new Picture(context, seen, false).draw());
  if (tall * SCALE > TALLEST) throw new Error('The response is too long for a picture: export it as HTML.');
  canvas.width = WIDTH * SCALE;
  canvas.height = tall * SCALE;
  context.scale(SCALE, SCALE);
  const style = getComputedStyle(document.body);
  context.fillStyle = style.getPropertyValue('--paper');
  context.fillRect(0, 0, WIDTH, tall);
  new Picture(context, seen, true).draw();
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The canvas gave no picture.'))), 'image/png');
  });
}

class Picture {
  /** @param {CanvasRenderingContext2D} context @param {Seen} seen @param {boolean} paints */
  constructor(context, seen, paints) {
    this.context = context;
    this.seen = seen;
    this.paints = paints;
    this.style = getComputedStyle(document.body);
    this.sans = this.#var('--sans');
    this.mono = this.#var('--mono');
    this.y = MARGIN;
  }

  draw() {
    const { trace, sight, limit } = this.seen;
    const { symbol, word } = verdictMark(trace.verdict?.status);
    const verdict = trace.verdict;
    const told = verdict
      ? `${verdict.extracted === null ? '' : `answered ${plain(verdict.extracted)}, `}expected ${plain(verdict.reference)}`
      : '';
    this.#text(`${symbol} ${word}`, `650 20px ${this.sans}`, '--ink', told);
    this.y += 10;
    this.#wrapped(plain(lastQuestion(trace.prompt.text.trim())), `14px ${this.sans}`, '--ink', 21, QUESTION_LINES);
    const models = /** @type {const} */ (['base', 'positive', 'negative'])
      .filter((role) => trace.models[role])
      .map((role) => `${role} ${plain(trace.models[role]?.id ?? '')}`);
    this.y += 4;
    this.#wrapped(
      [`${trace.tokens.length} tokens`, `β ${trace.beta}`, ...models, whenFull(trace.created)].join('  ·  '),
      `12px ${this.sans}`,
      '--ink-soft',
      18,
      2,
    );
    this.y += 12;
    this.#legend();
    this.#chart();
    this.#response();
    const flagged = flaggedTokens(sight, limit).length;
    this.y += 8;
    this.#text(
      `Linchpin  ·  ${trace.id}`,
      `11px ${this.sans}`,
      '--ink-soft',
      `${flagged} flagged (${ruleText(sight.measure, limit)})`,
    );
    return this.y + MARGIN - 8;
  }

  /** @param {string} name */
  #var(name) {
    return this.style.getPropertyValue(name).trim();
  }

  /** One line, with another at the right end. @param {string} text @param {string} font @param {string} colour @param {string} [right] */
  #text(text, font, colour, right = '') {
    const { context } = this;
    const size = Number(/(\d+)px/.exec(font)?.[1] ?? 14);
    this.y += size;
    if (this.paints) {
      context.font = font;
      context.fillStyle = this.#var(colour);
      context.textAlign = 'left';
      context.fillText(text, MARGIN, this.y);
      if (right) {
        context.font = `${Math.min(14, size)}px ${this.sans}`;
        context.fillStyle = this.#var('--ink-soft');
        context.textAlign = 'right';
        context.fillText(right, WIDTH - MARGIN, this.y);
        context.textAlign = 'left';
      }
    }
    this.y += 4;
  }

  /** @param {string} text @param {string} font @param {string} colour @param {number} line @param {number} most lines */
  #wrapped(text, font, colour, line, most) {
    const { context } = this;
    context.font = font;
    const lines = [];
    for (const paragraph of text.split('\n')) {
      let current = '';
      for (const word of paragraph.split(/(?<=\s)/)) {
        if (current && context.measureText(current + word.trimEnd()).width > WIDTH - 2 * MARGIN) {
          lines.push(current);
          current = '';
        }
        current += word;
      }
      lines.push(current);
    }
    lines.slice(0, most).forEach((one, i) => {
      this.y += line;
      if (!this.paints) return;
      context.fillStyle = this.#var(colour);
      context.fillText(i === most - 1 && lines.length > most ? `${one.trimEnd()} …` : one, MARGIN, this.y - 6);
    });
  }

  /** The colour scale with its ticks and the threshold's line. */
  #legend() {
    const { context, y } = this;
    const { measure } = this.seen.sight;
    this.y += 44;
    if (!this.paints) return;
    const [x, width, tall] = [MARGIN + 150, WIDTH - 2 * MARGIN - 150, 14];
    context.font = `600 13px ${this.sans}`;
    context.fillStyle = this.#var('--ink');
    context.fillText(measure.label, MARGIN, y + 12);
    const middle = neutralShade(measure, this.seen.limit);
    const share = (/** @type {string} */ name) => Number.parseFloat(this.#var(name)) / 100;
    const [floor, full, most] = [share('--orange-floor'), share('--orange-strength'), share('--blue-strength')];
    for (let i = 0; i < width; i += 1) {
      const at = i / width;
      context.globalAlpha =
        at < middle ? floor + ((middle - at) / middle) * full : ((at - middle) / (1 - middle)) * most;
      context.fillStyle = this.#var(at < middle ? '--orange' : '--blue');
      context.fillRect(x + i, y, 1, tall);
    }
    context.globalAlpha = 1;
    context.strokeStyle = this.#var('--line-strong');
    context.strokeRect(x + 0.5, y + 0.5, width - 1, tall - 1);
    context.fillStyle = this.#var('--ink');
    context.fillRect(x + measure.toScale(this.seen.limit) * width - 2, y - 4, 4, tall + 8);
    context.font = `11px ${this.sans}`;
    context.fillStyle = this.#var('--ink-soft');
    measure.ticks.forEach((tick, i) => {
      context.textAlign = i === 0 ? 'left' : i === measure.ticks.length - 1 ? 'right' : 'center';
      context.fillText(short(tick), x + measure.toScale(tick) * width, y + 30);
    });
    context.textAlign = 'left';
  }

  #chart() {
    const { context, y } = this;
    const tall = 72;
    this.y += tall + 16;
    if (!this.paints) return;
    context.save();
    context.translate(MARGIN, y);
    const { sight, limit } = this.seen;
    paintChart(context, { sight, limit, width: WIDTH - 2 * MARGIN, height: tall, ratio: SCALE, style: this.style });
    context.restore();
  }

  /** The response's pieces, each on the colour that its element has in the page. */
  #response() {
    const { context } = this;
    const { pieces, elements } = this.seen.response;
    context.font = `15px ${this.mono}`;
    let x = MARGIN;
    this.y += LINE;
    const next = () => {
      x = MARGIN;
      this.y += LINE;
    };
    pieces.forEach(({ text, first }, index) => {
      const element = first < 0 ? null : elements[index];
      const look = element && this.paints ? getComputedStyle(element) : null;
      // A word is not parted, a break inside a piece breaks.
      inFlow(text)
        .split(/(?<=\n)/)
        .forEach((line, part) => {
          const shown = line.replace('\n', '').replace('\t', '    ');
          const width = context.measureText(shown).width;
          if (x + width > WIDTH - MARGIN && x > MARGIN) next();
          if (look && element) this.#piece(element, look, shown, x, width, part === 0);
          else if (this.paints) {
            context.fillStyle = this.#var('--ink');
            context.fillText(shown, x, this.y);
          }
          x += width;
          if (line.endsWith('\n')) next();
        });
    });
    this.y += 12;
  }

  /**
   * @param {HTMLElement} element @param {CSSStyleDeclaration} look @param {string} text @param {number} x @param {number} width
   * @param {boolean} begins whether it is the piece's first line, which has the notch
   */
  #piece(element, look, text, x, width, begins) {
    const { context, y } = this;
    context.fillStyle = look.backgroundColor;
    context.fillRect(x, y - 17, Math.max(0, width - 1), 23);
    context.font = `${look.fontStyle} ${look.fontWeight} 15px ${this.mono}`;
    context.fillStyle = look.color;
    context.fillText(text, x, y);
    context.font = `15px ${this.mono}`;
    context.fillStyle = this.#var('--orange');
    if (element.classList.contains('flagged')) context.fillRect(x, y + 4, Math.max(0, width - 1), 3);
    if (!element.classList.contains('peak') || !begins) return;
    context.beginPath();
    context.moveTo(x, y - 23);
    context.lineTo(x + 10, y - 23);
    context.lineTo(x + 5, y - 17);
    context.fill();
  }
}
