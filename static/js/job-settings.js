// A job's settings: those that differ from the published ones in sight, all of them unfolded.

import { configSchema } from './api-jobs.js';
import { copyButton } from './job-copy.js';
import { fill, h } from './dom.js';
import { plain } from './format.js';

/** @typedef {import('./job-words.js').Job} Job */

export class JobSettings {
  /** @param {Job} job */
  constructor(job) {
    this.changed = h('p', { class: 'settings-changed' });
    const json = JSON.stringify(job.config, null, 2);
    this.root = h(
      'section',
      { class: 'job-part', 'aria-labelledby': 'settings-title' },
      h('div', { class: 'part-head' }, h('h2', { id: 'settings-title' }, 'Settings')),
      this.changed,
      h(
        'details',
        { id: 'job-config' },
        h('summary', {}, 'All settings'),
        h(
          'div',
          { class: 'code-box' },
          copyButton('the settings', () => json),
          h('pre', { tabindex: 0 }, plain(json)),
        ),
      ),
    );
    this.#compare(job);
  }

  /** @param {Job} job */
  async #compare(job) {
    try {
      const changed = differences(job.config, await configSchema(job.kind));
      fill(
        this.changed,
        changed.length ? 'Other than published: ' : 'All as published.',
        changed.map(([path, value]) => [h('code', {}, `${path} ${plain(JSON.stringify(value))}`), ' ']),
      );
    } catch {
      // Without the description nothing is known of defaults; all settings are there below.
    }
  }
}

/**
 * The settings that differ from their defaults, by their paths; what the job reads is no setting.
 * @param {Record<string, any>} config @param {any} schema @param {string} [path] @returns {[string, any][]}
 */
export function differences(config, schema, path = '') {
  return Object.entries(config).flatMap(([name, value]) => {
    const field = schema.properties[name];
    const inner = `${path}${name}`;
    // The record has the stops of the prompt's form where none were asked for.
    if (!field || inner === 'dataset' || inner === 'eval_dataset' || name === 'stop') return [];
    if (field.properties && !field.properties.job && value) return differences(value, field, `${inner}.`);
    // A stage's seed is the pipeline's, unless it has its own.
    if (name === 'seed' && path) return [];
    const normal = field.default ?? null;
    if (JSON.stringify(value) === JSON.stringify(normal)) return [];
    return [/** @type {[string, any]} */ ([inner, value])];
  });
}
