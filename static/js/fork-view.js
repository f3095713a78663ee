// One fork in full, below the response: which set, how far it is, the tree of its rollouts, the chosen one, and pass@k.

import { calm, fill, h } from './dom.js';
import { count, visible } from './format.js';
import { ForkTree } from './fork-tree-view.js';
import { addAsPair } from './pair-dialog.js';
import * as router from './router.js';
import { RolloutDetail } from './rollout-detail.js';
import { ending } from './rollout-compare.js';
import { keptText } from './rollout-full.js';
import { forkState, forkText, listForks } from './rollout-panel.js';
import { PassChart } from './rollout-pass.js';
import { progressText } from './rollouts-table.js';
import { RunStatus } from './run-status.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Rollout} Rollout */
/** @typedef {import('./run-store.js').Fork} Fork */

export class ForkView {
  /**
   * @param {{choose: (id: string) => void, stop: (run: import('./run-live.js').LiveRun) => void,
   *   dismiss: (id: string) => void}} on
   */
  constructor(on) {
    /** @type {Trace|null} */
    this.trace = null;
    /** @type {Fork|null} */
    this.fork = null;
    this.title = h('h2', { id: 'fork-title' });
    this.sets = h('select', { 'aria-label': 'Rollouts', on: { change: () => on.choose(this.sets.value) } });
    this.status = new RunStatus(on, false);
    this.total = h('span', { class: 'num hint' });
    this.stem = h('p', { class: 'model-text stem' });
    this.tree = new ForkTree((node) => this.#detail(node.rollouts));
    this.detail = new RolloutDetail((rollout) => this.pair(rollout));
    this.added = h('p', { class: 'banner', role: 'status', hidden: true });
    this.pass = new PassChart();
    this.root = h(
      'section',
      { class: 'fork', 'aria-labelledby': 'fork-title', tabindex: -1, hidden: true },
      h('div', { class: 'fork-head' }, this.title, this.sets, this.status.root, this.total),
      this.stem,
      this.tree.root,
      this.detail.root,
      this.added,
      this.pass.root,
    );
  }

  /** @param {Trace} trace @param {Fork[]} forks every set of the trace @param {Fork|null} fork the one to see */
  show(trace, forks, fork) {
    const fresh = this.fork?.id !== fork?.id || this.trace !== trace;
    const known = this.fork?.set;
    this.trace = trace;
    this.fork = fork;
    this.root.hidden = !fork;
    if (!fork) return;
    const { run, set } = fork;
    if (fresh) {
      fill(
        this.title,
        h('span', { class: 'num' }, `Fork at token ${fork.position} `),
        h('span', { class: 'chip' }, visible(trace.tokens[fork.position].text)),
      );
      fill(this.stem, h('span', { class: 'shared' }, ending(keptText(trace, fork.position)) || '(the beginning)'));
      this.added.hidden = true;
      this.detail.root.hidden = true;
    }
    listForks(this.sets, forks, fork.id, (one) => `token ${one.position} · ${forkText(one)}`);
    this.status.show(run, forkState(fork), progressText(fork));
    this.total.textContent = run?.state !== 'running' && set ? countText(set) : '';
    if (!set || (set === known && !fresh)) return;
    this.tree.show(set);
    this.pass.show(set);
    this.tree.root.hidden = !set.rollouts?.length;
    this.stem.hidden = this.tree.root.hidden;
  }

  /** Brings it into sight. */
  reveal() {
    this.root.scrollIntoView({ block: 'start', behavior: calm() ? 'auto' : 'smooth' });
    this.tree.root.focus({ preventScroll: true });
  }

  /** @param {Rollout[]} rollouts */
  #detail(rollouts) {
    const set = this.fork?.set;
    if (this.trace && set) this.detail.show(this.trace, set, rollouts);
  }

  /** Offers a rollout of the set as the one side of a preference pair. @param {Rollout} rollout */
  async pair(rollout) {
    const set = this.fork?.set;
    if (!this.trace || !set) return;
    const added = await addAsPair(this.trace, set, rollout);
    if (!added) return;
    const to = (/** @type {Partial<router.Route>} */ change, /** @type {string} */ text) =>
      h('a', { href: router.address({ ...router.parse(''), ...change }), data: { nav: 'here' } }, text);
    this.added.hidden = false;
    fill(
      this.added,
      `The pair was added: ${added.name} has ${count(added.rows, 'row')}. `,
      to({ view: 'data', dataset: added.name }, 'See the data set'),
      ' · ',
      to({ view: 'jobs', job: 'new', dataset: added.name }, 'Train on it'),
    );
    this.added.scrollIntoView({ block: 'nearest' });
  }
}

/** @param {import('./types.js').Rollouts} set */
function countText({ with_token: own, without_token: other, rollouts }) {
  return `${count(rollouts?.length ?? own.samples + other.samples, 'rollout')}, ${own.correct + other.correct} right`;
}
