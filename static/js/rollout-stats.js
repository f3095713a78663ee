// The arithmetic of rollouts, the same as the server's: counts, Wilson's interval, pass@k. Needed here because a run
// that is under way tells of single rollouts. Pure.

/** @typedef {import('./types.js').Rollout} Rollout */
/** @typedef {import('./types.js').RolloutGroup} RolloutGroup */
/** @typedef {import('./types.js').Rollouts} Rollouts */

/** The normal quantile of a 95% interval. */
const Z = 1.959963984540054;

/** Wilson's interval of a rate at 95%. @param {number} correct @param {number} samples @returns {[number, number]} */
export function wilson(correct, samples) {
  if (!samples) return [0, 1];
  const rate = correct / samples;
  const z2 = (Z * Z) / samples;
  const middle = (rate + z2 / 2) / (1 + z2);
  const half = (Z / (1 + z2)) * Math.sqrt((rate * (1 - rate)) / samples + z2 / (4 * samples));
  return [correct ? Math.max(0, middle - half) : 0, correct === samples ? 1 : Math.min(1, middle + half)];
}

/** The unbiased estimate for k = 1, 2, 4, … and for k = samples. @param {number} correct @param {number} samples */
export function passAtK(correct, samples) {
  /** @type {Record<string, number>} */
  const estimates = {};
  const at = (/** @type {number} */ k) => {
    let allWrong = 1;
    for (let i = 0; i < k; i += 1) allWrong *= Math.max(0, (samples - correct - i) / (samples - i));
    estimates[k] = 1 - allWrong;
  };
  for (let k = 1; k <= samples; k *= 2) at(k);
  if (samples) at(samples);
  return estimates;
}

/** @param {Rollout[]} rollouts */
function counts(rollouts) {
  const of = (/** @type {string} */ status) => rollouts.filter(({ verdict }) => verdict.status === status).length;
  const samples = rollouts.length;
  const correct = of('correct');
  return {
    samples,
    correct,
    unparsed: of('unparsed'),
    timeout: of('timeout'),
    rate: samples ? correct / samples : null,
    interval: wilson(correct, samples),
    pass_at_k: passAtK(correct, samples),
  };
}

/** Several groups' rollouts taken as one. @param {Pick<RolloutGroup, 'samples'|'correct'>[]} groups */
export function pool(groups) {
  const sum = (/** @type {'samples'|'correct'} */ key) => groups.reduce((total, group) => total + group[key], 0);
  const [samples, correct] = [sum('samples'), sum('correct')];
  return { samples, correct, rate: samples ? correct / samples : null, interval: wilson(correct, samples) };
}

/**
 * A set as far as its rollouts go: every count taken from them.
 * @param {Rollouts} head the set as it was announced @param {Rollout[]} rollouts in any order
 * @returns {Rollouts}
 */
export function counted(head, rollouts) {
  /** @type {Rollout[][]} */
  const parts = [[], ...head.alternatives.map(() => [])];
  for (const rollout of rollouts) parts[rollout.alternative === null ? 0 : rollout.alternative + 1]?.push(rollout);
  for (const part of parts) part.sort((a, b) => a.index - b.index);
  const alternatives = head.alternatives.map((group, i) => ({ ...group, ...counts(parts[i + 1]) }));
  const original = { ...head.original, ...counts(parts[0]) };
  const whole = (/** @type {RolloutGroup[]} */ groups) => {
    const { samples, correct } = pool(groups);
    return { samples, correct, pass_at_k: passAtK(correct, samples) };
  };
  return {
    ...head,
    original,
    alternatives,
    with_token: whole([original]),
    without_token: whole(alternatives),
    rollouts: parts.flat(),
  };
}
