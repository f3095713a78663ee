// Two traces side by side: the same tokens under two sets of models, seen by A's measure, by B's, or by what differs;
// or two responses to one question, with what they share and where they part. Every part is linked: what is pointed at
// or chosen in one is marked in the others.

import { Chart } from './chart.js';
import { align } from './compare-align.js';
import { differenceOf } from './compare-measure.js';
import { mostChanged, pairNumbers } from './compare-panel.js';
import { parting, sameTokens } from './compare-summary.js';
import { CompareTools, NAMES, PARTS } from './compare-tools.js';
import { notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { visible } from './format.js';
import { flaggedText } from './legend.js';
import { MEASURES, isMeasured, measureOf, ruleText, storedThreshold } from './measures.js';
import { ResponseView } from './response.js';
import * as router from './router.js';
import { fillMeasures } from './sight-tools.js';
import { flaggedTokens, look } from './sight.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./measures.js').Measure} Measure */
/** @typedef {import('./compare-tools.js').Part} Part */

/** Below this width the numbers are a sheet, and the table of changes stands under the texts. */
const NARROW = matchMedia('(max-width: 1180px)');

export class ComparePair {
  /** @param {HTMLElement} frame where the numbers go */
  constructor(frame) {
    this.frame = frame;
    /** @type {{a: Trace, b: Trace}|null} */
    this.pair = null;
    /** @type {import('./compare-align.js').Alignment} */
    this.alignment = { same: false, common: 0, other: [new Int32Array(0), new Int32Array(0)] };
    /** @type {Partial<Record<Part, import('./sight.js').Sight>>} */
    this.sights = {};
    /** @type {Part[]} The parts whose flagged tokens are walked. */
    this.walked = ['a'];
    this.limit = 0;
    this.seen = '';
    /** @type {{a: number, b: number}} -1 for none */
    this.chosen = { a: -1, b: -1 };
    this.hovered = { a: -1, b: -1 };

    const on = (/** @type {Part} */ part) => ({
      hover: (/** @type {number|null} */ token) => this.#hover(part, token),
      select: (/** @type {number} */ token) => this.select(part, token),
    });
    this.responses = /** @type {Record<Part, ResponseView>} */ ({});
    this.charts = /** @type {Record<Part, Chart>} */ ({});
    for (const part of PARTS) {
      this.responses[part] = new ResponseView(on(part), part, `Response ${NAMES[part]}, token by token`);
      this.charts[part] = new Chart(on(part));
    }
    this.tools = new CompareTools(this.charts, (direction) => this.stepFlagged(direction));
    this.summary = h('p', { class: 'compare-summary', role: 'status' });
    const column = (/** @type {Part} */ part) =>
      h(
        'section',
        { class: `compare-text ${part}`, 'aria-label': NAMES[part] },
        h('h2', { class: 'compare-side' }, NAMES[part]),
        this.responses[part].root,
      );
    this.changes = h('section', { class: 'changes-at', 'aria-label': 'Changed most' });
    this.root = h(
      'div',
      { class: 'compare-pair' },
      this.summary,
      this.tools.root,
      h('div', { class: 'compare-texts' }, PARTS.map(column)),
      this.changes,
    );
    this.panel = h('div', { class: 'panel-body' });
    this.spoken = h('p', { class: 'unseen', 'aria-live': 'polite' });
    NARROW.addEventListener('change', () => {
      if (this.panel.parentElement !== this.frame) return;
      fill(this.changes, NARROW.matches ? this.#mostChanged() : null);
      this.#fillPanel(false);
    });
  }

  /** @param {Trace} a @param {Trace} b @param {router.Route} route */
  show(a, b, route) {
    const fresh = this.pair?.a !== a || this.pair?.b !== b;
    if (fresh) {
      this.pair = { a, b };
      this.alignment = align(a, b);
      this.seen = '';
      this.chosen = { a: -1, b: -1 };
      this.hovered = { a: -1, b: -1 };
      this.responses.a.show(a);
      this.responses.b.show(b);
      if (this.alignment.same) this.responses.change.show(a);
      else this.#markWords();
      this.root.dataset.mode = this.alignment.same ? 'same' : 'other';
      fillMeasures(this.tools.measure, (measure) => isMeasured(measure, a) || isMeasured(measure, b));
    }
    if (this.panel.parentElement !== this.frame) fill(this.frame, this.panel, this.spoken);
    this.#look({ a, b }, route);
    this.#choose(route, fresh);
  }

  /** Takes its numbers out of the frame. */
  leave() {
    this.frame.classList.remove('open');
    document.body.classList.remove('sheet-open');
  }

  /** @param {{a: Trace, b: Trace}} pair @param {router.Route} route */
  #look({ a, b }, route) {
    const { same, common } = this.alignment;
    const measured = (/** @type {Measure} */ one) => isMeasured(one, a) || isMeasured(one, b);
    const wanted = measureOf(route.measure);
    const measure = measured(wanted) ? wanted : (MEASURES.find(measured) ?? wanted);
    const difference = same ? differenceOf(measure, a, b) : null;
    const shown = same ? (route.look ?? 'change') : route.look === 'b' ? 'b' : 'a';
    const drawn = shown === 'change' && difference ? difference : measure;
    const own = drawn === MEASURES[0] ? storedThreshold(a) : drawn.threshold;
    const limit = route.threshold ?? own;
    const seen = [measure.key, route.by, same ? shown : ''].join(' ');
    /** @type {Part[]} */
    const walked = shown === 'both' ? ['a', 'b'] : [shown];
    if (this.seen === seen && this.limit === limit && this.walked.join() === walked.join()) return;
    this.walked = walked;
    this.limit = limit;
    if (this.seen !== seen) {
      this.seen = seen;
      this.root.dataset.look = same ? shown : 'both';
      this.sights = {
        a: look(a, this.responses.a.pieces, measure, route.by),
        b: look(b, this.responses.b.pieces, measure, route.by),
        ...(difference && { change: look(a, this.responses.change.pieces, difference, route.by) }),
      };
      this.tools.show(measure, drawn, route.by, same ? shown : null);
      const select = (/** @type {Part} */ side, /** @type {number} */ token) => this.select(side, token);
      fill(
        this.summary,
        this.sights.change ? sameTokens(a, this.sights.change, measure) : parting({ a, b }, common, select),
      );
      fill(this.changes, NARROW.matches ? this.#mostChanged() : null);
    }
    this.tools.legend.threshold(limit);
    const flags = [];
    for (const [part, sight] of this.#drawn()) {
      // Beside a difference, A's and B's own pictures keep their own threshold.
      const at = sight.measure === drawn ? limit : sight.measure.threshold;
      this.responses[part].colour(sight, at);
      const units = sight.worst.filter((token) => token >= 0).length;
      const flagged = flaggedText(flaggedTokens(sight, at).length, units, route.by);
      this.charts[part].show(sight, at, `${NAMES[part]}: ${sight.measure.label} by position, ${flagged}`);
      if (walked.includes(part)) flags.push(walked.length > 1 ? `${NAMES[part]} ${flagged}` : flagged);
    }
    this.tools.tally.textContent = flags.join(' · ');
    this.tools.tally.title = ruleText(drawn, limit);
    this.#fillPanel(false);
  }

  /** @returns {[Part, import('./sight.js').Sight][]} */
  #drawn() {
    return /** @type {any} */ (Object.entries(this.sights));
  }

  /** The tokens beside each other, of which one stands in a part. @param {Part} part @param {number|null} token */
  #beside(part, token) {
    if (token === null) return { a: -1, b: -1 };
    if (this.alignment.same) return { a: token, b: token };
    const { common, other } = this.alignment;
    const [toB, toA] = other;
    // Where they part, each stands in the other's place.
    if (token === common) return { a: common in toB ? common : -1, b: common in toA ? common : -1 };
    return part === 'b' ? { a: toA[token], b: token } : { a: token, b: toB[token] };
  }

  /** @param {router.Route} route @param {boolean} fresh */
  #choose(route, fresh) {
    const { a, b } = /** @type {{a: Trace, b: Trace}} */ (this.pair);
    const part = !this.alignment.same && route.look === 'b' ? 'b' : 'a';
    const token = route.token !== null && route.token < (part === 'b' ? b : a).tokens.length ? route.token : null;
    const chosen = this.#beside(part, token);
    if (chosen.a === this.chosen.a && chosen.b === this.chosen.b && !fresh) return;
    this.chosen = chosen;
    this.#fillPanel(token !== null && !fresh);
    // The part that was meant comes last: it is the one that must be in sight.
    for (const one of /** @type {Part[]} */ (part === 'b' ? ['change', 'a', 'b'] : ['change', 'b', 'a'])) {
      const at = one === 'b' ? chosen.b : chosen.a;
      this.responses[one].choose(at < 0 || (one === 'change' && !this.alignment.same) ? null : at, fresh);
    }
    this.#markCharts();
  }

  /** @param {Part} part @param {number|null} token */
  #hover(part, token) {
    const hovered = this.#beside(part, token);
    if (hovered.a === this.hovered.a && hovered.b === this.hovered.b) return;
    this.hovered = hovered;
    for (const one of PARTS) this.responses[one].hover(one === 'b' ? orNull(hovered.b) : orNull(hovered.a));
    this.#markCharts();
    this.#fillPanel(false);
  }

  #markCharts() {
    for (const part of PARTS) {
      const of = part === 'b' ? 'b' : 'a';
      this.charts[part].mark(orNull(this.chosen[of]), orNull(this.hovered[of]));
    }
  }

  /** What both share and what only one has, in two different responses. */
  #markWords() {
    const { common, other } = this.alignment;
    for (const [side, part] of /** @type {[0|1, Part][]} */ ([
      [0, 'a'],
      [1, 'b'],
    ])) {
      const { pieces, elements } = this.responses[part];
      pieces.forEach(({ first }, index) => {
        if (first < 0) return;
        elements[index].classList.toggle('common', first < common);
        elements[index].classList.toggle('differs', other[side][first] < 0);
        elements[index].classList.toggle('parts', first === common);
      });
    }
  }

  /** The table of changes; it stands in the panel, or under the texts where the panel is a sheet. */
  #mostChanged() {
    const { pair, sights } = this;
    if (!pair || !sights.a || !sights.change) return null;
    return mostChanged(pair, sights.a.measure, sights.change, (token) => this.select('a', token));
  }

  /** @param {boolean} spoken */
  #fillPanel(spoken) {
    if (!this.pair || !this.sights.a) return;
    const { same, common } = this.alignment;
    const hovering = this.hovered.a >= 0 || this.hovered.b >= 0;
    const chosen = this.chosen.a >= 0 || this.chosen.b >= 0;
    this.frame.classList.toggle('open', chosen);
    document.body.classList.toggle('sheet-open', chosen);
    const at = hovering ? this.hovered : chosen ? this.chosen : null;
    const { a, b } = this.pair;
    if (!at && same) {
      fill(this.panel, NARROW.matches ? null : this.#mostChanged());
      return;
    }
    const { a: i, b: j } = at ?? { a: common, b: common };
    const tokens = { a: a.tokens[i] ?? null, b: b.tokens[j] ?? null };
    const where = same ? `Token ${i}` : [tokens.a && `A ${i}`, tokens.b && `B ${j}`].filter(Boolean).join(', ');
    const step = (/** @type {string} */ text, /** @type {string} */ title, /** @type {() => void} */ click) =>
      h('button', { type: 'button', class: 'quiet', title, 'aria-label': title, on: { click } }, text);
    fill(
      this.panel,
      h(
        'div',
        { class: 'panel-head' },
        h('h2', {}, at ? where : 'Where they part'),
        at
          ? h(
              'div',
              { class: 'panel-steps' },
              step('‹ flagged', 'Previous flagged token (k)', () => this.stepFlagged(-1)),
              step('flagged ›', 'Next flagged token (j)', () => this.stepFlagged(1)),
              step('✕', 'Let go of the token (Esc)', () => this.release()),
            )
          : null,
      ),
      pairNumbers(this.pair, tokens, i === j && i <= common),
    );
    if (spoken) {
      const one = tokens.a ?? tokens.b;
      this.spoken.textContent = `${where}, ${visible(one?.text ?? '')}`;
    }
  }

  /** @param {Part} part @param {number} token */
  select(part, token) {
    router.adjust(this.alignment.same ? { token } : { token, look: part === 'b' ? 'b' : 'a' });
  }

  release() {
    router.adjust({ token: null });
  }

  /** The side in which the keys walk, and where they stand in it. */
  #walk() {
    const side = /** @type {'a'|'b'} */ (this.walked[0] === 'b' ? 'b' : 'a');
    const trace = /** @type {{a: Trace, b: Trace}} */ (this.pair)[side];
    return { side, at: orNull(this.chosen[side]), last: trace.tokens.length - 1 };
  }

  /** @param {-1|1} direction */
  step(direction) {
    const { side, at, last } = this.#walk();
    const next = at === null ? (direction > 0 ? 0 : last) : at + direction;
    if (next >= 0 && next <= last) this.select(side, next);
  }

  /** @param {-1|1} direction */
  stepFlagged(direction) {
    const { side, at } = this.#walk();
    const flagged = [
      ...new Set(this.walked.flatMap((part) => flaggedTokens(/** @type {any} */ (this.sights[part]), this.limit))),
    ];
    flagged.sort((x, y) => x - y);
    if (!flagged.length) {
      notice('No token is flagged at this threshold.');
      return;
    }
    const next =
      direction > 0
        ? (flagged.find((token) => at === null || token > at) ?? flagged[0])
        : (flagged.findLast((token) => at === null || token < at) ?? flagged[flagged.length - 1]);
    this.select(side, next);
  }

  /** @param {-1|1} direction */
  stepLine(direction) {
    const { side, at } = this.#walk();
    const part = this.alignment.same ? this.walked[0] : side;
    const next = this.responses[part].vertical(at ?? 0, direction);
    if (next !== null) this.select(side, next);
  }
}

/** @param {number} token */
function orNull(token) {
  return token < 0 ? null : token;
}
