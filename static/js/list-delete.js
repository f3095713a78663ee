// Deletes traces with a way back: each is exported before it goes, and imported again, exactly, when that is undone.

import * as api from './api.js';
import { notice, undoable } from './dialogs.js';
import { count } from './format.js';
import { explain } from './states.js';

/**
 * @param {string[]} ids
 * @param {{deleted: (ids: string[]) => any, restored: (ids: string[]) => any, progress?: (done: number) => void}} on
 */
export async function deleteTraces(ids, on) {
  /** @type {string[]} */
  const gone = [];
  /** @type {Blob[]} */
  const copies = [];
  let problem = '';
  for (const id of ids) {
    try {
      const copy = await api.exported(id, 'jsonl');
      await api.deleteTrace(id);
      copies.push(copy);
      gone.push(id);
      on.progress?.(gone.length);
    } catch (error) {
      problem = explain(error);
      break;
    }
  }
  if (problem) {
    const left = ids.length - gone.length;
    notice(`${left === 1 ? 'The trace was' : `${count(left, 'trace')} were`} not deleted: ${problem}`, 'bad');
  }
  if (!gone.length) return;
  await on.deleted(gone);
  const undo = async () => {
    try {
      const { errors } = await api.importTraces(new Blob(copies));
      if (errors.length) throw new Error(errors[0].message);
      notice(`${gone.length === 1 ? 'The trace is' : `${count(gone.length, 'trace')} are`} back.`);
      on.restored(gone);
    } catch (error) {
      // The copies are still at hand.
      undoable(`The deletion was not undone: ${explain(error)}`, undo);
    }
  };
  undoable(`${gone.length === 1 ? 'The trace was' : `${count(gone.length, 'trace')} were`} deleted.`, undo);
}
