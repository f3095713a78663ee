// One trace: its question, the tools, the chart, the response, and the panel of the chosen token. Holds the trace and
// the route together: whatever moves, the parts are told from here.

import { Chart } from './chart.js';
import { notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { Legend, flaggedText } from './legend.js';
import { MEASURES, isMeasured, measureOf, ruleText, storedThreshold } from './measures.js';
import { GRANULARITIES } from './pieces.js';
import { ResponseView } from './response.js';
import * as router from './router.js';
import { flaggedTokens, isFlagged, look } from './sight.js';
import { TokenPanel } from './token-panel.js';
import { traceHead } from './trace-head.js';

/** @typedef {import('./types.js').Trace} Trace */

export class TraceView {
  /** @param {HTMLElement} panel where the token's numbers go @param {() => void} onDeleted */
  constructor(panel, onDeleted) {
    this.onDeleted = onDeleted;
    this.frame = panel;
    /** @type {Trace|null} */
    this.trace = null;
    /** @type {import('./sight.js').Sight|null} */
    this.sight = null;
    this.limit = 0;
    /** @type {number[]} */
    this.flagged = [];
    /** @type {number|null} */
    this.chosen = null;
    /** @type {number|null} */
    this.hovered = null;
    this.seen = '';

    const on = {
      hover: (/** @type {number|null} */ token) => this.#hover(token),
      select: (/** @type {number} */ token) => this.select(token),
    };
    this.response = new ResponseView(on);
    this.chart = new Chart(on);
    this.legend = new Legend((threshold) => router.adjust({ threshold }));
    this.panel = new TokenPanel({
      select: on.select,
      step: (direction) => this.stepFlagged(direction),
      close: () => this.release(),
    });
    this.measure = h('select', {
      id: 'measure',
      on: { change: () => router.open({ measure: this.measure.value, threshold: null }) },
    });
    this.by = h(
      'fieldset',
      { class: 'switch' },
      h('legend', { class: 'unseen' }, 'Granularity'),
      GRANULARITIES.map(({ key, label, about }) =>
        h(
          'label',
          { title: about },
          h('input', {
            type: 'radio',
            name: 'by',
            value: key,
            on: { change: () => router.open({ by: /** @type {any} */ (key) }) },
          }),
          h('span', {}, label),
        ),
      ),
    );
    this.tally = h('span', { class: 'num', id: 'tally' });
    this.reset = h('button', {
      type: 'button',
      class: 'quiet',
      hidden: true,
      on: { click: () => router.adjust({ threshold: null }) },
    });
    this.head = h('header', { class: 'trace-head' });
    this.hint = h('div', {});
    this.tools = h(
      'div',
      { class: 'tools' },
      h(
        'div',
        { class: 'tools-row' },
        h('label', {}, h('span', { class: 'label' }, 'measure'), this.measure),
        this.legend.root,
      ),
      h(
        'div',
        { class: 'tools-row tally' },
        h(
          'button',
          {
            type: 'button',
            class: 'quiet',
            title: 'Previous flagged token (k)',
            'aria-label': 'Previous flagged token',
            on: { click: () => this.stepFlagged(-1) },
          },
          '‹ k',
        ),
        h(
          'button',
          {
            type: 'button',
            class: 'quiet',
            title: 'Next flagged token (j)',
            'aria-label': 'Next flagged token',
            on: { click: () => this.stepFlagged(1) },
          },
          'j ›',
        ),
        this.tally,
        this.reset,
        this.by,
      ),
      this.chart.root,
    );
    this.root = h('article', { class: 'trace' }, this.head, this.hint, this.tools, this.response.root);
  }

  /** Shows a trace by the route. @param {Trace} trace @param {router.Route} route */
  show(trace, route) {
    const fresh = this.trace !== trace;
    if (fresh) {
      this.trace = trace;
      this.seen = '';
      this.chosen = null;
      this.hovered = null;
      this.response.show(trace);
      fill(this.head, traceHead(trace, this.onDeleted));
      this.#fillMeasures(trace);
      fill(this.frame, this.panel.root, this.panel.spoken);
    }
    this.#look(trace, route);
    this.#choose(route.token !== null && route.token < trace.tokens.length ? route.token : null, fresh);
  }

  /** Applies measure, granularity and threshold, doing no more than has changed. @param {Trace} trace @param {router.Route} route */
  #look(trace, route) {
    const wanted = measureOf(route.measure);
    const measure = isMeasured(wanted, trace) ? wanted : (MEASURES.find((other) => isMeasured(other, trace)) ?? wanted);
    const limit = route.threshold ?? (measure === MEASURES[0] ? storedThreshold(trace) : measure.threshold);
    const seen = `${measure.key} ${route.by}`;
    if (this.seen === seen && this.limit === limit) return;
    if (this.seen !== seen || !this.sight) {
      this.seen = seen;
      this.sight = look(trace, this.response.pieces, measure, route.by);
      this.response.measure(this.sight);
      this.legend.show(measure);
      this.measure.value = measure.key;
      this.measure.title = measure.about;
      /** @type {HTMLInputElement} */ (this.by.querySelector(`[value="${route.by}"]`)).checked = true;
    }
    this.limit = limit;
    this.flagged = flaggedTokens(this.sight, limit);
    this.response.threshold(this.sight, limit);
    this.legend.threshold(limit);
    const units = this.sight.worst.filter((token) => token >= 0).length;
    this.tally.textContent = flaggedText(this.flagged.length, units, route.by);
    const stored = measure === MEASURES[0] ? storedThreshold(trace) : measure.threshold;
    this.reset.hidden = limit === stored;
    this.reset.textContent = `back to ${ruleText(measure, stored)}`;
    this.chart.show(
      this.sight,
      limit,
      `${measure.label} by position, ${this.tally.textContent} (${ruleText(measure, limit)})`,
    );
    this.#fillPanel(false);
  }

  /** @param {number|null} token @param {boolean} fresh */
  #choose(token, fresh) {
    if (token === this.chosen && !fresh) return;
    this.chosen = token;
    // The panel first: on a narrow page its sheet takes the room that the token must be scrolled out of.
    this.#fillPanel(token !== null && !fresh);
    this.response.choose(token, fresh);
    this.chart.mark(token, this.hovered);
  }

  /** @param {number|null} token */
  #hover(token) {
    if (token === this.hovered) return;
    this.hovered = token;
    this.response.hover(token);
    this.chart.mark(this.chosen, token);
    this.#fillPanel(false);
  }

  /** @param {boolean} spoken */
  #fillPanel(spoken) {
    if (!this.trace || !this.sight) return;
    const token = this.hovered ?? this.chosen;
    this.frame.classList.toggle('open', this.chosen !== null);
    document.body.classList.toggle('sheet-open', this.chosen !== null);
    if (token === null) {
      this.panel.overview(this.trace, this.sight);
      return;
    }
    const { first, last } = this.response.pieces[this.response.pieceOf[token]];
    const parts = [];
    if (last > first) parts.push(`part ${token - first + 1} of ${last - first + 1} of one character`);
    if (token === 0 && this.trace.response.straddles_boundary) parts.push('begins in the prompt');
    this.panel.show(this.trace, token, {
      flagged: isFlagged(this.sight.measure, this.sight.value[token], this.limit),
      rule: ruleText(this.sight.measure, this.limit),
      shown:
        this.sight.measure === MEASURES[0]
          ? ''
          : `${this.sight.measure.label} ${this.sight.measure.format(this.sight.measure.value(this.trace.tokens[token]))}`,
      part: parts.join(' · '),
      spoken,
    });
  }

  /** @param {number} token */
  select(token) {
    router.adjust({ token });
  }

  release() {
    router.adjust({ token: null });
  }

  /** To the next or previous token, whatever it is. @param {-1|1} direction */
  step(direction) {
    const { trace, chosen } = this;
    if (!trace) return;
    const next = chosen === null ? (direction > 0 ? 0 : trace.tokens.length - 1) : chosen + direction;
    if (next >= 0 && next < trace.tokens.length) this.select(next);
  }

  /** To the next or previous flagged token; from the last on to the first. @param {-1|1} direction */
  stepFlagged(direction) {
    const { flagged, chosen } = this;
    if (!flagged.length) {
      notice('No token is flagged at this threshold.');
      return;
    }
    const next =
      direction > 0
        ? (flagged.find((token) => chosen === null || token > chosen) ?? flagged[0])
        : (flagged.findLast((token) => chosen === null || token < chosen) ?? flagged[flagged.length - 1]);
    this.select(next);
  }

  /** To the line above or below. @param {-1|1} direction */
  stepLine(direction) {
    const next = this.response.vertical(this.chosen ?? 0, direction);
    if (next !== null) this.select(next);
  }

  /** @param {Trace} trace */
  #fillMeasures(trace) {
    fill(
      this.measure,
      MEASURES.map((measure) =>
        h('option', { value: measure.key, disabled: !isMeasured(measure, trace), title: measure.about }, measure.label),
      ),
    );
    const unscored = !isMeasured(MEASURES[0], trace);
    fill(
      this.hint,
      unscored
        ? h(
            'p',
            { class: 'banner', id: 'no-scores' },
            'No s_t: this trace was scored by the base model alone. The base’s own measures are shown. To contrast, ',
            h('a', { href: '/?view=models', data: { nav: 'models' } }, 'load a positive and a negative adapter'),
            ', then ',
            h(
              'a',
              { href: router.address({ ...router.parse(''), view: 'new', from: trace.id }), data: { nav: 'again' } },
              'score it again',
            ),
            '.',
          )
        : null,
    );
  }
}
