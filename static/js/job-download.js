// Files of the server as links. A plain link works where it can; with a key, which it could not carry, the file is
// fetched and handed over instead.

import { fetched } from './api-jobs.js';
import { key } from './api.js';
import { notice } from './dialogs.js';
import { handOver } from './hand-over.js';
import { explain } from './states.js';

/** The click of a download link. @param {Event} event @param {string} path @param {string} name the file's */
export async function download(event, path, name) {
  if (!key()) return;
  event.preventDefault();
  try {
    handOver(await fetched(path), name);
  } catch (error) {
    notice(`${name} was not downloaded: ${explain(error)}`, 'bad');
  }
}
