// All runs of the trace that is looked at: finds what is running, follows it, starts and stops, and gives the trace in
// memory the record once a run is over.

import * as api from './api-runs.js';
import { ApiError } from './api.js';
import { LiveRun } from './run-live.js';
import { follow } from './stream.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Run} Run */
/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').Search} Search */

/** Milliseconds between two looks at what has changed: a run may tell of hundreds of rollouts a second. */
const PACE = 120;
/**
 * So many runs are followed at once, the others when one is over: browsers keep at most six connections to a server, over
 * all tabs, and whatever else is asked for, the end of a run too, needs one.
 */
const FOLLOWED = 2;
let following = 0;
/** @type {(() => void)[]} */
const waiting = [];

/** Waits for a turn at following. @param {AbortSignal} signal @returns {Promise<void>} */
function turn(signal) {
  signal.throwIfAborted();
  if (following < FOLLOWED) {
    following += 1;
    return Promise.resolve();
  }
  return new Promise((resolve, reject) => {
    waiting.push(resolve);
    signal.addEventListener('abort', () => {
      const at = waiting.indexOf(resolve);
      if (at < 0) return;
      waiting.splice(at, 1);
      reject(signal.reason);
    });
  });
}

/** Gives the turn to the next one that waits. */
function passOn() {
  const next = waiting.shift();
  if (next) next();
  else following -= 1;
}

/** A look that takes long is followed by a rest of so many times its length. */
const REST = 4;

export class RunStore {
  /**
   * @param {{onChange: () => void, onRecord: (trace: Trace) => void}} on `onRecord` is told that a trace has a new
   *   record, `onChange` of everything that may be seen
   */
  constructor(on) {
    this.on = on;
    /** @type {Trace|null} */
    this.trace = null;
    /** @type {Map<string, LiveRun>} what is running, and what ended without a record */
    this.live = new Map();
    /** Why the runs could not be listed. @type {unknown} */
    this.problem = null;
    this.leaving = new AbortController();
    this.queued = 0;
    this.pace = PACE;
  }

  /**
   * Looks for the runs of another trace.
   * @param {Trace} trace @param {string|null} wanted a run to tell of even if it failed long ago
   */
  open(trace, wanted) {
    if (this.trace === trace) return;
    this.leaving.abort();
    this.leaving = new AbortController();
    this.live.clear();
    this.problem = null;
    this.trace = trace;
    this.#find(trace, wanted, this.leaving.signal);
  }

  /** Lets go of the trace: nothing of it is followed any longer. */
  close() {
    this.leaving.abort();
    this.live.clear();
    this.trace = null;
  }

  /** Looks again for runs after they could not be listed. @param {string|null} wanted */
  again(wanted) {
    const { trace } = this;
    this.close();
    if (trace) this.open(trace, wanted);
  }

  /** @param {Trace} trace @param {string|null} wanted @param {AbortSignal} signal */
  async #find(trace, wanted, signal) {
    try {
      for (const run of await api.runsOf(trace.id, signal)) {
        if (run.state === 'running') this.#follow(new LiveRun(run), trace, signal);
        else if (run.state === 'failed') {
          if (run.id === wanted) this.live.set(run.id, new LiveRun(run));
        } else if (!this.#has(trace, run.id) && (run.state === 'succeeded' || run.id === wanted)) {
          this.#take(new LiveRun(run), trace, signal);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      this.problem = error;
    }
    this.#changed();
  }

  /** @param {Trace} trace @param {string} id */
  #has(trace, id) {
    return [...(trace.rollouts ?? []), ...(trace.searches ?? [])].some((record) => record.id === id);
  }

  /** @param {object} request @returns {Promise<Run>} */
  async rollOut(request) {
    const run = await api.startRollouts(request);
    this.#started(run);
    return run;
  }

  /** @param {object} request @returns {Promise<Run>} */
  async search(request) {
    const run = await api.startSearch(request);
    this.#started(run);
    return run;
  }

  /** @param {Run} run */
  #started(run) {
    if (!this.trace || run.trace_id !== this.trace.id || this.live.has(run.id)) return;
    this.#follow(new LiveRun(run), this.trace, this.leaving.signal);
    this.on.onChange();
  }

  /** @param {LiveRun} run */
  async stop(run) {
    run.stopping = true;
    this.#changed();
    try {
      await api.cancelRun(run.id);
    } catch (error) {
      run.stopping = false;
      // It ended meanwhile: its events tell how.
      if (!(error instanceof ApiError && error.status === 409)) throw error;
    }
  }

  /** Takes a run that failed or was stopped out of sight. @param {string} id */
  dismiss(id) {
    this.live.delete(id);
    this.#changed();
  }

  /** @param {LiveRun} run @param {Trace} trace @param {AbortSignal} signal */
  async #follow(run, trace, signal) {
    this.live.set(run.id, run);
    const onConnection = (/** @type {import('./stream.js').Connection} */ connection) => {
      run.connection = connection;
      this.#changed();
    };
    const onEvent = (/** @type {any} */ event) => {
      run.apply(event);
      this.#changed();
    };
    try {
      await turn(signal);
      await follow(api.eventsOf(run.id), onEvent, { signal, onConnection }).finally(passOn);
    } catch (error) {
      if (signal.aborted) return;
      run.state = 'failed';
      run.error = { code: 'lost', message: error instanceof Error ? error.message : String(error) };
    }
    if (run.recorded) await this.#take(run, trace, signal);
    this.#changed();
  }

  /**
   * Gives the trace the record of a run that is over.
   * @param {LiveRun} run @param {Trace} trace @param {AbortSignal} signal
   */
  async #take(run, trace, signal) {
    const key = run.kind === 'search' ? 'searches' : 'rollouts';
    try {
      const record = await api.recordOf(run, signal);
      if (!this.#has(trace, run.id)) {
        const records = /** @type {any[]} */ (trace[key] ?? []);
        trace[key] = [...records, record].sort((a, b) => a.created - b.created);
      }
      if (signal.aborted) return;
      this.live.delete(run.id);
      this.on.onRecord(trace);
    } catch (error) {
      // Stopped before anything was drawn, it has none.
      if (signal.aborted || (error instanceof ApiError && error.status === 404)) return;
      run.state = 'failed';
      run.error = { code: 'lost', message: error instanceof Error ? error.message : String(error) };
      this.live.set(run.id, run);
    }
    this.#changed();
  }

  #changed() {
    this.queued ||= window.setTimeout(() => {
      this.queued = 0;
      const begun = performance.now();
      this.on.onChange();
      this.pace = Math.max(PACE, REST * (performance.now() - begun));
    }, this.pace);
  }

  /** @param {'rollouts'|'search'} kind @returns {LiveRun[]} newest last */
  runs(kind) {
    return [...this.live.values()].filter((run) => run.kind === kind).sort((a, b) => a.created - b.created);
  }

  /**
   * The sets of rollouts at a position, stored and under way, the newest first.
   * @param {number|null} position null for every position
   * @returns {Fork[]}
   */
  forks(position = null) {
    const at = (/** @type {{position: number|null}} */ one) => position === null || one.position === position;
    const stored = (this.trace?.rollouts ?? [])
      .filter(at)
      .map((set) => ({ id: set.id, position: set.position, set, run: null }));
    const live = this.runs('rollouts')
      .filter(at)
      .map((run) => ({ id: run.id, position: Number(run.position), set: run.set(), run }));
    return [...stored, ...live].reverse();
  }
}

/**
 * @typedef {object} Fork Rollouts of one set, stored or under way.
 * @property {string} id
 * @property {number} position
 * @property {Rollouts|null} set Null before the alternatives are known.
 * @property {LiveRun|null} run Null once it is stored.
 */
