// The loaded models: what they are, which of them contrast, and loading and unloading adapters.

import * as api from './api.js';
import { confirm, notice } from './dialogs.js';
import { fill, h } from './dom.js';
import { bytes, count, integer, parameters, plain } from './format.js';
import { adapterLoader } from './models-loader.js';
import { explain, failed, loading } from './states.js';

/** @typedef {import('./types.js').ModelCard} ModelCard */

/** Columns of the table to the left of the memory. */
const BEFORE_MEMORY = 7;

export class ModelsView {
  /** @param {(models: ModelCard[]) => void} onChanged */
  constructor(onChanged) {
    this.onChanged = onChanged;
    /** @type {ModelCard[]} */
    this.models = [];
    this.body = h('div', {});
    this.root = h(
      'section',
      { class: 'models-view', 'aria-labelledby': 'models-title' },
      h('h1', { id: 'models-title' }, 'Models'),
      this.body,
    );
  }

  async show() {
    if (!this.models.length) fill(this.body, loading('Asking which models are loaded…'));
    try {
      this.models = await api.models();
      this.onChanged(this.models);
      this.#draw();
    } catch (error) {
      fill(
        this.body,
        failed('The models could not be listed', error, () => this.show()),
      );
    }
  }

  #draw() {
    const adapters = this.models.filter((model) => model.kind !== 'checkpoint' || !isBase(model));
    fill(
      this.body,
      this.#roles(adapters),
      this.#table(),
      adapterLoader(() => this.show()),
    );
  }

  /** @param {ModelCard[]} candidates */
  #roles(candidates) {
    const playing = (/** @type {string} */ role) => candidates.find((model) => model.roles.includes(role))?.id ?? '';
    const choice = (/** @type {'positive'|'negative'} */ role) => {
      const select = h(
        'select',
        {
          id: `role-${role}`,
          on: {
            change: () =>
              this.#assign({
                positive: playing('positive') || null,
                negative: playing('negative') || null,
                [role]: select.value || null,
              }),
          },
        },
        h('option', { value: '' }, '(none)'),
        candidates.map((model) => h('option', { value: model.id }, plain(model.id))),
      );
      select.value = playing(role);
      return h('label', { class: 'field' }, h('span', { class: 'field-label' }, role), select);
    };
    const both = playing('positive') && playing('negative');
    return h(
      'section',
      { class: 'card', 'aria-labelledby': 'roles-title' },
      h('h2', { id: 'roles-title' }, 'Who contrasts'),
      candidates.length ? h('div', { class: 'field-row' }, choice('positive'), choice('negative')) : null,
      both
        ? h(
            'p',
            { class: 'hint' },
            'New scores use these at once. Work that has begun keeps the models that it began with.',
          )
        : h(
            'p',
            { class: 'banner' },
            candidates.length
              ? 'Scores need both roles. Until then the base’s own measures are given.'
              : 'Only the base is loaded, so there is no s_t yet. Load two adapters below: one trained on right solutions, one on wrong ones.',
          ),
    );
  }

  #table() {
    const row = (/** @type {ModelCard} */ model) =>
      h(
        'tr',
        { data: { id: model.id } },
        h('th', { scope: 'row' }, plain(model.id)),
        h(
          'td',
          {},
          model.roles.length
            ? model.roles.map((role) => h('span', { class: `badge role ${role}` }, role))
            : h('span', { class: 'hint' }, 'no role'),
        ),
        h('td', {}, model.kind),
        h('td', {}, model.architecture),
        h('td', { class: 'num' }, parameters(model.parameters)),
        h('td', {}, model.dtype),
        h('td', {}, model.device),
        h('td', { class: 'num' }, bytes(model.memory_bytes)),
        h('td', { class: 'num' }, integer(model.max_context)),
        h('td', {}, this.#sha(model.sha256)),
        h(
          'td',
          {},
          model.kind === 'adapter'
            ? h(
                'button',
                {
                  type: 'button',
                  class: 'quiet',
                  title: model.roles.length ? 'It has a role: give that to another first' : 'Unload',
                  on: { click: () => this.#unload(model) },
                },
                'Unload',
              )
            : null,
        ),
      );
    const head = [
      'name',
      'role',
      'kind',
      'architecture',
      'weights',
      'dtype',
      'device',
      'memory',
      'context',
      'sha256',
      '',
    ];
    return h(
      'div',
      { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Loaded models' },
      h(
        'table',
        { class: 'models-table' },
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            head.map((name) => h('th', { scope: 'col' }, name || h('span', { class: 'unseen' }, 'actions'))),
          ),
        ),
        h('tbody', {}, this.models.map(row)),
        h(
          'tfoot',
          {},
          h(
            'tr',
            {},
            h('th', { scope: 'row', colspan: BEFORE_MEMORY }, `${count(this.models.length, 'model')} in memory`),
            h('td', { class: 'num' }, bytes(this.models.reduce((all, model) => all + model.memory_bytes, 0))),
            h('td', { colspan: 3 }),
          ),
        ),
      ),
    );
  }

  /** @param {string} sha */
  #sha(sha) {
    return h(
      'button',
      {
        type: 'button',
        class: 'quiet mono',
        title: `${sha}: copy`,
        'aria-label': `Copy the sha256 beginning ${sha.slice(0, 8)}`,
        on: {
          click: async () => {
            try {
              await navigator.clipboard.writeText(sha);
              notice('The sha256 was copied.');
            } catch {
              // Clipboards need a secure origin and consent: show it to be copied by hand.
              notice(sha);
            }
          },
        },
      },
      `${sha.slice(0, 12)}…`,
    );
  }

  /** @param {{positive: string|null, negative: string|null}} roles */
  async #assign(roles) {
    try {
      await api.setRoles(roles);
      notice('The roles were set.');
    } catch (error) {
      notice(`The roles were not changed: ${explain(error)}`, 'bad');
    }
    await this.show();
  }

  /** @param {ModelCard} model */
  async #unload(model) {
    if (!(await confirm('Unload this adapter?', `${model.id} leaves memory; its files stay where they are.`, 'Unload')))
      return;
    try {
      await api.unloadAdapter(model.id);
      notice(`${model.id} was unloaded.`);
    } catch (error) {
      notice(explain(error), 'bad');
    }
    await this.show();
  }
}

/** @param {ModelCard} model */
function isBase(model) {
  return model.roles.includes('base');
}
