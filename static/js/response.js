// The response's text on the page: one element a piece, one listener for all of them. Built once a trace; a change of
// measure or threshold moves classes. The elements stand in blocks of whole lines, so that the browser styles, lays out
// and paints only the blocks near the view.

import { fill, h } from './dom.js';
import { inFlow, plain } from './format.js';
import { bringIntoSight } from './in-sight.js';
import { cut } from './pieces.js';
import { shadeClass } from './shades.js';
import { flaggedTokens, isFlagged, neutralShade } from './sight.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./sight.js').Sight} Sight */

/** A block ends with the first line's end after so many pieces. */
const BLOCK = 64;
/** About how many pixels wide a character is, and how wide the text may be; only the scrollbar depends on it. */
const CHARACTER = 9;
const WIDEST = 828;

/** Bits of a mark. */
const FLAGGED = 1;
const PEAK = 2;

export class ResponseView {
  /**
   * @param {{hover: (token: number|null) => void, select: (token: number) => void}} on
   * @param {string} [name] tells several in one page apart, in their ids
   * @param {string} [label]
   */
  constructor(on, name = '', label = 'The response, token by token') {
    this.on = on;
    this.name = name;
    /** @type {Trace|null} */
    this.trace = null;
    /** @type {import('./pieces.js').Piece[]} */
    this.pieces = [];
    /** @type {Int32Array} token to piece */
    this.pieceOf = new Int32Array(0);
    /** @type {HTMLElement[]} elements by piece; text outside every token has none */
    this.elements = [];
    /** @type {string[]} The colour's class of each element, and what else it is marked as. */
    this.shades = [];
    this.marks = new Uint8Array(0);
    this.chosen = -1;
    this.hovered = -1;
    this.root = h('div', {
      class: 'response',
      id: name ? `response-${name}` : 'response',
      role: 'listbox',
      tabindex: 0,
      'aria-label': label,
      'aria-orientation': 'horizontal',
      on: {
        // Not pointerover: text that moves under a pointer at rest is not pointed at.
        pointermove: (/** @type {PointerEvent} */ event) => event.pointerType !== 'touch' && this.#point(event.target),
        pointerleave: () => this.#point(null),
        click: (/** @type {MouseEvent} */ event) => this.#click(event),
        copy: (/** @type {ClipboardEvent} */ event) => this.#copy(event),
      },
    });
  }

  /** Builds the elements. @param {Trace} trace */
  show(trace) {
    this.trace = trace;
    const { pieces, pieceOf } = cut(trace);
    this.pieces = pieces;
    this.pieceOf = pieceOf;
    this.elements = [];
    this.shades = pieces.map(() => '');
    this.marks = new Uint8Array(pieces.length);
    this.chosen = -1;
    this.hovered = -1;
    const [answerStart, answerEnd] = trace.verdict?.span ?? [0, 0];
    const columns = Math.floor(Math.min(WIDEST, innerWidth - 40) / CHARACTER);
    /** @type {HTMLElement[]} */
    const blocks = [];
    /** @type {Node[]} */
    let block = [];
    let written = '';
    const close = () => {
      const lines = written.match(/[^\n]*\n|[^\n]+$/g) ?? [];
      const rows = lines.reduce((sum, line) => sum + Math.ceil(line.length / columns), 0);
      blocks.push(h('div', { class: 'block', role: 'presentation', vars: { '--rows': rows } }, block));
      block = [];
      written = '';
    };
    const add = (/** @type {Node} */ node, /** @type {string} */ text) => {
      block.push(node);
      written += text;
      if (block.length >= BLOCK && written.endsWith('\n')) close();
    };
    pieces.forEach(({ text, first, last }, index) => {
      if (first < 0) {
        add(document.createTextNode(plain(text)), text);
        return;
      }
      const element = document.createElement('span');
      const { start, end } = trace.tokens[first];
      let name = 'tok';
      if (text.trim() === '') name += ' space';
      if (start < answerEnd && end > answerStart) name += ' answer';
      if (start === end) name += ' outside';
      if (last > first) element.title = `${last - first + 1} tokens make up this character`;
      element.className = name;
      element.id = `${this.name}t${first}`;
      element.setAttribute('role', 'option');
      element.textContent = inFlow(text);
      element.dataset.piece = String(index);
      this.elements[index] = element;
      add(element, text);
    });
    if (block.length) close();
    fill(this.root, blocks);
  }

  /** Colours and flags the tokens, writing only what changes. @param {Sight} sight @param {number} threshold */
  colour(sight, threshold) {
    const neutral = neutralShade(sight.measure, threshold);
    const peaks = new Set(flaggedTokens(sight, threshold).map((token) => this.pieceOf[token]));
    this.pieces.forEach(({ first, last }, index) => {
      if (first < 0) return;
      let shade = sight.shade[first];
      let flagged = false;
      for (let i = first; i <= last; i += 1) {
        shade = Math.min(shade, sight.shade[i]);
        flagged ||= isFlagged(sight.measure, sight.value[i], threshold);
      }
      const { classList } = this.elements[index];
      const old = this.shades[index];
      const now = shadeClass(shade, neutral);
      // An equal class list that is written would still invalidate the element's style.
      if (old !== now) {
        if (!old) classList.add(now);
        else if (now) classList.replace(old, now);
        else classList.remove(old);
        this.shades[index] = now;
      }
      const mark = (flagged ? FLAGGED : 0) | (peaks.has(index) ? PEAK : 0);
      const changed = mark ^ this.marks[index];
      if (changed & FLAGGED) classList.toggle('flagged', flagged);
      if (changed & PEAK) classList.toggle('peak');
      this.marks[index] = mark;
    });
  }

  /**
   * Marks the selected token and brings it into sight.
   * @param {number|null} token @param {boolean} [jump] at once and to the middle, for a sight just opened
   */
  choose(token, jump = false) {
    const index = token === null ? -1 : this.pieceOf[token];
    const old = this.elements[this.chosen];
    old?.classList.remove('chosen');
    old?.removeAttribute('aria-selected');
    this.chosen = index;
    const element = this.elements[index];
    if (!element) {
      this.root.removeAttribute('aria-activedescendant');
      return;
    }
    element.classList.add('chosen');
    element.setAttribute('aria-selected', 'true');
    this.root.setAttribute('aria-activedescendant', element.id);
    bringIntoSight(element, jump);
  }

  /** Marks the token under the pointer, here or in the chart. @param {number|null} token */
  hover(token) {
    const index = token === null ? -1 : this.pieceOf[token];
    if (index === this.hovered) return;
    this.elements[this.hovered]?.classList.remove('hovered');
    this.elements[index]?.classList.add('hovered');
    this.hovered = index;
  }

  /** The token nearest to this one in the next line above (-1) or below (1). @param {number} token @param {-1|1} direction */
  vertical(token, direction) {
    const from = this.elements[this.pieceOf[token]]?.getClientRects()[0];
    if (!from) return null;
    const x = from.left + from.width / 2;
    let best = null;
    let line = NaN;
    let distance = Infinity;
    const trace = /** @type {Trace} */ (this.trace);
    for (let i = token + direction; i >= 0 && i < trace.tokens.length; i += direction) {
      const rect = this.elements[this.pieceOf[i]].getClientRects()[0];
      if (!rect || (rect.top - from.top) * direction < from.height / 2) continue;
      if (Number.isNaN(line)) line = rect.top;
      if (Math.abs(rect.top - line) > from.height / 2) break;
      const away = Math.abs(rect.left + rect.width / 2 - x);
      if (away < distance) [best, distance] = [i, away];
    }
    return best;
  }

  /** @param {EventTarget|null} target */
  #token(target) {
    const element = target instanceof Element ? /** @type {HTMLElement|null} */ (target.closest('.tok')) : null;
    return element ? this.pieces[Number(element.dataset.piece)].first : null;
  }

  /** @param {EventTarget|null} target */
  #point(target) {
    this.on.hover(this.#token(target));
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const token = this.#token(event.target);
    // The end of a drag over the text selects text, not a token.
    if (token !== null && (getSelection()?.isCollapsed ?? true)) this.on.select(token);
  }

  /** Copies the response as it was written, without the marks for white space. @param {ClipboardEvent} event */
  #copy(event) {
    const selection = getSelection();
    if (!selection || selection.rangeCount === 0 || !event.clipboardData) return;
    const range = selection.getRangeAt(0);
    const inside = this.pieces.filter(({ first }, index) => first >= 0 && range.intersectsNode(this.elements[index]));
    if (inside.length < 2) return;
    event.clipboardData.setData('text/plain', inside.map(({ text }) => text).join(''));
    event.preventDefault();
  }
}
