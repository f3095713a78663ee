// Hands files over: an exported trace as the server writes it, several traces in one file, and what the page draws.

import * as api from './api.js';
import { notice } from './dialogs.js';
import { h } from './dom.js';
import { count } from './format.js';
import { explain } from './states.js';

/** @typedef {'jsonl'|'csv'|'html'} Format */

/** Milliseconds after which a browser has surely begun to read the file. */
const HANDED_OVER = 10_000;

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  h('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), HANDED_OVER);
}

/** Fetched, not linked: a plain link could not carry the key. @param {string} id @param {Format} format */
export async function downloadTrace(id, format) {
  try {
    download(await api.exported(id, format), `${id}.${format}`);
  } catch (error) {
    notice(`The export failed: ${explain(error)}`, 'bad');
  }
}

/** Several traces in one file that can be imported again. @param {string[]} ids */
export async function downloadTraces(ids) {
  try {
    const files = [];
    for (const id of ids) files.push(await api.exported(id, 'jsonl'));
    download(
      new Blob(files, { type: 'application/x-ndjson' }),
      `linchpin-${count(ids.length, 'trace').replace(/\W/g, '-')}.jsonl`,
    );
  } catch (error) {
    notice(`The export failed: ${explain(error)}`, 'bad');
  }
}
