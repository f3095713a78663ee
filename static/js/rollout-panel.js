// What is known of a token by rollouts: the sets drawn at it, one of them in full, stored or filling in live.

import { fill, h } from './dom.js';
import { when } from './format.js';
import { finding, preferred } from './rollout-finding.js';
import { RolloutsTable, progressText, sourceText } from './rollouts-table.js';
import { RunStatus } from './run-status.js';

/** @typedef {import('./run-store.js').Fork} Fork */

export class RolloutPanel {
  /**
   * @param {{choose: (id: string) => void, see: (id: string) => void,
   *   pair: (fork: Fork) => void, stop: (run: import('./run-live.js').LiveRun) => void,
   *   dismiss: (id: string) => void}} on
   */
  constructor(on) {
    /** @type {Fork|null} */
    this.fork = null;
    this.sets = h('select', {
      'aria-label': 'Which rollouts',
      on: { change: () => on.choose(this.sets.value) },
    });
    this.status = new RunStatus(on);
    this.table = new RolloutsTable();
    this.see = h(
      'button',
      { type: 'button', on: { click: () => this.fork && on.see(this.fork.id) } },
      'Tree and texts',
    );
    this.pair = h(
      'button',
      { type: 'button', class: 'pair-button', on: { click: () => this.fork && on.pair(this.fork) } },
      'Add as preference pair…',
    );
    this.root = h(
      'section',
      { class: 'rollout-panel', 'aria-label': 'Rollouts of this token' },
      h('div', { class: 'rollout-head' }, h('h3', {}, 'Rollouts'), this.see, this.sets),
      this.status.root,
      this.table.root,
      this.pair,
    );
  }

  /** @param {Fork[]} forks of one token, newest first @param {string|null} wanted the one to see, by its id */
  show(forks, wanted) {
    this.fork = forks.find(({ id }) => id === wanted) ?? forks[0] ?? null;
    this.root.hidden = !this.fork;
    if (!this.fork) return;
    listForks(this.sets, forks, this.fork.id, forkText);
    const { run, set } = this.fork;
    this.status.show(run, forkState(this.fork), progressText(this.fork));
    this.table.show(this.fork);
    this.see.hidden = !set?.rollouts?.length;
    const helps = set && run?.state !== 'running' && ['decides', 'helps'].includes(finding(set).kind);
    this.pair.hidden = !helps || !preferred(set);
  }
}

/**
 * Fills a choice of sets, doing nothing while they are the same.
 * @param {any} select @param {Fork[]} forks @param {string} chosen @param {(fork: Fork) => string} text
 */
export function listForks(select, forks, chosen, text) {
  const options = forks.map((fork) => ({ value: fork.id, text: text(fork) }));
  const listed = JSON.stringify(options);
  if (select.dataset.listed !== listed) {
    select.dataset.listed = listed;
    fill(
      select,
      options.map(({ value, text: label }) => h('option', { value }, label)),
    );
  }
  select.value = chosen;
  select.hidden = forks.length < 2;
}

/** How a set stands, in words. @param {Fork} fork */
export function forkState({ set, run }) {
  if (run) return set ? 'Drawing' : 'Waiting for the model…';
  return set?.stopped ? 'Stopped: what was drawn is kept.' : '';
}

/** A set in short, to choose it by. @param {Fork} fork */
export function forkText({ set, run }) {
  const what = set ? sourceText(set) : 'waiting';
  const state = run ? (run.state === 'running' ? 'drawing' : run.state) : set?.stopped ? 'stopped' : '';
  return [what, state || when(Number(run?.created ?? set?.created))].join(' · ');
}
