// Which traces are compared: the choice among the stored ones, with those of the same question first.

import * as api from './api.js';
import { choose } from './chooser.js';
import { rowTexts, rowTop } from './list-row.js';
import { h } from './dom.js';
import { lastQuestion, plain } from './format.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').TraceSummary} TraceSummary */

/** So much of a question finds its traces. */
const PIECE = 120;
const FOUND = 20;

/** The other stored traces of a trace's question, those of the same response first. @param {Trace} trace @param {AbortSignal} [signal] @returns {Promise<TraceSummary[]>} */
export async function sameQuestion(trace, signal) {
  const q = (lastQuestion(trace.prompt.text.trim()).split('\n').find((line) => line.trim()) ?? '').trim().slice(0, PIECE);
  if (!q) return [];
  const { data } = await api.traces({ q, limit: String(FOUND) }, signal);
  return data
    .filter(({ id }) => id !== trace.id)
    .sort((a, b) => Number(isSameResponse(b, trace)) - Number(isSameResponse(a, trace)));
}

/** As far as a row of the list can tell. @param {TraceSummary} row @param {Trace} trace */
export function isSameResponse(row, trace) {
  const begins = trace.response.text.trim().startsWith(row.response_excerpt.replace(/…$/, '').trim());
  return begins && row.usage.response_tokens === trace.usage.response_tokens;
}

/** The models that scored, but for the base. @param {{models: Trace['models']}} trace */
export function contrastOf({ models }) {
  return h(
    'span',
    { class: 'contrast' },
    /** @type {const} */ (['positive', 'negative']).map((role) => [
      h('span', { class: 'role-name' }, role.slice(0, 3), ' '),
      h('b', {}, plain(models[role]?.id ?? '–')),
      ' ',
    ]),
  );
}

/** What a trace looks like among others. @param {TraceSummary} row */
export function traceLine(row) {
  return [rowTop(row), rowTexts(row), h('span', { class: 'row-sub' }, contrastOf(row))];
}

/**
 * Asks which trace to take; null when none is.
 * @param {'A'|'B'} side @param {Trace|null} other the trace on the other side, whose question's traces come first
 * @returns {Promise<string|null>}
 */
export function pickTrace(side, other) {
  return choose({
    title: `Choose trace ${side}`,
    placeholder: 'Search the traces’ text',
    find: async (text, signal) => {
      const near = other && !text ? await sameQuestion(other, signal) : [];
      const { data } = await api.traces({ ...(text && { q: text }), limit: String(FOUND) }, signal);
      const known = new Set([other?.id, ...near.map(({ id }) => id)]);
      const choice = (/** @type {string} */ group) => (/** @type {TraceSummary} */ row) => ({
        group,
        body: traceLine(row),
        value: row.id,
      });
      return [
        ...near.map(choice('The same question')),
        ...data.filter(({ id }) => !known.has(id)).map(choice(text ? 'Found' : 'Newest')),
      ];
    },
  });
}
