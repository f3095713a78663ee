// The rollouts that are being drawn anywhere in the trace, always in sight: how far they are, where, and stop.

import { fill, h } from './dom.js';
import { visible } from './format.js';
import { progressText } from './rollouts-table.js';
import { RunStatus } from './run-status.js';
import { explain } from './states.js';

/** @typedef {import('./run-store.js').Fork} Fork */
/** @typedef {import('./types.js').Trace} Trace */

export class RunBar {
  /**
   * @param {{go: (fork: Fork) => void, stop: (run: import('./run-live.js').LiveRun) => void,
   *   dismiss: (id: string) => void, again: () => void}} on `again` asks once more which there are
   */
  constructor(on) {
    this.on = on;
    /** @type {Map<string, {root: HTMLElement, status: RunStatus, go: HTMLElement, fork: Fork}>} */
    this.rows = new Map();
    this.problem = h('div', { class: 'run-row', role: 'alert', hidden: true });
    this.root = h('div', { class: 'run-bar', hidden: true }, this.problem);
  }

  /** @param {Trace} trace @param {Fork[]} forks those under way or failed @param {unknown} problem why they are not known */
  show(trace, forks, problem) {
    this.problem.hidden = !problem;
    if (problem) {
      fill(
        this.problem,
        h('span', {}, `The runs of this trace could not be listed: ${explain(problem)} `),
        h('button', { type: 'button', on: { click: this.on.again } }, 'Try again'),
      );
    }
    for (const [id, { root }] of this.rows) {
      if (forks.some((fork) => fork.id === id)) continue;
      root.remove();
      this.rows.delete(id);
    }
    for (const fork of forks) {
      const row = this.rows.get(fork.id) ?? this.#row(trace, fork);
      row.fork = fork;
      row.status.show(fork.run, row.go, progressText(fork));
    }
    this.root.hidden = this.rows.size === 0 && !problem;
  }

  /** @param {Trace} trace @param {Fork} fork */
  #row(trace, fork) {
    const status = new RunStatus(this.on);
    const go = h(
      'button',
      { type: 'button', class: 'quiet', title: 'Go to this token', on: { click: () => this.on.go(row.fork) } },
      `Rollouts at token ${fork.position} `,
      h('span', { class: 'chip' }, visible(trace.tokens[fork.position]?.text ?? '')),
    );
    const root = h('div', { class: 'run-row' }, status.root);
    const row = { root, status, go, fork };
    this.rows.set(fork.id, row);
    this.root.append(root);
    return row;
  }
}
