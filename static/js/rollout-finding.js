// What rollouts of a token and of others in its place mean, in one sentence. Pure.

import { percent, visible } from './format.js';
import { pool } from './rollout-stats.js';

/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').RolloutGroup} RolloutGroup */
/** @typedef {{rate: number|null, interval: [number, number], samples: number, correct: number}} Share */

/** At and above it a share counts as mostly right, below its complement as mostly wrong. */
const MOSTLY = 0.8;

/**
 * How a group compares with the response's own token: only where the two intervals part.
 * @param {Share} group @param {Share} own @returns {'better'|'worse'|''}
 */
export function compared(group, own) {
  if (!group.samples || !own.samples) return '';
  if (group.interval[0] > own.interval[1]) return 'better';
  return group.interval[1] < own.interval[0] ? 'worse' : '';
}

/** "0 of 32 (0–11%)" @param {Share} share */
export function shareText({ correct, samples, interval }) {
  return `${correct} of ${samples} (${interval.map(percent).join('–')})`;
}

/** "22% of 64" @param {Share} share */
export function ofN({ rate, samples }) {
  return rate === null ? '–' : `${percent(rate)} of ${samples}`;
}

/** The best of the alternatives by the low end of its interval. @param {Rollouts} set @returns {RolloutGroup|null} */
export function best(set) {
  const drawn = set.alternatives.filter(({ samples }) => samples);
  return drawn.reduce(
    (/** @type {RolloutGroup|null} */ top, group) => (top && top.interval[0] >= group.interval[0] ? top : group),
    null,
  );
}

/** The rollout to prefer to the response: the most frequent right one of the best alternative. @param {Rollouts} set */
export function preferred(set) {
  const top = best(set);
  const right = (set.rollouts ?? []).filter(
    ({ alternative, verdict }) =>
      alternative !== null && set.alternatives[alternative] === top && verdict.status === 'correct',
  );
  const times = (/** @type {string} */ text) => right.filter((rollout) => rollout.text === text).length;
  return right.reduce((/** @type {import('./types.js').Rollout|null} */ most, rollout) => {
    return most && times(most.text) >= times(rollout.text) ? most : rollout;
  }, null);
}

/**
 * What it means, and what to do next; where a pair is what to do, the button says so.
 * @param {Rollouts} set
 * @returns {{kind: 'decides'|'helps'|'before'|'after'|'harms'|'unsure'|'little', words: string, next: string}}
 */
export function finding(set) {
  const own = set.original;
  const others = pool(set.alternatives);
  const top = best(set);
  if (!own.samples || !others.samples || !top)
    return { kind: 'little', words: 'Too little was drawn to compare.', next: 'Roll out again for both sides.' };
  const name = visible(own.token.text);
  const winner = compared(top, own) === 'better' ? top : null;
  if (winner || compared(others, own) === 'better') {
    const what = winner ? visible(winner.token.text) : 'another token';
    const { rate } = winner ?? others;
    const decides = own.interval[1] < 1 - MOSTLY && Number(rate) >= MOSTLY;
    const lifted = `${what} instead of ${name} lifts right answers from ${ofN(own)} to ${ofN(winner ?? others)}`;
    return {
      kind: decides ? 'decides' : 'helps',
      words: decides ? `${lifted}: this token decides.` : `${lifted}.`,
      next: '',
    };
  }
  if (compared(others, own) === 'worse')
    return {
      kind: 'harms',
      words: `${name} does better than what else may stand here (${ofN(own)} to ${ofN(others)}).`,
      next: 'The mistake is not made here: look at later tokens.',
    };
  const all = pool([own, ...set.alternatives]);
  if (all.interval[1] < 1 - MOSTLY)
    return {
      kind: 'before',
      words: 'Wrong whatever stands here: the mistake was made before.',
      next: 'Look at earlier tokens, or find the critical one.',
    };
  if (all.interval[0] > MOSTLY)
    return {
      kind: 'after',
      words: 'Mostly right whatever stands here: the mistake comes later.',
      next: 'Look at later tokens, or find the critical one.',
    };
  return {
    kind: 'unsure',
    words: 'No alternative differs for certain from the response’s own token.',
    next: 'Draw more rollouts, or try another token.',
  };
}
