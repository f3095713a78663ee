// Everything on the page of a trace that draws: rollouts of tokens, searches, and what is seen of them in the panel,
// under the chart and below the response. Knows which of them the address asks for.

import * as api from './api-runs.js';
import { models } from './api.js';
import { notice } from './dialogs.js';
import { forkList } from './fork-list.js';
import { ForkView } from './fork-view.js';
import * as router from './router.js';
import { preferred } from './rollout-finding.js';
import { RolloutForm } from './rollout-form.js';
import { RolloutPanel } from './rollout-panel.js';
import { RunBar } from './run-bar.js';
import { RunStore } from './run-store.js';
import { SearchView } from './search-view.js';
import { explain } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./run-store.js').Fork} Fork */
/** @typedef {import('./run-live.js').LiveRun} LiveRun */

export class RunDesk {
  /**
   * @param {{hover: (token: number|null) => void, select: (token: number) => void, record: (trace: Trace) => void}} on
   *   `record` is told when the trace has new rollouts or another search
   */
  constructor(on) {
    this.on = on;
    /** @type {Trace|null} */
    this.trace = null;
    this.asked = false;
    this.store = new RunStore({
      onChange: () => this.#draw(),
      onRecord: (trace) => {
        on.record(trace);
        this.#draw();
      },
    });
    const choose = (/** @type {string} */ run) => router.adjust({ run });
    // The reader may have gone on while the run was asked for.
    const begun = (/** @type {import('./types.js').Run} */ { id, trace_id }) => {
      const { view, trace } = router.route();
      if (view === 'traces' && trace === trace_id) choose(id);
    };
    const stop = (/** @type {LiveRun} */ run) => this.#stop(run);
    const dismiss = (/** @type {string} */ id) => {
      this.store.dismiss(id);
      if (router.route().run === id) router.adjust({ run: null });
    };
    this.bar = new RunBar({
      go: ({ id, position }) => router.adjust({ token: position, run: id }),
      stop,
      dismiss,
      again: () => this.store.again(router.route().run),
    });
    this.search = new SearchView({
      start: async (request) => begun(await this.store.search(request)),
      choose,
      stop,
      dismiss,
      hover: on.hover,
      select: on.select,
    });
    this.fork = new ForkView({ choose, stop, dismiss });
    this.form = new RolloutForm(async (request) => begun(await this.store.rollOut(request)));
    const see = (/** @type {string} */ run) => {
      // On a narrow page the sheet would cover it.
      const covered = getComputedStyle(this.panel.root.closest('.panel') ?? document.body).position === 'fixed';
      router.adjust(covered ? { run, token: null } : { run });
      this.fork.reveal();
    };
    const pair = (/** @type {Fork} */ fork) => {
      const rollout = fork.set && preferred(fork.set);
      if (!rollout) return;
      see(fork.id);
      this.fork.pair(rollout);
    };
    this.panel = new RolloutPanel({ choose, see, pair, stop, dismiss });
    /** The same for a token that is only pointed at. */
    this.glance = new RolloutPanel({ choose, see, pair, stop, dismiss });
  }

  /** @param {Trace} trace @param {router.Route} route */
  show(trace, route) {
    this.trace = trace;
    this.store.open(trace, route.run);
    if (!this.asked) this.#models();
    this.#draw();
  }

  /** Follows nothing any longer. */
  leave() {
    this.store.close();
    this.trace = null;
  }

  /** Which models may draw, asked for once. */
  async #models() {
    this.asked = true;
    try {
      const loaded = await models();
      this.form.models(loaded);
      this.search.form.models(loaded);
    } catch {
      // The defaults hold; what the server refuses it says.
      this.asked = false;
    }
  }

  /** @param {LiveRun} run */
  async #stop(run) {
    try {
      await this.store.stop(run);
    } catch (error) {
      notice(`Not stopped: ${explain(error)}`, 'bad');
    }
  }

  #draw() {
    const { trace } = this;
    const { run: wanted, token } = router.route();
    if (!trace) return;
    const forks = this.store.forks();
    const here = token === null ? [] : forks.filter(({ position }) => position === token);
    this.bar.show(
      trace,
      forks.filter(({ run }) => run && run.state !== 'succeeded'),
      this.store.problem,
    );
    this.fork.show(trace, forks, forks.find(({ id }) => id === wanted) ?? here[0] ?? null);
    this.panel.show(here, wanted);
    const stored = (trace.searches ?? []).map((search) => ({ id: search.id, search, run: null }));
    const live = this.store.runs('search').map((run) => ({ id: run.id, search: null, run }));
    this.search.show(trace, [...stored, ...live].reverse(), wanted);
  }

  /**
   * Rolls out with the settings of the form.
   * @param {number} position @param {import('./rollout-form.js').Alternatives} alternatives
   */
  rollOut(position, alternatives) {
    if (!this.trace) return;
    this.form.show(this.trace, position);
    this.form.given(alternatives);
  }

  /** The run to go on looking at once a token is chosen: rollouts of another token are left. @param {number} token */
  runAt(token) {
    const { run } = router.route();
    return this.store.forks().some(({ id, position }) => id === run && position !== token) ? null : run;
  }

  /** Gives every token of the trace its likeliest alternatives, where it was scored without. */
  async lookUp() {
    const { trace } = this;
    if (!trace) return;
    try {
      const scored = await api.withAlternatives(trace);
      trace.tokens.forEach((token, i) => (token.top = scored.tokens[i].top));
      this.on.record(trace);
    } catch (error) {
      notice(`The alternatives could not be looked up: ${explain(error)}`, 'bad');
    }
  }

  /** The tokens that were rolled out, for when none is chosen. */
  overview() {
    return forkList(this.store.forks(), this.trace, ({ id, position }) => router.adjust({ token: position, run: id }));
  }

  /**
   * What the panel shows of a token beside its numbers.
   * @param {number} position @param {boolean} chosen else it is only pointed at
   */
  parts(position, chosen) {
    if (!this.trace) return [];
    if (!chosen) {
      this.glance.show(this.store.forks(position), router.route().run);
      return [this.glance.root];
    }
    this.form.show(this.trace, position);
    return [this.form.root, this.panel.root];
  }

  /** Whether the form in the panel is in use, so that the panel must not show something else. */
  get busy() {
    const { activeElement } = document;
    return activeElement !== null && this.form.root.contains(activeElement) && activeElement.matches('input, select');
  }
}
