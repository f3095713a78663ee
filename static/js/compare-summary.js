// What a comparison comes to, in one sentence.

import { changedTokens } from './compare-panel.js';
import { h } from './dom.js';
import { count, visible } from './format.js';

/** @typedef {import('./types.js').Trace} Trace */

/** Of the same tokens. @param {Trace} trace @param {import('./sight.js').Sight} difference @param {import('./measures.js').Measure} measure */
export function sameTokens(trace, difference, measure) {
  const { worse, better } = changedTokens(difference);
  return [
    `The same ${count(trace.tokens.length, 'token')}: in B `,
    h('b', { class: 'num' }, worse),
    ' look more suspicious, ',
    h('b', { class: 'num' }, better),
    ` sounder by ${measure.label}.`,
  ];
}

/**
 * Of two responses: where they part.
 * @param {{a: Trace, b: Trace}} pair @param {number} common how many tokens are the same at the beginning
 * @param {(side: 'a'|'b', token: number) => void} select
 */
export function parting({ a, b }, common, select) {
  const to = (/** @type {'a'|'b'} */ side, /** @type {import('./types.js').Token|undefined} */ token) =>
    token
      ? h(
          'button',
          { type: 'button', class: 'quiet parting', on: { click: () => select(side, token.position) } },
          h('span', { class: 'chip' }, visible(token.text)),
        )
      : 'its end';
  return [
    a.prompt.text.trim() === b.prompt.text.trim() ? null : 'These answer different questions. ',
    common
      ? `The first ${count(common, 'token')} are the same; then A has `
      : 'They differ from the first token on: A has ',
    to('a', a.tokens[common]),
    ' and B ',
    to('b', b.tokens[common]),
    '.',
  ];
}
