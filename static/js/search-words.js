// What a search found, in words. Pure.

import { count, percent } from './format.js';

/** @typedef {import('./types.js').Search} Search */
/** @typedef {import('./types.js').SearchPosition} SearchPosition */

/** What is known of a position, in words. @type {Record<SearchPosition['decided'], string>} */
export const DECIDED = {
  hopeful: 'the right answer is within reach',
  zero: 'none is right',
  tail: 'too few are right to matter',
  open: 'not decided',
};

/** @param {SearchPosition} seen */
export function positionText({ correct, samples, interval, decided }) {
  return `${correct} of ${samples} right (${interval.map(percent).join('–')}), ${DECIDED[decided]}`;
}

/** @param {number} share sure to less than all of it is not all of it */
export function sureText(share) {
  return share < 1 && share > 0.99 ? 'over 99% sure' : `${percent(share)} sure`;
}

/**
 * @param {Search} search
 * @returns {{symbol: string, head: string, why: string}} `head` goes before the token where there is one
 */
export function outcome({ reason, critical, confidence, settings: { samples, tail, strategy } }) {
  const sure = strategy === 'exhaustive' ? '' : ` (${sureText(confidence)})`;
  const later = tail ? `at most ${percent(tail)}` : 'none';
  const likely = critical === null ? 'No token stands out.' : `Not certain: ${sureText(confidence)}.`;
  switch (reason) {
    case 'found':
      return {
        symbol: '✓',
        head: 'Critical token found',
        why: `None of ${samples} rollouts after it is right, and ${later} after any later token${sure}.`,
      };
    case 'last_zero':
      return {
        symbol: '≈',
        head: 'No token satisfies the rule; the last without a right rollout',
        why: `After a later token rollouts are right again, so it is a fallback${sure}.`,
      };
    case 'budget_spent':
      return { symbol: '≈', head: 'Budget spent; the likeliest', why: likely };
    case 'stopped':
      return { symbol: '■', head: critical === null ? 'Stopped' : 'Stopped; the likeliest so far', why: likely };
    default:
      return {
        symbol: '✗',
        head: 'No critical token',
        why: `After no token are all ${samples} rollouts wrong, and ${later} right from there on${sure}.`,
      };
  }
}

/** A search in short, to choose it by. @param {Search} search */
export function settingsText({ settings: { strategy, samples }, model }) {
  return `${strategy}, ${count(samples, 'rollout')}, ${model.id}`;
}
