// The state of a run in words, and the button that stops it.

import { fill, h } from './dom.js';

/** @typedef {import('./run-live.js').LiveRun} LiveRun */

export class RunStatus {
  /**
   * @param {{stop: (run: LiveRun) => void, dismiss: (id: string) => void}} on
   * @param {boolean} [stops] whether it has the button; one that stands beside another does not
   */
  constructor(on, stops = true) {
    this.stops = stops;
    /** @type {LiveRun|null} */
    this.run = null;
    this.said = '';
    this.pulse = h('span', { class: 'pulse', 'aria-hidden': 'true' });
    this.words = h('span', { class: 'run-words', role: 'status' });
    this.count = h('span', { class: 'num run-count' });
    this.link = h('span', { class: 'hint', role: 'status' });
    this.stop = h(
      'button',
      { type: 'button', class: 'stop', on: { click: () => this.run && on.stop(this.run) } },
      '■ Stop',
    );
    this.away = h(
      'button',
      {
        type: 'button',
        class: 'quiet',
        'aria-label': 'Dismiss',
        on: { click: () => this.run && on.dismiss(this.run.id) },
      },
      '✕',
    );
    this.root = h('div', { class: 'run-status' }, this.pulse, this.words, this.count, this.stop, this.link, this.away);
  }

  /**
   * @param {LiveRun|null} run null for what is stored @param {any} words
   *   `words` are read out as they change
   * @param {string} [count] how far it is, not read out
   */
  show(run, words, count = '') {
    this.run = run;
    const running = run?.state === 'running';
    this.pulse.hidden = !running;
    if (this.count.textContent !== count) this.count.textContent = count;
    this.stop.hidden = !running || !this.stops;
    this.stop.disabled = run?.stopping ?? false;
    this.away.hidden = !run || running;
    const told = run ? stateText(run, words) : words;
    const now = [told]
      .flat(Infinity)
      .map((part) => (part instanceof Node ? part.textContent : part))
      .join('');
    if (now !== this.said) fill(this.words, told);
    this.said = now;
    this.words.classList.toggle('problem', run?.state === 'failed');
    const link = running && run?.connection === 'broken' ? 'reconnecting…' : '';
    if (this.link.textContent !== link) this.link.textContent = link;
    this.root.hidden = !run && !words;
  }
}

/** @param {LiveRun} run @param {any} words @returns {any} */
function stateText(run, words) {
  if (run.state === 'failed') return `Failed: ${run.error?.message ?? 'the server says no more'}`;
  if (run.state === 'cancelled') return 'Stopped before anything was drawn.';
  if (run.stopping) return 'Stopping…';
  return words;
}
