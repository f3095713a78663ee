// Imports JSONL files of traces: from the picker, or dropped anywhere on the page. What was refused is told line by line.

import * as api from './api.js';
import { dialog, notice } from './dialogs.js';
import { h } from './dom.js';
import { count, integer, plain } from './format.js';
import * as router from './router.js';
import { explain } from './states.js';

/** Refused lines that a report shows. */
const SHOWN = 50;

/**
 * @typedef {object} FileReport
 * @property {string} name
 * @property {number} imported
 * @property {number} unchanged
 * @property {string[]} ids
 * @property {{line: number, message: string}[]} errors
 * @property {string} [failure] Why the file as a whole was not taken.
 */

export class Importer {
  /** @param {{imported: (ids: string[]) => Promise<any>|void, status: (text: string) => void}} on */
  constructor(on) {
    this.on = on;
    this.picker = h('input', {
      type: 'file',
      id: 'import-file',
      class: 'unseen',
      accept: '.jsonl,.ndjson,application/x-ndjson',
      multiple: true,
      tabindex: -1,
      'aria-label': 'JSONL files of traces',
      on: {
        change: async () => {
          await this.#take([...(this.picker.files ?? [])]);
          // The same file may be chosen again after it was corrected.
          this.picker.value = '';
        },
      },
    });
    this.zone = h(
      'div',
      { class: 'drop-zone', hidden: true },
      h('p', { class: 'drop-text' }, 'Drop JSONL files to import their traces'),
    );
    document.body.append(this.zone);
    // Entering a child fires before leaving its parent.
    let inside = 0;
    const over = (/** @type {boolean} */ on) => (this.zone.hidden = !on);
    addEventListener('dragenter', (event) => {
      if (!this.#mine(event)) return;
      inside += 1;
      over(true);
    });
    addEventListener('dragleave', (event) => {
      if (!this.#mine(event)) return;
      inside = Math.max(0, inside - 1);
      if (!inside) over(false);
    });
    addEventListener('dragover', (event) => {
      if (this.#mine(event)) event.preventDefault();
    });
    addEventListener('drop', (event) => {
      inside = 0;
      over(false);
      if (!this.#mine(event)) return;
      event.preventDefault();
      this.#take([...(event.dataTransfer?.files ?? [])]);
    });
  }

  pick() {
    this.picker.click();
  }

  /** Files, over a part of the page that does not take them for itself. @param {DragEvent} event */
  #mine(event) {
    return (
      !event.defaultPrevented &&
      router.route().view !== 'data' &&
      Boolean(event.dataTransfer?.types.includes('Files')) &&
      !document.querySelector('dialog[open]')
    );
  }

  /** @param {File[]} files */
  async #take(files) {
    if (!files.length) return;
    /** @type {FileReport[]} */
    const reports = [];
    for (const file of files) {
      this.on.status(`Importing ${file.name}…`);
      try {
        reports.push({ name: file.name, ...(await api.importTraces(file)) });
      } catch (error) {
        reports.push({ name: file.name, imported: 0, unchanged: 0, ids: [], errors: [], failure: explain(error) });
      }
    }
    this.on.status('');
    await this.on.imported(reports.flatMap(({ ids }) => ids));
    const refused = reports.some(({ errors, failure }) => errors.length || failure);
    if (refused) await report(reports);
    else notice(`${summary(reports)}.`);
  }
}

/** @param {FileReport[]} reports */
function summary(reports) {
  const sum = (/** @type {'imported'|'unchanged'} */ key) => reports.reduce((all, one) => all + one[key], 0);
  const from = reports.length === 1 ? plain(reports[0].name) : count(reports.length, 'file');
  const known = sum('unchanged');
  return `${count(sum('imported'), 'trace')} imported from ${from}${known ? `, ${integer(known)} stored already` : ''}`;
}

/** @param {FileReport[]} reports */
function report(reports) {
  const table = (/** @type {FileReport} */ { name, errors, failure }) =>
    h(
      'section',
      { class: 'refused' },
      h('h3', {}, plain(name)),
      failure ? h('p', { class: 'problem' }, failure) : null,
      errors.length
        ? h(
            'table',
            { class: 'refused-lines' },
            h(
              'thead',
              {},
              h('tr', {}, h('th', { scope: 'col' }, 'line'), h('th', { scope: 'col' }, 'why it was refused')),
            ),
            h(
              'tbody',
              {},
              errors
                .slice(0, SHOWN)
                .map(({ line, message }) =>
                  h(
                    'tr',
                    {},
                    h('td', { class: 'num' }, integer(line)),
                    h('td', {}, plain(message.replace(/^line \d+: /, ''))),
                  ),
                ),
            ),
          )
        : null,
      errors.length > SHOWN ? h('p', { class: 'hint' }, `and ${integer(errors.length - SHOWN)} more`) : null,
    );
  const wrong = reports.filter(({ errors, failure }) => errors.length || failure);
  const lines = wrong.reduce((all, { errors }) => all + errors.length, 0);
  const some = reports.some(({ imported, unchanged }) => imported + unchanged);
  return dialog(
    some ? 'Not everything was imported' : 'Nothing was imported',
    [
      h('p', {}, `${summary(reports)}${lines ? `, ${count(lines, 'line')} refused` : ''}.`),
      h(
        'div',
        { class: 'refused-scroll', tabindex: 0, role: 'region', 'aria-label': 'Refused lines' },
        wrong.map(table),
      ),
      h(
        'p',
        { class: 'hint' },
        some ? 'The other lines are stored. ' : '',
        'Only traces as this page exports them can be read. Mend what was refused, and import the file again.',
      ),
    ],
    [h('button', { class: 'main-button', value: 'ok', autofocus: true }, 'Close')],
  );
}
