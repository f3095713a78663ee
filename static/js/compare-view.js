// Compare: which two traces, and what is between. Without a second one it proposes some, and scores the first again.

import * as api from './api.js';
import { ComparePair } from './compare-pair.js';
import { contrastOf, isSameResponse, pickTrace, sameQuestion, traceLine } from './compare-pick.js';
import { rescoreForm } from './compare-rescore.js';
import { fill, h } from './dom.js';
import { lastQuestion, plain, verdictMark, when } from './format.js';
import * as router from './router.js';
import { empty, failed, loading } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */

export class CompareView {
  /**
   * @param {object} page
   * @param {(id: string, signal?: AbortSignal) => Promise<Trace>} page.traceOf
   * @param {(trace: Trace) => void} page.keep
   * @param {HTMLElement} page.panel where the token's numbers go
   * @param {() => void} page.onScored told when a trace was scored here
   */
  constructor(page) {
    this.page = page;
    /** @type {AbortController|null} */
    this.running = null;
    this.asked = '';
    this.pair = new ComparePair(page.panel);
    this.head = h('header', { class: 'compare-head' });
    this.body = h('div', { class: 'compare-body' });
    this.root = h(
      'article',
      { class: 'compare' },
      h('h1', { class: 'unseen' }, 'Compare two traces'),
      this.head,
      this.body,
    );
  }

  /** The pair whose tokens the keys walk over, once both are there. */
  get walked() {
    return this.pair.root.isConnected ? this.pair : null;
  }

  /** @param {router.Route} route @param {router.Route|null} before */
  async show(route, before) {
    const asked = [route.trace, route.with].join(' ');
    if (asked === this.asked && before?.view === 'compare' && this.walked) {
      const { pair } = this.pair;
      if (pair) this.pair.show(pair.a, pair.b, route);
      return;
    }
    this.asked = asked;
    this.running?.abort();
    const request = new AbortController();
    this.running = request;
    this.pair.leave();
    fill(this.page.panel);
    fill(this.head);
    fill(this.body, loading('Opening the traces…'));
    try {
      const [a, b] = await Promise.all(
        [route.trace, route.with].map((id) => id && this.page.traceOf(id, request.signal)),
      );
      if (request.signal.aborted) return;
      this.#draw(a || null, b || null);
    } catch (error) {
      if (request.signal.aborted) return;
      const missing = error instanceof api.ApiError && error.status === 404;
      this.#drawHead(null, null);
      fill(
        this.body,
        failed(
          missing ? 'One of these traces is not stored' : 'The traces could not be opened',
          error,
          missing ? null : () => this.#again(),
        ),
      );
    }
  }

  leave() {
    this.running?.abort();
    this.asked = '';
    this.pair.leave();
  }

  /** Changes the sides. */
  swap() {
    const { trace, with: other, look } = router.route();
    if (!trace || !other) return;
    router.open({ trace: other, with: trace, look: look === 'a' ? 'b' : look === 'b' ? 'a' : look });
  }

  #again() {
    this.asked = '';
    this.show(router.route(), null);
  }

  /** @param {Trace|null} a @param {Trace|null} b */
  #draw(a, b) {
    this.#drawHead(a, b);
    if (a && b) {
      fill(this.body, this.pair.root);
      this.pair.show(a, b, router.route());
    } else if (a || b) this.#propose(/** @type {Trace} */ (a ?? b), a ? 'B' : 'A');
    else {
      fill(
        this.body,
        empty(
          'Compare two traces',
          'The same trajectory by two sets of models, token by token; or two responses to one question, and where they part.',
          h(
            'button',
            { type: 'button', class: 'main-button', on: { click: () => this.#pick('A', null) } },
            'Choose the first',
          ),
        ),
      );
    }
  }

  /** @param {Trace|null} a @param {Trace|null} b */
  #drawHead(a, b) {
    fill(
      this.head,
      this.#card('A', a, b),
      h(
        'button',
        {
          type: 'button',
          class: 'quiet swap',
          title: 'Swap A and B (c)',
          'aria-label': 'Swap A and B',
          disabled: !a || !b,
          on: { click: () => this.swap() },
        },
        '⇄',
      ),
      this.#card('B', b, a),
    );
  }

  /** @param {'A'|'B'} side @param {Trace|null} trace @param {Trace|null} other */
  #card(side, trace, other) {
    const pick = h(
      'button',
      {
        type: 'button',
        class: 'quiet',
        'aria-label': `Choose trace ${side}`,
        on: { click: () => this.#pick(side, other) },
      },
      trace ? 'Change…' : 'Choose…',
    );
    if (!trace) {
      return h(
        'section',
        { class: 'compare-card none', 'aria-label': `Trace ${side}` },
        h('span', { class: 'side-letter' }, side),
        h('p', { class: 'hint' }, 'not chosen'),
        pick,
      );
    }
    const { symbol, word } = verdictMark(trace.verdict?.status);
    return h(
      'section',
      { class: 'compare-card', 'aria-label': `Trace ${side}` },
      h('span', { class: 'side-letter' }, side),
      h(
        'a',
        {
          class: 'compare-card-text',
          href: router.address({ ...router.parse(''), trace: trace.id }),
          title: 'Open this trace by itself',
          data: { nav: 'here' },
        },
        h(
          'span',
          { class: 'compare-card-top' },
          h('span', { class: `verdict ${trace.verdict?.status ?? 'none'}` }, `${symbol} ${word}`),
          contrastOf(trace),
          h('span', { class: 'hint' }, when(trace.created)),
        ),
        h('span', { class: 'row-sub' }, plain(lastQuestion(trace.prompt.text.trim()))),
      ),
      pick,
    );
  }

  /** @param {'A'|'B'} side @param {Trace|null} other */
  async #pick(side, other) {
    const id = await pickTrace(side, other);
    if (id) this.#take(side, id);
  }

  /** @param {'A'|'B'} side @param {string} id */
  #take(side, id) {
    router.open({ ...(side === 'A' ? { trace: id } : { with: id }), token: null, look: null, threshold: null });
  }

  /** What the one trace can be compared with. @param {Trace} trace @param {'A'|'B'} side */
  async #propose(trace, side) {
    const proposals = h('div', { class: 'proposals' }, loading('Looking for traces of the same question…'));
    fill(
      this.body,
      h('h2', {}, `Compare it with`),
      proposals,
      h(
        'p',
        { class: 'state-actions' },
        h('button', { type: 'button', on: { click: () => this.#pick(side, trace) } }, 'Another trace…'),
      ),
      h('h2', {}, 'Or with itself, by other models'),
      rescoreForm(trace, (scored) => {
        this.page.keep(scored);
        this.page.onScored();
        const { view, trace: a, with: b } = router.route();
        // The reader may have gone on to something else meanwhile.
        if (view === 'compare' && (side === 'A' ? b : a) === trace.id) this.#take(side, scored.id);
      }),
    );
    try {
      const rows = await sameQuestion(trace, this.running?.signal);
      fill(
        proposals,
        rows.length
          ? h(
              'ul',
              { class: 'proposal-list' },
              rows.map((row) =>
                h(
                  'li',
                  {},
                  h(
                    'button',
                    { type: 'button', class: 'proposal', on: { click: () => this.#take(side, row.id) } },
                    h('span', { class: 'badge' }, isSameResponse(row, trace) ? 'same response' : 'other response'),
                    traceLine(row),
                  ),
                ),
              ),
            )
          : h('p', { class: 'hint' }, 'No other trace of this question is stored.'),
      );
    } catch (error) {
      if (!this.running?.signal.aborted) fill(proposals, failed('The traces could not be listed', error));
    }
  }
}
