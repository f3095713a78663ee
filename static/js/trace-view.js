// One trace: its question, the tools, the chart, the response, and the panel of the chosen token. Holds the trace and
// the route together: whatever moves, the parts are told from here.

import { Chart } from './chart.js';
import { notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { picture } from './export-png.js';
import { Legend, flaggedText } from './legend.js';
import { MEASURES, isMeasured, measureOf, ruleText, storedThreshold, told } from './measures.js';
import { ResponseView } from './response.js';
import * as router from './router.js';
import { RunDesk } from './run-desk.js';
import { fillMeasures, granularitySwitch, measureSelect, setSwitch, toolRows } from './sight-tools.js';
import { flaggedTokens, isFlagged, look } from './sight.js';
import { TokenPanel } from './token-panel.js';
import { traceHead } from './trace-head.js';

/** @typedef {import('./types.js').Trace} Trace */

export class TraceView {
  /** @param {HTMLElement} panel where the token's numbers go @param {(id: string) => void} remove deletes a trace */
  constructor(panel, remove) {
    this.remove = remove;
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
    this.desk = new RunDesk({ ...on, record: (trace) => this.onRecord(trace) });
    this.panel = new TokenPanel(
      { select: on.select, step: (direction) => this.stepFlagged(direction), close: () => this.release() },
      this.desk,
    );
    this.measure = measureSelect();
    this.by = granularitySwitch();
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
      toolRows(
        this.measure,
        this.legend.root,
        (direction) => this.stepFlagged(direction),
        this.tally,
        this.reset,
        this.by,
      ),
      this.chart.root,
      this.desk.search.root,
      this.desk.bar.root,
    );
    const parts = [this.head, this.hint, this.tools, this.response.root, this.desk.fork.root];
    this.root = h('article', { class: 'trace' }, parts);
  }

  /** Shows a trace by the route. @param {Trace} trace @param {router.Route} route @param {router.Route|null} [before] */
  show(trace, route, before = null) {
    const fresh = this.trace !== trace;
    if (fresh) {
      this.trace = trace;
      this.seen = '';
      this.chosen = null;
      this.hovered = null;
      this.response.show(trace);
      fill(this.head, traceHead(trace, { remove: () => this.remove(trace.id), picture: () => this.#picture() }));
      this.#fillMeasures(trace);
      fill(this.frame, this.panel.root, this.panel.spoken);
    }
    if (fresh || before?.token !== route.token || before.run !== route.run) this.desk.show(trace, route);
    this.#look(trace, route);
    this.#choose(route.token !== null && route.token < trace.tokens.length ? route.token : null, fresh);
    // For measuring, in benches/page.py and in a browser's own tools: the first frame is out.
    if (fresh) requestAnimationFrame(() => setTimeout(() => performance.mark('trace shown')));
  }

  /** Lets go of the trace. */
  leave() {
    this.trace = null;
    this.desk.leave();
  }

  /** Looks again at a trace that has new rollouts or another search. @param {Trace} trace */
  onRecord(trace) {
    if (trace !== this.trace) return;
    this.#fillMeasures(trace);
    this.seen = '';
    this.#look(trace, router.route());
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
      this.legend.show(measure);
      this.measure.value = measure.key;
      this.measure.title = measure.about;
      setSwitch(this.by, route.by);
    }
    this.limit = limit;
    this.flagged = flaggedTokens(this.sight, limit);
    this.response.colour(this.sight, limit);
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
    this.#mark();
  }

  /** @param {number|null} token */
  #hover(token) {
    if (token === this.hovered) return;
    this.hovered = token;
    this.response.hover(token);
    this.#mark();
    // Pointing at another token must not take away what is being typed.
    if (!this.desk.busy) this.#fillPanel(false);
  }

  #mark() {
    this.chart.mark(this.chosen, this.hovered);
    this.desk.search.mark(this.chosen, this.hovered);
  }

  /** @param {boolean} spoken */
  #fillPanel(spoken) {
    if (!this.trace || !this.sight) return;
    const token = (this.desk.busy ? null : this.hovered) ?? this.chosen;
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
          : `${this.sight.measure.label} ${told(this.sight.measure, this.trace.tokens[token], this.trace)}`,
      part: parts.join(' · '),
      spoken,
      chosen: token === this.chosen,
    });
  }

  /** @param {number} token */
  select(token) {
    router.adjust({ token, run: this.desk.runAt(token) });
  }

  /** Rolls out from the chosen token. */
  rollOut() {
    if (this.chosen === null) notice('Choose a token to roll out from.');
    else this.desk.rollOut(this.chosen, { source: 'sampled' });
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

  /** What is seen now, as a picture. */
  #picture() {
    const { trace, sight, limit, response } = this;
    if (!trace || !sight) throw new Error('No trace is open.');
    return picture({ trace, sight, limit, response });
  }

  /** @param {Trace} trace */
  #fillMeasures(trace) {
    fillMeasures(this.measure, (measure) => isMeasured(measure, trace));
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
