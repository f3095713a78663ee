// An adapter that a job made: one click loads it and gives it a role.

import * as jobs from './api-jobs.js';
import * as api from './api.js';
import { fill, h } from './dom.js';
import { bytes, plain } from './format.js';
import { slug, title } from './job-words.js';
import { explain } from './states.js';

/** @typedef {import('./job-words.js').Job} Job */
/** @typedef {'positive'|'negative'} Contrasting */

/** @type {(Contrasting|null)[]} */
const CHOICES = ['positive', 'negative', null];

export class JobAdapter {
  /**
   * @param {Job} job @param {string} folder among its artifacts
   * @param {{onModels: (models: import('./types.js').ModelCard[]) => void}} on
   */
  constructor(job, folder, on) {
    this.job = job;
    this.folder = folder;
    this.on = on;
    /** The name that it was loaded by from here. @type {string|null} */
    this.loaded = null;
    /** The role that it was given from here. @type {Contrasting|null} */
    this.role = null;
    const size = job.artifacts.filter(({ name }) => name.startsWith(`${folder}/`)).reduce((sum, f) => sum + f.bytes, 0);
    this.name = h('input', {
      type: 'text',
      autocomplete: 'off',
      spellcheck: 'false',
      'aria-label': `Name for the adapter ${folder}`,
      maxlength: 64,
    });
    this.buttons = h('div', { class: 'adapter-buttons' });
    this.said = h('p', { class: 'adapter-said', role: 'status' });
    this.problem = h('p', { class: 'problem', role: 'alert' });
    this.root = h(
      'form',
      {
        class: 'adapter',
        data: { artifact: folder },
        on: { submit: (/** @type {Event} */ event) => (event.preventDefault(), this.#load(this.#likely())) },
      },
      h(
        'p',
        { class: 'adapter-head' },
        h('strong', {}, plain(folder)),
        h('span', { class: 'hint num' }, `adapter, ${bytes(size)}`),
      ),
      h('label', { class: 'field' }, h('span', { class: 'field-label' }, 'Load it as'), this.name),
      this.buttons,
      this.said,
      this.problem,
    );
    this.#buttons();
    this.#suggest();
  }

  /** The role that it was most likely trained for. @returns {Contrasting|null} */
  #likely() {
    if (this.folder === 'positive' || this.job.config.responses === 'correct') return 'positive';
    if (this.folder === 'negative' || this.job.config.responses === 'wrong') return 'negative';
    return null;
  }

  /** A name that is free. */
  async #suggest() {
    const of = slug(title(this.job), 50) || this.job.kind;
    const wanted = this.folder === 'adapter' ? of : `${of}-${slug(this.folder)}`;
    let taken = new Set();
    try {
      taken = new Set((await api.models()).map(({ id }) => id));
    } catch {
      // The server says so when the name is taken.
    }
    let free = wanted;
    for (let n = 2; taken.has(free); n++) free = `${wanted}-${n}`;
    if (!this.name.value) this.name.value = free;
  }

  #buttons() {
    const likely = this.#likely();
    fill(
      this.buttons,
      CHOICES.map((role) => {
        if (this.loaded && !role) return null;
        if (this.loaded && role === this.role) return null;
        const text = this.loaded ? `Make it ${role}` : role ? `Load as ${role}` : 'Load';
        const main = role === likely && !this.loaded;
        const click = () => this.#load(role);
        return h('button', { type: 'button', class: main ? 'main-button' : '', on: { click } }, text);
      }),
    );
  }

  /** @param {Contrasting|null} role */
  async #load(role) {
    this.problem.textContent = '';
    this.#busy(true);
    try {
      if (!this.loaded) {
        const name = this.name.value.trim();
        await jobs.loadArtifact(name, this.job.id, this.folder);
        this.loaded = name;
        this.name.readOnly = true;
      }
      if (role) {
        // The other role stays as it is.
        const { positive, negative } = await jobs.roles();
        await api.setRoles({ positive, negative, [role]: this.loaded });
        this.role = role;
      }
      this.#say(role);
    } catch (error) {
      this.problem.textContent = explain(error);
      if (!this.loaded) this.name.focus();
      else this.#say(null);
    }
    this.#buttons();
    this.#busy(false);
    // Also after a role that was refused: the adapter may be there.
    const models = this.loaded ? await api.models().catch(() => null) : null;
    if (models) this.on.onModels(models);
  }

  /** @param {boolean} busy */
  #busy(busy) {
    for (const button of this.buttons.children) button.disabled = busy;
    this.root.setAttribute('aria-busy', String(busy));
  }

  /** @param {Contrasting|null} role */
  #say(role) {
    fill(
      this.said,
      '✓ Loaded as ',
      h('b', {}, plain(this.loaded ?? '')),
      role ? `, and ${role} from now on. ` : '. ',
      h('a', { href: '/?view=new', data: { nav: 'new' } }, 'Score with it'),
      ' · ',
      h('a', { href: '/?view=models', data: { nav: 'models' } }, 'Models'),
    );
  }
}
