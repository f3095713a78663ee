// What the page says of jobs: states, kinds and stages in words, the number that matters most, rates with their
// intervals. Pure functions.

import { figures, integer, percent } from './format.js';
import { wilson } from './rollout-stats.js';

/**
 * @typedef {object} Job A row of GET /v1/jobs.
 * @property {string} id
 * @property {string} kind
 * @property {string|null} name
 * @property {string} state
 * @property {Record<string, any>} config Complete, defaults and all.
 * @property {number} seed
 * @property {{id: string, sha256: string}} base_model
 * @property {{name: string, sha256: string, rows: number}} dataset
 * @property {{name: string, sha256: string, rows: number}|null} eval_dataset
 * @property {{name: string, index: number, total: number}|null} stage
 * @property {{done: number, total: number}} step Of the stage.
 * @property {number} created Unix seconds.
 * @property {number|null} started
 * @property {number|null} finished
 * @property {number} elapsed_seconds
 * @property {number|null} remaining_seconds Of the stage.
 * @property {Record<string, number>} metrics
 * @property {Record<string, number>} dropped
 * @property {number} yielded_seconds
 * @property {{code: string, message: string}|null} error
 * @property {Artifact[]} artifacts
 * @property {boolean} resumable
 */

/** @typedef {{name: string, bytes: number}} Artifact */
/** @typedef {{name: string, kind: string, rows: number, bytes: number, sha256: string, created: number}} Dataset */

/** What each kind reads, and what it is for. @type {Record<string, {reads: string, what: string}>} */
export const KINDS = {
  pipeline: {
    reads: 'problems',
    what: 'a positive, a negative and a cDPO adapter, all steps in a row, with accuracy before and after',
  },
  sft: { reads: 'trajectories', what: 'an adapter that has learned from responses' },
  preference: { reads: 'preferences', what: 'an adapter that has learned from pairs: cDPO, DPO, RPO, TDPO' },
  contrast: { reads: 'preferences', what: 'the same pairs with the contrastive score of each rejected token' },
  sample: { reads: 'problems', what: 'graded responses to every problem' },
  select: { reads: 'trajectories', what: 'a positive set, a negative set and pairs out of graded responses' },
  evaluate: { reads: 'problems', what: 'greedy accuracy' },
};

export const JOB_KINDS = Object.keys(KINDS);

/** @type {Record<string, {symbol: string, word: string}>} */
const STATES = {
  validating_files: { symbol: '…', word: 'checking rows' },
  queued: { symbol: '◷', word: 'queued' },
  running: { symbol: '▶', word: 'running' },
  succeeded: { symbol: '✓', word: 'succeeded' },
  failed: { symbol: '✗', word: 'failed' },
  cancelled: { symbol: '■', word: 'cancelled' },
};

export const JOB_STATES = Object.keys(STATES);

/** A state's symbol and word. @param {string} state */
export function stateMark(state) {
  return STATES[state] ?? { symbol: '?', word: state };
}

/** Whether nothing more happens to the job by itself. @param {Job} job */
export function isOver(job) {
  return ['succeeded', 'failed', 'cancelled'].includes(job.state);
}

/** The kind of job that a data set is most often for. @param {string} rows what the data set holds */
export function kindFor(rows) {
  return JOB_KINDS.find((kind) => KINDS[kind].reads === rows) ?? 'pipeline';
}

/** @param {Job} job */
export function title(job) {
  return job.name || `${job.kind} of ${job.dataset.name}`;
}

/** A pipeline's stages in their order; the last two come with problems to evaluate on. */
const PIPELINE = [
  'sample',
  'select',
  'sft-positive',
  'sft-negative',
  'contrast',
  'preference',
  'evaluate-before',
  'evaluate-after',
];

/** The names of a job's stages. @param {Job} job */
export function stageNames(job) {
  if (!job.stage) return job.kind === 'pipeline' ? PIPELINE.slice(0, job.eval_dataset ? 8 : 6) : [job.kind];
  const { name, index, total } = job.stage;
  if (PIPELINE[index] === name) return PIPELINE.slice(0, total);
  return Array.from({ length: total }, (_, i) => (i === index ? name : `stage ${i + 1}`));
}

/** What a stage's steps are. @param {string} stage */
export function stepWord(stage) {
  return /^(sft|preference)/.test(stage) ? 'steps' : 'rows';
}

/** A rate as it is always told: with its interval and its number. @param {number} right @param {number} n */
export function rate(right, n) {
  if (!n) return '–';
  const [low, high] = wilson(right, n);
  return `${percent(right / n)} (${percent(low)} to ${percent(high)}), ${integer(right)} of ${integer(n)}`;
}

/** The accuracies that a job has measured, in their order. @param {Job} job */
export function accuracies(job) {
  const n = (job.eval_dataset ?? job.dataset).rows;
  return ['', 'evaluate-before/', 'evaluate-after/']
    .filter((stage) => job.metrics[`${stage}correct`] !== undefined && job.metrics[`${stage}accuracy`] !== undefined)
    .map((stage) => ({
      label: stage.includes('before') ? 'before' : stage.includes('after') ? 'after' : 'accuracy',
      right: job.metrics[`${stage}correct`],
      n,
    }));
}

/** The number that a job is looked at for, with its name; null while there is none. @param {Job} job */
export function keyMetric(job) {
  const [last] = accuracies(job).slice(-1);
  if (last) return { label: 'accuracy', text: rate(last.right, last.n) };
  const own = (/** @type {string} */ name) =>
    job.metrics[job.kind === 'pipeline' ? `${job.stage?.name}/${name}` : name];
  const margin = own('rewards/margins');
  if (margin !== undefined) return { label: 'margin', text: figures(margin) };
  if (own('loss') !== undefined) return { label: 'loss', text: figures(own('loss')) };
  if (own('preferences') !== undefined) return { label: 'pairs', text: integer(own('preferences')) };
  if (own('scores/mean') !== undefined) return { label: 'mean s_t', text: figures(own('scores/mean')) };
  return null;
}

/** Why rows are left out. @type {Record<string, string>} */
const DROPPED = {
  prompt_too_long: 'the prompt is too long',
  too_long: 'too long',
  not_tokenizable: 'cannot be tokenized',
  weights_mismatch: 'weights do not fit the tokens',
  other_verdict: 'another verdict than asked for',
  no_verdict: 'no verdict',
};

/** @param {string} reason */
export function droppedWord(reason) {
  return DROPPED[reason] ?? reason.replaceAll('_', ' ');
}

/** What to do about a failure, by its code. @type {Record<string, string>} */
const NEXT = {
  diverged: 'Submit it again with a lower learning rate, or resume it if it has a checkpoint from before.',
  disk_full: 'Make room on the server’s disk, then resume it: nothing that was done is lost.',
  disk_failed: 'Look at the server’s disk, then resume it.',
  interrupted: 'Its process ended again and again, most likely for want of memory. Submit it with smaller batches.',
  model_changed: 'Start the server with the base that the job began with, or submit it again.',
  model_mismatch: 'Start the server with the base that the job began with, or submit it again.',
  no_rows: 'Look at the dropped rows, then submit it again with other bounds or other data.',
  weights_missing: 'Run a contrast job on the pairs first and train on what it makes, or choose another loss.',
  no_verdict: 'Give each row an answer or a verdict, and upload the data set again.',
  invalid_row: 'Correct the row, upload the data set again, and submit the job again.',
  checkpoint_mismatch: 'Submit it again: its checkpoint is of other settings.',
};

/** @param {string} code */
export function nextStep(code) {
  return NEXT[code] ?? 'Resume it to go on from what it has done, or submit it again.';
}

/**
 * The folders among a job's files that are adapters: those for the two roles, then what was trained in the end.
 * @param {Artifact[]} artifacts
 */
export function adapterFolders(artifacts) {
  const end = '/adapter_config.json';
  const order = ['positive', 'negative'];
  const place = (/** @type {string} */ folder) => (order.indexOf(folder) + order.length + 1) % (order.length + 1);
  const folders = artifacts.filter(({ name }) => name.endsWith(end)).map(({ name }) => name.slice(0, -end.length));
  return folders.sort((a, b) => place(a) - place(b));
}

/** A text as a name that the server takes. @param {string} text @param {number} [longest] */
export function slug(text, longest = 64) {
  const plain = text
    .normalize('NFKD')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '');
  return plain.slice(0, longest);
}
