// One run as it happens: takes a run's events, in any order and twice if need be, and says how things stand.

import { counted } from './rollout-stats.js';

/** @typedef {import('./types.js').Run} Run */
/** @typedef {import('./types.js').Rollout} Rollout */
/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').Search} Search */
/** @typedef {import('./types.js').SearchPosition} SearchPosition */

/**
 * @typedef {object} Progress How a search stands before a round.
 * @property {number} round
 * @property {number[]} drawing
 * @property {number|null} leading
 * @property {number|null} confidence
 * @property {number} samples
 * @property {number} generated_tokens
 * @property {number} exhaustive_tokens
 */

export class LiveRun {
  /** @param {Run} run */
  constructor(run) {
    this.id = run.id;
    this.kind = run.kind;
    this.created = run.created;
    this.position = run.position;
    this.state = run.state;
    this.error = run.error;
    /** @type {import('./stream.js').Connection} */
    this.connection = 'live';
    /** Whether it has left a record. */
    this.recorded = run.state === 'succeeded';
    /** Asked to stop, not yet stopped. */
    this.stopping = false;
    this.samples = run.samples;
    this.originalSamples = run.original_samples ?? 0;
    /** @type {Rollouts|null} the set as last announced */
    this.head = null;
    /** @type {Map<string, Rollout>} */
    this.rollouts = new Map();
    /** @type {Rollouts|null} */
    this.known = null;
    /** @type {Progress|null} */
    this.progress = null;
    /** @type {Map<number, SearchPosition>} */
    this.positions = new Map();
  }

  /** @param {any} event */
  apply(event) {
    switch (event.event) {
      case 'rollout':
        this.rollouts.set(`${event.alternative} ${event.index}`, event);
        this.known = null;
        break;
      case 'position': {
        // A run that was taken up again may tell of fewer samples than before.
        const before = this.positions.get(event.position);
        if (!before || before.samples <= event.samples) this.positions.set(event.position, event);
        break;
      }
      case 'summary':
        if (this.kind === 'search') this.progress = event;
        else {
          this.head = event;
          this.known = null;
        }
        break;
      case 'state':
        this.state = event.state;
        this.error = event.error ?? null;
        break;
      default:
        // `done` is the record, which is asked for whole. A run that was stopped before anything was drawn has none.
        this.recorded = true;
        break;
    }
  }

  /** The rollouts so far; null before the alternatives are known. @returns {Rollouts|null} */
  set() {
    if (this.head) this.known ??= counted(this.head, [...this.rollouts.values()]);
    return this.known;
  }

  /** How many rollouts a token is to have. @param {number|null} alternative */
  planned(alternative) {
    if (alternative === null) return this.originalSamples;
    return this.samples * (this.head?.alternatives[alternative]?.drawn ?? 1);
  }

  /** How many it is to have in all; null before the alternatives are known. */
  plannedAll() {
    if (!this.head) return null;
    return this.head.alternatives.reduce((total, _, i) => total + this.planned(i), this.planned(null));
  }

  /** The positions looked at so far, ascending. */
  seen() {
    return [...this.positions.values()].sort((a, b) => a.position - b.position);
  }
}
