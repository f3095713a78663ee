// A rollout as a whole response: what was kept, the forced token, what was drawn. Pure.

import { byteSlicer } from './pieces.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').Rollout} Rollout */

/**
 * @typedef {object} Parts
 * @property {string} kept The response up to the fork.
 * @property {string} forced
 * @property {string} text What was drawn.
 */

/** The response up to a token. @param {Trace} trace @param {number} position */
export function keptText({ response, tokens }, position) {
  return byteSlicer(response.text)(0, tokens[position].start);
}

/** The token that a group of a set begins with. @param {Rollouts} set @param {number|null} alternative */
export function forcedToken(set, alternative) {
  return (alternative === null ? set.original : set.alternatives[alternative]).token;
}

/** @param {Trace} trace @param {Rollouts} set @param {Rollout} rollout @returns {Parts} */
export function rolloutParts(trace, set, rollout) {
  const { text } = forcedToken(set, rollout.alternative);
  const kept = trace.tokens[set.position].start;
  // Where the fork parts a character, the rollout's text begins with the whole of it.
  return {
    kept: byteSlicer(trace.response.text)(0, Math.min(kept, rollout.start)),
    forced: byteSlicer(text)(0, Math.max(0, rollout.start - kept)),
    text: rollout.text,
  };
}

/** The response itself, parted at the same place. @param {Trace} trace @param {number} position @returns {Parts} */
export function responseParts(trace, position) {
  const { start, end } = trace.tokens[position];
  const slice = byteSlicer(trace.response.text);
  return { kept: slice(0, start), forced: slice(start, end), text: slice(end, Number.MAX_SAFE_INTEGER) };
}

/** @param {Parts} parts */
export function whole({ kept, forced, text }) {
  return kept + forced + text;
}

/**
 * The drawn text before, in and after the answer that was read from it.
 * @param {Rollout} rollout @returns {[string, string, string]}
 */
export function aroundAnswer({ text, start, verdict }) {
  const [from, to] = verdict.span ?? [0, 0];
  if (from < start || to <= from) return [text, '', ''];
  const slice = byteSlicer(text);
  return [slice(0, from - start), slice(from - start, to - start), slice(to - start, Number.MAX_SAFE_INTEGER)];
}

/** How a rollout ended, in words. @param {Rollout} rollout */
export function endText({ finish_reason: reason, token_ids: ids }) {
  if (reason === 'length') return `cut off at ${ids.length} tokens`;
  return reason === 'stop' ? 'ended at a stop text' : 'ended by itself';
}
