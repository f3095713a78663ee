// The requests behind rollouts and searches: starting, stopping and finding runs, their records, and what a fork needs
// beside them (tokens of a text, alternatives of a trace, pairs for a data set).

import { ask } from './api.js';

/** @typedef {import('./types.js').Run} Run */
/** @typedef {import('./types.js').Trace} Trace */

const PAGE = 100;

/** Starts rollouts in the background. @param {object} request @returns {Promise<Run>} */
export function startRollouts(request) {
  return ask('POST', '/v1/rollouts', { json: { ...request, background: true } });
}

/** Starts a search in the background. @param {object} request @returns {Promise<Run>} */
export function startSearch(request) {
  return ask('POST', '/v1/searches', { json: { ...request, background: true } });
}

/**
 * The latest runs of a trace, newest first.
 * @param {string} trace @param {AbortSignal} [signal] @returns {Promise<Run[]>}
 */
export async function runsOf(trace, signal) {
  const query = new URLSearchParams({ trace_id: trace, limit: '50' });
  return (await ask('GET', `/v1/runs?${query}`, { signal })).data;
}

/** @param {string} id @returns {Promise<Run>} */
export function cancelRun(id) {
  return ask('POST', `/v1/runs/${encodeURIComponent(id)}/cancel`);
}

/** Where a run's events are. @param {string} id */
export function eventsOf(id) {
  return `/v1/runs/${encodeURIComponent(id)}/events`;
}

/** What a run has stored. @param {Pick<Run, 'id'|'kind'>} run @param {AbortSignal} [signal] */
export function recordOf({ id, kind }, signal) {
  return ask('GET', `/v1/${kind === 'search' ? 'searches' : 'rollouts'}/${encodeURIComponent(id)}`, { signal });
}

/**
 * The tokens of a text that stands alone.
 * @param {string} text @param {AbortSignal} signal
 * @returns {Promise<{tokens: number[], token_strs: string[]}>}
 */
export function tokenize(text, signal) {
  return ask('POST', '/tokenize', {
    json: { prompt: text, add_special_tokens: false, return_token_strs: true },
    signal,
  });
}

/**
 * The trace's tokens scored anew, with the likeliest alternatives of each; nothing is stored.
 * @param {Trace} trace @returns {Promise<Trace>}
 */
export function withAlternatives(trace) {
  const json = {
    prompt_token_ids: trace.prompt.token_ids,
    response_token_ids: trace.tokens.map(({ id }) => id),
    beta: trace.beta,
    top_logprobs: 5,
    save: false,
  };
  return ask('POST', '/v1/score', { json });
}

/** @typedef {{prompt: string, chosen: string, rejected: string, rejected_weights?: number[]}} Pair `rejected_weights`, one a token */

/**
 * @param {string} path @param {AbortSignal} [signal] @returns {AsyncGenerator<any>} every row of a list, page by page
 */
async function* all(path, signal) {
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: String(PAGE), ...(cursor ? { cursor } : {}) });
    const page = await ask('GET', `${path}?${query}`, { signal });
    yield* page.data;
    cursor = page.next_cursor;
  } while (cursor);
}

/** The names of the data sets of preference pairs. @returns {Promise<string[]>} */
export async function preferenceSets() {
  const names = [];
  for await (const set of all('/v1/datasets')) if (set.kind === 'preferences') names.push(set.name);
  return names;
}

/** @param {string} name */
const rowsOf = (name) => `/v1/datasets/${encodeURIComponent(name)}/rows`;

/** Whether a data set has a pair already. @param {string} name @param {Pair} pair */
export async function hasPair(name, { prompt, chosen, rejected }) {
  for await (const row of all(rowsOf(name)))
    if (row.prompt === prompt && row.chosen === chosen && row.rejected === rejected) return true;
  return false;
}

/**
 * @param {string} name @param {Pair} pair @returns {Promise<{name: string, rows: number}>} the data set as it is then
 */
export function addPair(name, pair) {
  return ask('POST', rowsOf(name), { json: { rows: [pair] } });
}
