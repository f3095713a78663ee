// The address holds everything that is seen, so that a link opens the same sight and Back returns to the last one.
// This module alone reads and writes it. Opening another view, trace or filter makes a history entry; moving a slider
// or walking over tokens replaces the current one, or Back would have to be pressed once a token.

import { JOB_KINDS, JOB_STATES } from './job-words.js';
import { MEASURES } from './measures.js';
import { GRANULARITIES } from './pieces.js';

/**
 * @typedef {object} Route
 * @property {'traces'|'new'|'models'|'jobs'|'data'|'compare'} view
 * @property {string|null} trace
 * @property {number|null} token
 * @property {string|null} measure null: the first that the trace has numbers for.
 * @property {number|null} threshold null: the measure's own, or the trace's stored rule.
 * @property {import('./pieces.js').Granularity} by
 * @property {string|null} from A trace whose texts fill the scoring form, or a job whose settings fill the job form.
 * @property {string|null} run The rollouts or the search that is looked at, by its id.
 * @property {string|null} with The trace that `trace` is compared with.
 * @property {Side|null} look Which of two compared traces is looked at, or how they differ.
 * @property {string|null} job The job that is looked at; `new` is the form for another.
 * @property {string|null} dataset The data set that is looked at, or that the job form takes.
 * @property {string|null} kind Only jobs of this kind; in the job form, what is made.
 * @property {string|null} state Only jobs in this state.
 * @property {string|null} verdict
 * @property {boolean} critical Only traces with critical tokens.
 * @property {string} q
 * @property {string} tag
 * @property {string} model Only traces that were scored with this model, in any role.
 * @property {string|null} after Only traces of this day (YYYY-MM-DD) or later.
 * @property {string|null} before Only traces of this day or earlier.
 * @property {Sort} sort
 */

/** @typedef {'a'|'b'|'both'|'change'} Side */

/** @typedef {'new'|'old'|'lowest'|'critical'} Sort */

/** @type {Sort[]} */
const SORTS = ['new', 'old', 'lowest', 'critical'];

/** @type {Route} */
const EMPTY = {
  view: 'traces',
  trace: null,
  token: null,
  measure: null,
  threshold: null,
  by: 'token',
  from: null,
  run: null,
  with: null,
  look: null,
  job: null,
  dataset: null,
  kind: null,
  state: null,
  verdict: null,
  critical: false,
  q: '',
  tag: '',
  model: '',
  after: null,
  before: null,
  sort: 'new',
};

const VIEWS = /** @type {const} */ (['traces', 'new', 'models', 'jobs', 'data', 'compare']);
const SIDES = /** @type {const} */ (['a', 'b', 'both', 'change']);
const VERDICTS = ['correct', 'wrong', 'unparsed', 'timeout'];

/** @param {string|null} text */
function finite(text) {
  return text !== null && text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : null;
}

/** @param {string|null} text a day as YYYY-MM-DD */
function day(text) {
  return text && /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(text)) ? text : null;
}

/** @template {string} T @param {string|null} text @param {readonly T[]} allowed @returns {T|null} */
function oneOf(text, allowed) {
  return allowed.find((value) => value === text) ?? null;
}

/** Reads an address; what it does not understand is left at its default. @param {string} search @returns {Route} */
export function parse(search) {
  const query = new URLSearchParams(search);
  const token = finite(query.get('token'));
  return {
    view: oneOf(query.get('view'), VIEWS) ?? 'traces',
    trace: query.get('trace') || null,
    token: token !== null && Number.isInteger(token) && token >= 0 ? token : null,
    measure: oneOf(
      query.get('measure'),
      MEASURES.map((measure) => measure.key),
    ),
    threshold: finite(query.get('threshold')),
    by: /** @type {any} */ (
      oneOf(
        query.get('by'),
        GRANULARITIES.map((granularity) => granularity.key),
      ) ?? 'token'
    ),
    from: query.get('from') || null,
    run: query.get('run') || null,
    with: query.get('with') || null,
    look: oneOf(query.get('look'), SIDES),
    job: query.get('job') || null,
    dataset: query.get('dataset') || null,
    kind: oneOf(query.get('kind'), JOB_KINDS),
    state: oneOf(query.get('state'), JOB_STATES),
    verdict: oneOf(query.get('verdict'), VERDICTS),
    critical: query.get('critical') === '1',
    q: query.get('q') ?? '',
    tag: query.get('tag') ?? '',
    model: query.get('model') ?? '',
    after: day(query.get('after')),
    before: day(query.get('before')),
    sort: oneOf(query.get('sort'), SORTS) ?? 'new',
  };
}

/** The address of a route; defaults are left out. @param {Route} route */
export function address(route) {
  const query = new URLSearchParams();
  for (const key of /** @type {(keyof Route)[]} */ (Object.keys(EMPTY))) {
    const value = route[key];
    if (value === null || value === '' || value === EMPTY[key]) continue;
    query.set(key, value === true ? '1' : String(value));
  }
  const text = query.toString();
  return text ? `/?${text}` : '/';
}

/** @typedef {(route: Route, before: Route|null) => void} Follower */

/** @type {Route} */
let current = parse(location.search);
/** @type {Follower[]} */
const followers = [];
let pending = 0;

/** @returns {Route} */
export function route() {
  return current;
}

/** Calls `follower` on every change of route. @param {Follower} follower */
export function follow(follower) {
  followers.push(follower);
}

/** @param {Route} next */
function move(next) {
  const before = current;
  current = next;
  for (const follower of followers) follower(current, before);
}

/** Opens a sight as a new history entry. @param {Partial<Route>} change */
export function open(change) {
  const next = { ...current, ...change };
  settle();
  if (address(next) !== address(current)) history.pushState(null, '', address(next));
  move(next);
}

/** Changes the sight within its history entry. @param {Partial<Route>} change */
export function adjust(change) {
  move({ ...current, ...change });
  // Browsers refuse more than a few address changes a second: a dragged slider writes its last place only.
  clearTimeout(pending);
  pending = window.setTimeout(settle, 120);
}

function settle() {
  clearTimeout(pending);
  const wanted = address(current);
  if (wanted !== location.pathname + location.search) history.replaceState(null, '', wanted);
}

/** The address of the current route with a change, for links. @param {Partial<Route>} change */
export function link(change) {
  return address({ ...current, ...change });
}

/** The change that opens one trace afresh. @param {string|null} trace @returns {Partial<Route>} */
export function traceSight(trace) {
  const elsewhere = { from: null, run: null, with: null, look: null, job: null, dataset: null, kind: null, state: null };
  return { view: 'traces', trace, token: null, threshold: null, ...elsewhere };
}

/** Begins to follow the browser's own moves, and shows the sight that the address asks for. */
export function start() {
  addEventListener('popstate', () => {
    clearTimeout(pending);
    move(parse(location.search));
  });
  addEventListener('pagehide', settle);
  for (const follower of followers) follower(current, null);
}
