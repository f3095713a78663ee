// Hands files over: an exported trace as the server writes it, several traces in one file, and what the page draws.

import * as api from './api.js';
import { notice } from './dialogs.js';
import { count } from './format.js';
import { handOver } from './hand-over.js';
import { explain } from './states.js';

/** @typedef {'jsonl'|'csv'|'html'} Format */

/** Fetched, not linked: a plain link could not carry the key. @param {string} id @param {Format} format */
export async function downloadTrace(id, format) {
  try {
    handOver(await api.exported(id, format), `${id}.${format}`);
  } catch (error) {
    notice(`The export failed: ${explain(error)}`, 'bad');
  }
}

/** Several traces in one file that can be imported again. @param {string[]} ids */
export async function downloadTraces(ids) {
  try {
    const files = [];
    for (const id of ids) files.push(await api.exported(id, 'jsonl'));
    handOver(
      new Blob(files, { type: 'application/x-ndjson' }),
      `linchpin-${count(ids.length, 'trace').replace(/\W/g, '-')}.jsonl`,
    );
  } catch (error) {
    notice(`The export failed: ${explain(error)}`, 'bad');
  }
}
