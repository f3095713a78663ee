// Puts the page together: the views, the address, the keys. Which view is seen follows from the route alone.

import * as api from './api.js';
import { askKey, help } from './dialogs.js';
import { fill, h } from './dom.js';
import { plain } from './format.js';
import { listen } from './keyboard.js';
import { deleteTraces } from './list-delete.js';
import { ModelsView } from './models-view.js';
import { palette } from './palette.js';
import * as router from './router.js';
import { ScoreForm } from './score-form.js';
import { empty, failed, loading } from './states.js';
import { switchTheme } from './theme.js';
import { TraceList } from './trace-list.js';
import { TraceView } from './trace-view.js';

/** @typedef {import('./types.js').Trace} Trace */

/** So many traces stay at hand for Back and forth. */
const KEPT = 8;

const at = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const [main, side, panel, rolesNow, keyButton] = ['main', 'side', 'panel', 'roles-now', 'key-button'].map(at);

/** @type {Map<string, Trace>} */
const kept = new Map();
/** @type {AbortController|null} */
let opening = null;

/** A page that opens with a trace shows it first: the list beside it can wait. @type {Promise<void>} */
let firstTrace = Promise.resolve();

const list = new TraceList(side, { remove, ready: () => firstTrace });
const traceView = new TraceView(panel, (id) => remove([id]));
const modelsView = new ModelsView(showRoles);
const form = new ScoreForm((trace) => {
  keep(trace);
  router.open(router.traceSight(trace.id));
  list.refresh();
});

/**
 * @typedef {{root: HTMLElement, show: (route: router.Route, before: router.Route|null) => void, leave?: () => void}} View
 * @typedef {'jobs'|'data'|'compare'} ViewName
 */

/** Views that fill the main part by themselves; the code of each is fetched when it is first opened. */
const makers = {
  jobs: async () => new (await import('./jobs-view.js')).JobsView({ onModels: showRoles }),
  data: async () => new (await import('./data-view.js')).DataView(),
  compare: async () => {
    const { CompareView } = await import('./compare-view.js');
    return new CompareView({ traceOf, keep, panel, onScored: () => list.refresh() });
  },
};

/** @type {{jobs?: View, data?: View, compare?: import('./compare-view.js').CompareView}} */
const views = {};

/** @type {Partial<Record<router.Route['view'], string>>} */
const TITLES = { new: 'Score', models: 'Models', jobs: 'Jobs', data: 'Data sets', compare: 'Compare' };

/** @param {Trace} trace */
function keep(trace) {
  kept.delete(trace.id);
  kept.set(trace.id, trace);
  for (const id of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(id);
  }
}

/**
 * Deletes traces, with a way back to the very sight that was left.
 * @param {string[]} ids @param {(done: number) => void} [progress]
 */
function remove(ids, progress) {
  const { view, trace } = router.route();
  const left = view === 'traces' && trace !== null && ids.includes(trace) ? router.route() : null;
  return deleteTraces(ids, {
    progress,
    deleted: (gone) => {
      for (const id of gone) kept.delete(id);
      if (left && gone.includes(/** @type {string} */ (left.trace))) router.open(router.traceSight(null));
      return list.refresh();
    },
    restored: () => {
      // Where the reader has not gone on to something else.
      if (left && router.route().trace === null) router.open(left);
      list.refresh();
    },
  });
}

/** @param {string} id @param {AbortSignal} [signal] */
async function traceOf(id, signal) {
  const trace = kept.get(id) ?? (await api.trace(id, signal));
  keep(trace);
  return trace;
}

let scrolled = false;
main.addEventListener('scroll', () => (scrolled = true), { passive: true });

/** Puts one view into the main part, keeping it where it stands already. @param {Node} view */
function place(view) {
  if (main.firstChild === view && main.childNodes.length === 1) return;
  fill(main, view);
  // Only where it must be: it makes the browser lay out the page at once.
  if (scrolled) main.scrollTop = 0;
  scrolled = false;
}

/** @param {router.Route} route @param {router.Route|null} [before] */
async function showTrace(route, before = null) {
  opening?.abort();
  opening = null;
  const id = /** @type {string} */ (route.trace);
  const known = kept.get(id);
  if (known) {
    place(traceView.root);
    traceView.show(known, route, before);
    return;
  }
  const request = new AbortController();
  opening = request;
  fill(panel);
  panel.classList.remove('open');
  place(loading('Opening the trace…'));
  try {
    await traceOf(id, request.signal);
    if (opening === request && !request.signal.aborted) showTrace(router.route());
  } catch (error) {
    if (request.signal.aborted) return;
    const missing = error instanceof api.ApiError && error.status === 404;
    place(
      failed(
        missing ? 'There is no such trace' : 'The trace could not be opened',
        error,
        missing ? null : () => showTrace(router.route()),
        h('a', { class: 'button', href: '/', data: { nav: 'traces' } }, 'All traces'),
      ),
    );
  }
}

/** @param {ViewName} name @param {router.Route|null} before */
async function showView(name, before) {
  if (!views[name]) {
    place(loading('Opening…'));
    try {
      const view = /** @type {any} */ (await makers[name]());
      views[name] ??= view;
    } catch (error) {
      const heading = 'This part of the page could not be fetched';
      if (router.route().view === name) place(failed(heading, error, () => showView(name, before)));
      return;
    }
  }
  const view = /** @type {View} */ (views[name]);
  // The reader may have gone on while its code was on the way.
  if (router.route().view !== name) return;
  place(view.root);
  view.show(router.route(), before);
}

const welcome = empty(
  'Find where a chain of thought went wrong',
  'Score a response token by token with a base, a positive and a negative model, or choose a stored trace.',
  h('a', { class: 'button main-button', href: '/?view=new', data: { nav: 'new' } }, 'Score a trajectory'),
  h('a', { class: 'button', href: '/?view=models', data: { nav: 'models' } }, 'See the models'),
);

/** @param {router.Route} route @param {router.Route|null} before */
function show(route, before) {
  const tracing = route.view === 'traces' && route.trace !== null;
  document.body.dataset.view = tracing ? 'trace' : route.view;
  const current = route.view;
  for (const anchor of document.querySelectorAll('.top nav a')) {
    const { nav, view: target } = /** @type {HTMLElement} */ (anchor).dataset;
    if ((target ?? nav) === current) anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  }
  if (!before && tracing) firstTrace = showTrace(route);
  list.show(route);
  if (!tracing) {
    opening?.abort();
    // Compare fills the panel by itself.
    if (route.view !== 'compare') {
      document.body.classList.remove('sheet-open');
      panel.classList.remove('open');
      fill(panel);
    }
    // The panel's content is put back when a trace is shown again.
    traceView.leave();
  }
  if (before && before.view !== route.view) views[/** @type {ViewName} */ (before.view)]?.leave?.();
  document.title = [tracing ? 'Trace' : TITLES[route.view], 'Linchpin'].filter(Boolean).join(' · ');
  if (route.view in makers) showView(/** @type {ViewName} */ (route.view), before);
  else if (tracing) {
    if (before) showTrace(route, before);
  } else if (route.view === 'new') {
    place(form.root);
    form.from(route.from, traceOf);
  } else if (route.view === 'models') {
    place(modelsView.root);
    if (before?.view !== 'models') modelsView.show();
  } else place(welcome);
}

/** @param {import('./types.js').ModelCard[]} models */
function showRoles(models) {
  const roles = /** @type {const} */ (['base', 'positive', 'negative']);
  fill(
    rolesNow,
    roles.map((role) => {
      const model = models.find((card) => card.roles.includes(role));
      return h(
        'span',
        {
          class: `role-now ${role}${model ? '' : ' absent'}`,
          title: model ? `${model.id}, ${model.dtype} on ${model.device}` : `no ${role} model`,
        },
        h('span', { class: 'role-name' }, role),
        ' ',
        model ? plain(model.id) : '–',
      );
    }),
  );
}

/** Follows the page's own links without loading it anew. @param {MouseEvent} event */
function navigate(event) {
  const anchor = /** @type {HTMLAnchorElement|null} */ (/** @type {Element} */ (event.target).closest?.('a[data-nav]'));
  if (!anchor || event.defaultPrevented || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0)
    return;
  event.preventDefault();
  switch (anchor.dataset.nav) {
    case 'new':
      router.open({ view: 'new', from: null });
      break;
    case 'models':
      router.open({ view: 'models' });
      break;
    case 'here':
      // Any sight, by the link's own address.
      router.open(router.parse(anchor.search));
      break;
    case 'again':
      router.open({ view: 'new', from: router.parse(anchor.search).from });
      break;
    case 'tag':
      router.open({ tag: anchor.dataset.tag });
      break;
    default:
      router.open(router.traceSight(null));
  }
}

api.onKeyWanted(async (rejected) => {
  const key = await askKey(rejected);
  keyButton.hidden = false;
  return key;
});
api.onStarting(() => fill(rolesNow, h('span', { class: 'hint', role: 'status' }, 'the server is loading its models…')));
keyButton.hidden = !api.key();
keyButton.addEventListener('click', async () => {
  const key = await askKey(false);
  if (!key) return;
  api.setKey(key);
  location.reload();
});
at('help-button').addEventListener('click', help);
at('theme-button').addEventListener('click', switchTheme);
at('palette-button').addEventListener('click', palette);
addEventListener('click', navigate);
listen({
  trace: () => (document.body.dataset.view === 'trace' && traceView.trace ? traceView : null),
  pair: () => (document.body.dataset.view === 'compare' ? (views.compare?.walked ?? null) : null),
  compare: () => {
    const { view, trace } = router.route();
    if (view === 'compare') views.compare?.swap();
    else if (document.body.dataset.view === 'trace') router.open({ ...router.traceSight(trace), view: 'compare' });
  },
  search: () => {
    // On a narrow page the list is a view of its own.
    if (getComputedStyle(side).display === 'none') router.open(router.traceSight(null));
    list.focusSearch();
  },
});
router.follow(show);
router.start();
api.models().then(showRoles, () => fill(rolesNow, h('span', { class: 'hint' }, 'models unknown')));
