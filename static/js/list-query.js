// What the list of traces is asked for: the route's filters and order as the API's parameters, and the filters in words.

import { verdictMark } from './format.js';

/** @typedef {import('./router.js').Route} Route */

/** The API's order for each of the page's, and the page's words for it. */
export const ORDERS = /** @type {const} */ ({
  new: { label: 'newest', sort: 'created', order: 'desc' },
  old: { label: 'oldest', sort: 'created', order: 'asc' },
  lowest: { label: 'lowest s_t', sort: 'min_score', order: 'asc' },
  critical: { label: 'most critical', sort: 'critical_count', order: 'desc' },
});

/** The route without filters. @type {Partial<Route>} */
export const UNFILTERED = { q: '', verdict: null, model: '', tag: '', critical: false, after: null, before: null };

/** The first second of a local day, or of the one after it. @param {string} day YYYY-MM-DD @param {number} [later] days */
function midnight(day, later = 0) {
  const [year, month, date] = day.split('-').map(Number);
  return String(new Date(year, month - 1, date + later).getTime() / 1000);
}

/** The parameters that a route asks with. @param {Route} route @returns {Record<string, string>} */
export function queryOf(route) {
  const { sort, order } = ORDERS[route.sort];
  return {
    sort,
    order,
    ...(route.q && { q: route.q }),
    ...(route.verdict && { verdict: route.verdict }),
    ...(route.model && { model: route.model }),
    ...(route.tag && { tag: route.tag }),
    ...(route.critical && { has_critical: 'true' }),
    ...(route.after && { created_after: midnight(route.after) }),
    ...(route.before && { created_before: midnight(route.before, 1) }),
  };
}

/**
 * The filters that are on, but for the search, each with the change that takes it away.
 * @param {Route} route @returns {{text: string, without: Partial<Route>}[]}
 */
export function filtersOn(route) {
  const { symbol, word } = verdictMark(route.verdict);
  return [
    ...(route.verdict ? [{ text: `${symbol} ${word}`, without: { verdict: null } }] : []),
    ...(route.critical ? [{ text: '▼ has critical', without: { critical: false } }] : []),
    ...(route.model ? [{ text: `model ${route.model}`, without: { model: '' } }] : []),
    ...(route.tag ? [{ text: `tag ${route.tag}`, without: { tag: '' } }] : []),
    ...(route.after ? [{ text: `from ${route.after}`, without: { after: null } }] : []),
    ...(route.before ? [{ text: `to ${route.before}`, without: { before: null } }] : []),
  ];
}
