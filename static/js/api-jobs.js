// Requests for jobs and data sets. Knows the contract, nothing of the page.

import { ask, send } from './api.js';

/** @typedef {import('./job-words.js').Job} Job */
/** @typedef {import('./job-words.js').Dataset} Dataset */
/** @typedef {{stage: string, step: number, epoch: number|null, values: Record<string, number>}} MetricPoint */
/** @typedef {{kind: string, name?: string, config: Record<string, any>}} JobRequest */

/**
 * @template T
 * @typedef {{data: T[], has_more: boolean, next_cursor: string|null}} Page
 */

/** @param {string} id */
const jobAt = (id) => `/v1/jobs/${encodeURIComponent(id)}`;
/** @param {string} name */
const datasetAt = (name) => `/v1/datasets/${encodeURIComponent(name)}`;

/**
 * One page of jobs, newest first.
 * @param {{state?: string|null, kind?: string|null, limit?: number}} filter @param {string|null} cursor
 * @param {AbortSignal} [signal] @returns {Promise<Page<Job>>}
 */
export function jobs({ state, kind, limit = 20 }, cursor, signal) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (state) query.set('state', state);
  if (kind) query.set('kind', kind);
  if (cursor) query.set('cursor', cursor);
  return ask('GET', `/v1/jobs?${query}`, { signal });
}

/** @param {string} id @param {AbortSignal} [signal] @returns {Promise<Job>} */
export function job(id, signal) {
  return ask('GET', jobAt(id), { signal });
}

/** @param {string} id @param {AbortSignal} [signal] @returns {Promise<MetricPoint[]>} */
export async function metrics(id, signal) {
  return (await ask('GET', `${jobAt(id)}/metrics`, { signal })).data;
}

/** @param {string} id */
export function metricsCsvAddress(id) {
  return `${jobAt(id)}/metrics?format=csv`;
}

/** @param {string} id */
export function eventsAddress(id) {
  return `${jobAt(id)}/events`;
}

/** @param {string} id @param {string} name as listed; slashes part folders */
export function artifactAddress(id, name) {
  return `${jobAt(id)}/artifacts/${name.split('/').map(encodeURIComponent).join('/')}`;
}

/** @param {JobRequest} request @returns {Promise<Job>} */
export function submitJob(request) {
  return ask('POST', '/v1/jobs', { json: request });
}

/** What a job would do. @param {JobRequest} request @param {AbortSignal} [signal] */
export function dryRun(request, signal) {
  return ask('POST', '/v1/jobs', { json: { ...request, dry_run: true }, signal });
}

/** @param {string} id @returns {Promise<Job>} */
export function cancelJob(id) {
  return ask('POST', `${jobAt(id)}/cancel`);
}

/** @param {string} id @returns {Promise<Job>} */
export function resumeJob(id) {
  return ask('POST', `${jobAt(id)}/resume`);
}

/** Loads an adapter that a job made. @param {string} id its new name @param {string} job @param {string} artifact */
export function loadArtifact(id, job, artifact) {
  return ask('POST', '/v1/adapters', { json: { id, job, artifact } });
}

/** @returns {Promise<{positive: string|null, negative: string|null}>} */
export function roles() {
  return ask('GET', '/v1/roles');
}

/** Every stored data set. @param {AbortSignal} [signal] @returns {Promise<Dataset[]>} */
export async function datasets(signal) {
  /** @type {Dataset[]} */
  const all = [];
  for (let cursor = ''; ;) {
    const page = await ask('GET', `/v1/datasets?limit=100${cursor}`, { signal });
    all.push(...page.data);
    if (!page.has_more) return all;
    cursor = `&cursor=${encodeURIComponent(page.next_cursor)}`;
  }
}

/** @param {string} name @param {AbortSignal} [signal] @returns {Promise<Dataset>} */
export function dataset(name, signal) {
  return ask('GET', datasetAt(name), { signal });
}

/** @param {string} name @param {Blob} file JSON lines @param {AbortSignal} [signal] @returns {Promise<Dataset>} */
export function putDataset(name, file, signal) {
  return ask('PUT', datasetAt(name), { text: file, type: 'application/x-ndjson', signal });
}

/** @param {string} name */
export function deleteDataset(name) {
  return ask('DELETE', datasetAt(name));
}

/**
 * One page of a data set's rows, as they were uploaded.
 * @param {string} name @param {string|null} cursor @param {AbortSignal} [signal] @returns {Promise<Page<any>>}
 */
export function rows(name, cursor, signal) {
  const query = new URLSearchParams({ limit: '20' });
  if (cursor) query.set('cursor', cursor);
  return ask('GET', `${datasetAt(name)}/rows?${query}`, { signal });
}

/** @type {Promise<Record<string, any>>|null} */
let described = null;

/** The schemas of the server's own description, read once. @returns {Promise<Record<string, any>>} */
function schemas() {
  described ??= ask('GET', '/openapi.json').then((description) => description.components.schemas);
  // A failure is not kept: the next one who asks tries again.
  described.catch(() => (described = null));
  return described;
}

/** The schema of a kind's settings. @param {string} kind */
export async function configSchema(kind) {
  const name = `${kind[0].toUpperCase()}${kind.slice(1)}JobConfig`;
  return (await schemas())[name];
}

/** A file for when a plain link could not carry the key. @param {string} path */
export async function fetched(path) {
  return (await send('GET', path)).blob();
}
