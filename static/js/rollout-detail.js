// The rollouts of a chosen branch, one at a time: the whole text with its forced token marked, or compared word by word
// with the response or another rollout; and from here into a preference pair.

import { fill, h } from './dom.js';
import { count, integer, plain, verdictMark, visible } from './format.js';
import { comparison, ending } from './rollout-compare.js';
import { aroundAnswer, endText, forcedToken, responseParts, rolloutParts, whole } from './rollout-full.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').Rollout} Rollout */

/** A choice offers no more texts than this of each token. */
const OFFERED = 12;

/** Rollouts with the same token and text as one, most frequent first. @param {Rollout[]} rollouts */
export function distinct(rollouts) {
  /** @type {Map<string, {rollout: Rollout, times: number}>} */
  const texts = new Map();
  for (const rollout of rollouts) {
    const key = `${rollout.alternative} ${rollout.text}`;
    const same = texts.get(key);
    if (same) same.times += 1;
    else texts.set(key, { rollout, times: 1 });
  }
  return [...texts.values()].sort((a, b) => b.times - a.times);
}

/** One rollout in short: verdict, token, answer. @param {Rollouts} set @param {Rollout} rollout */
export function shortText(set, { alternative, verdict, index }) {
  const { symbol, word } = verdictMark(verdict.status);
  return `${symbol} ${visible(forcedToken(set, alternative).text)} #${index + 1}: ${plain(verdict.extracted ?? word)}`;
}

export class RolloutDetail {
  /** @param {(rollout: Rollout) => void} onPair */
  constructor(onPair) {
    this.onPair = onPair;
    /** @type {Trace|null} */
    this.trace = null;
    /** @type {Rollouts|null} */
    this.set = null;
    /** @type {{rollout: Rollout, times: number}[]} */
    this.texts = [];
    this.at = 0;
    this.step = h('span', { class: 'detail-steps' });
    this.head = h('p', { class: 'detail-head', role: 'status' });
    this.with = h('select', { id: 'compare-with', on: { change: () => this.#text() } });
    this.pair = h(
      'button',
      { type: 'button', id: 'add-pair', on: { click: () => this.onPair(this.texts[this.at].rollout) } },
      'Add as preference pair…',
    );
    this.body = h('div', {});
    this.root = h(
      'section',
      { class: 'detail', 'aria-label': 'The chosen rollout', hidden: true },
      h('div', { class: 'detail-bar' }, this.head, this.step),
      h(
        'div',
        { class: 'detail-bar' },
        h('label', { class: 'rollout-line' }, h('span', { class: 'label' }, 'compare with'), this.with),
        this.pair,
      ),
      this.body,
    );
  }

  /** @param {Trace} trace @param {Rollouts} set @param {Rollout[]} rollouts of the chosen branch; none hides it */
  show(trace, set, rollouts) {
    const before = this.set;
    this.trace = trace;
    this.set = set;
    this.texts = distinct(rollouts);
    this.at = 0;
    this.root.hidden = !this.texts.length;
    if (!this.texts.length) return;
    this.#choices(before?.id === set.id ? this.with.value : 'response');
    this.#text();
  }

  /** @param {string} chosen */
  #choices(chosen) {
    const set = /** @type {Rollouts} */ (this.set);
    const groups = [null, ...set.alternatives.keys()].map((alternative) => {
      const texts = distinct((set.rollouts ?? []).filter((rollout) => rollout.alternative === alternative));
      return { alternative, texts: texts.slice(0, OFFERED) };
    });
    fill(
      this.with,
      h('option', { value: '' }, 'nothing: the whole text'),
      h('option', { value: 'response' }, 'the response'),
      groups.map(({ alternative, texts }) =>
        texts.length
          ? h(
              'optgroup',
              { label: `after ${visible(forcedToken(set, alternative).text)}` },
              texts.map(({ rollout, times }) =>
                h(
                  'option',
                  { value: `${alternative} ${rollout.index}` },
                  `${shortText(set, rollout)}${times > 1 ? ` ×${integer(times)}` : ''}`,
                ),
              ),
            )
          : null,
      ),
    );
    this.with.value = chosen;
    if (this.with.selectedIndex < 0) this.with.value = 'response';
  }

  #text() {
    const { trace, set } = this;
    const { rollout, times } = this.texts[this.at];
    if (!trace || !set) return;
    const { symbol, word } = verdictMark(rollout.verdict.status);
    fill(
      this.head,
      h('span', { class: `verdict ${rollout.verdict.status}` }, `${symbol} ${word}`),
      rollout.verdict.extracted === null
        ? ''
        : [', answers ', h('b', { class: 'num' }, plain(rollout.verdict.extracted))],
      h('span', { class: 'hint num' }, ` · ${times > 1 ? `the same text ${times} times` : endText(rollout)}`),
    );
    fill(this.step, this.texts.length > 1 ? this.#steps() : null);
    const [alternative, index] = this.with.value.split(' ');
    const other = set.rollouts?.find((one) => String(one.alternative) === alternative && String(one.index) === index);
    const own = { label: () => label(set, rollout), text: whole(rolloutParts(trace, set, rollout)) };
    if (this.with.value === 'response') {
      const response = whole(responseParts(trace, set.position));
      fill(this.body, comparison({ label: () => responseLabel(trace), text: response }, own));
    } else if (other) {
      const text = whole(rolloutParts(trace, set, other));
      fill(this.body, comparison({ label: () => label(set, other), text }, own));
    } else fill(this.body, this.#whole(rollout));
  }

  /** @param {Rollout} rollout */
  #whole(rollout) {
    const { kept, forced } = rolloutParts(
      /** @type {Trace} */ (this.trace),
      /** @type {Rollouts} */ (this.set),
      rollout,
    );
    const [before, answer, after] = aroundAnswer(rollout);
    return h(
      'p',
      { class: 'model-text', id: 'rollout-text' },
      h('span', { class: 'shared' }, plain(ending(kept))),
      h('mark', { class: 'forced', title: 'The token that was forced here' }, plain(forced)),
      plain(before),
      answer
        ? h('b', { class: `read ${rollout.verdict.status}`, title: 'The answer that was read' }, plain(answer))
        : null,
      plain(after),
    );
  }

  #steps() {
    const go = (/** @type {number} */ by) => {
      this.at = (this.at + by + this.texts.length) % this.texts.length;
      this.#text();
      /** @type {HTMLElement|null} */ (this.step.querySelector(by < 0 ? '.back-step' : '.next-step'))?.focus();
    };
    const button = (/** @type {number} */ by, /** @type {string} */ name) =>
      h(
        'button',
        {
          type: 'button',
          class: `quiet ${by < 0 ? 'back-step' : 'next-step'}`,
          'aria-label': name,
          on: { click: () => go(by) },
        },
        by < 0 ? '‹' : '›',
      );
    return [
      button(-1, 'Previous text of this branch'),
      h('span', { class: 'num' }, `${integer(this.at + 1)} of ${count(this.texts.length, 'text')}`),
      button(1, 'Next text of this branch'),
    ];
  }
}

/** @param {Rollouts} set @param {Rollout} rollout */
function label(set, rollout) {
  const { symbol, word } = verdictMark(rollout.verdict.status);
  return [
    h('span', { class: `verdict ${rollout.verdict.status}` }, `${symbol} ${word}`),
    ' after ',
    h('span', { class: 'chip' }, visible(forcedToken(set, rollout.alternative).text)),
  ];
}

/** @param {Trace} trace */
function responseLabel({ verdict }) {
  const { symbol, word } = verdictMark(verdict?.status);
  return [h('span', { class: `verdict ${verdict?.status ?? 'none'}` }, `${symbol} ${word}`), ' the response'];
}
