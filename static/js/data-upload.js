// Uploading data sets: files that were dropped or picked wait here with a name each, and stay until they are stored, so
// that a refused line can be corrected and the file sent again.

import * as api from './api-jobs.js';
import { confirm, notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { bytes, count, plain } from './format.js';
import { slug } from './job-words.js';
import { explain } from './states.js';

export class DataUpload {
  /** @param {() => void} onStored */
  constructor(onStored) {
    this.onStored = onStored;
    /** Names that are taken. @type {Set<string>} */
    this.names = new Set();
    this.input = h('input', {
      type: 'file',
      id: 'dataset-file',
      class: 'unseen',
      multiple: true,
      accept: '.jsonl,.ndjson,.json,application/x-ndjson',
      tabindex: -1,
      'aria-label': 'JSONL files',
      on: { change: () => this.#chosen() },
    });
    this.waiting = h('div', { class: 'uploads' });
    this.zone = h(
      'div',
      { class: 'data-drop' },
      h('p', {}, h('strong', {}, 'Drop JSONL files here'), ' or '),
      h('button', { type: 'button', on: { click: () => this.input.click() } }, 'Choose files…'),
      h(
        'p',
        { class: 'hint' },
        'One object a line, all of a kind: ',
        h('code', {}, '{"question", "answer"}'),
        ', ',
        h('code', {}, '{"prompt", "response"}'),
        ' or ',
        h('code', {}, '{"prompt", "chosen", "rejected"}'),
        '.',
      ),
      this.input,
    );
    this.root = h('section', { 'aria-label': 'Upload' }, this.zone, this.waiting);
    for (const [event, over] of [
      ['dragover', true],
      ['dragleave', false],
      ['drop', false],
    ]) {
      this.zone.addEventListener(/** @type {string} */ (event), (/** @type {DragEvent} */ drag) => {
        if (!drag.dataTransfer?.types.includes('Files')) return;
        drag.preventDefault();
        this.zone.classList.toggle('over', Boolean(over));
        if (event === 'drop') this.#take([...drag.dataTransfer.files]);
      });
    }
  }

  #chosen() {
    this.#take([...(this.input.files ?? [])]);
    // The same file may be chosen again after it was corrected.
    this.input.value = '';
  }

  /** @param {File[]} files */
  #take(files) {
    for (const file of files) this.waiting.append(this.#entry(file));
    /** @type {HTMLElement|null} */ (this.waiting.querySelector('button[type="submit"]'))?.focus();
  }

  /** A file that waits to be sent. @param {File} file */
  #entry(file) {
    const name = h('input', {
      type: 'text',
      value: slug(file.name.replace(/\.(jsonl|ndjson|json)$/i, '')),
      autocomplete: 'off',
      spellcheck: 'false',
      maxlength: 64,
      required: true,
    });
    const problem = h('p', { class: 'problem', role: 'alert' });
    const send = h('button', { type: 'submit', class: 'main-button' }, 'Upload');
    const drop = h('button', { type: 'button', class: 'quiet' }, 'Put away');
    /** @type {AbortController|null} */
    let running = null;
    drop.addEventListener('click', () => (running ? running.abort() : entry.remove()));
    const entry = h(
      'form',
      {
        class: 'upload card',
        novalidate: true,
        on: {
          submit: async (/** @type {Event} */ event) => {
            event.preventDefault();
            if (running) return;
            problem.textContent = '';
            const wanted = name.value.trim();
            if (this.names.has(wanted) && !(await this.#replace(wanted))) return;
            running = new AbortController();
            send.disabled = true;
            fill(drop, 'Stop');
            fill(send, 'Uploading…');
            try {
              const stored = await api.putDataset(wanted, file, running.signal);
              notice(`${stored.name}: ${count(stored.rows, 'row')} of ${stored.kind} stored.`);
              entry.remove();
              this.onStored();
            } catch (error) {
              const why = running.signal.aborted ? 'Stopped' : explain(error).replace(/[.]$/, '');
              problem.textContent = `${why}. Nothing was stored.`;
            }
            running = null;
            send.disabled = false;
            fill(drop, 'Put away');
            fill(send, 'Upload');
          },
        },
      },
      h('p', {}, h('strong', {}, plain(file.name)), h('span', { class: 'hint num' }, ` ${bytes(file.size)}`)),
      h(
        'div',
        { class: 'field-row' },
        h('label', { class: 'field grow' }, h('span', { class: 'field-label' }, 'Store it as'), name),
        send,
        drop,
      ),
      problem,
    );
    return entry;
  }

  /** @param {string} name */
  #replace(name) {
    const kept = 'It is replaced once every line of the file is right; jobs that read the old one keep it.';
    return confirm('Replace the data set?', `There is a data set ${name}. ${kept}`, 'Replace');
  }
}
