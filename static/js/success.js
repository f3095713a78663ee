// How often rollouts from a token on reach the right answer, as far as stored rollouts and searches tell. Pure.

/** @typedef {import('./types.js').Trace} Trace */

/** @typedef {{rate: number, correct: number, samples: number, interval: [number, number]}} Success */

/** @type {WeakMap<Trace, {stamp: string, known: Success[]}>} */
const computed = new WeakMap();

/** Ids end in the time of their making, to the millisecond. @param {{id: string}} record */
const made = ({ id }) => id.slice(id.indexOf('_') + 1);

/**
 * The success after each token, by position; undefined where nothing was drawn. Of several records of one token the
 * newest counts.
 * @param {Trace} trace @returns {Success[]}
 */
export function successOf(trace) {
  const { rollouts = [], searches = [] } = trace;
  const records = [...searches, ...rollouts];
  // A trace gains records while it is looked at.
  const stamp = records.map(({ id }) => id).join();
  const before = computed.get(trace);
  if (before?.stamp === stamp) return before.known;
  /** @type {Success[]} */
  const known = [];
  for (const record of records.sort((a, b) => (made(a) < made(b) ? -1 : 1))) {
    const outcomes = 'positions' in record ? record.positions : [{ ...record.original, position: record.position }];
    for (const { position, rate, correct, samples, interval } of outcomes) {
      if (rate !== null && samples) known[position] = { rate, correct, samples, interval };
    }
  }
  computed.set(trace, { stamp, known });
  return known;
}
