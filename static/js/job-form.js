// The form for a job. Its fields come from the server's own description of the kind's settings; beside them stand the
// request that it would send and, after a dry run, what the job would do.

import * as api from './api-jobs.js';
import * as server from './api.js';
import { fill, h } from './dom.js';
import { count, plain } from './format.js';
import { copyButton } from './job-copy.js';
import { FieldFault, SettingsGroup } from './job-group.js';
import { planned } from './job-plan.js';
import { JOB_KINDS, KINDS, adapterFolders, isOver, kindFor, title } from './job-words.js';
import * as router from './router.js';
import { explain, failed, loading } from './states.js';

/** @typedef {import('./job-words.js').Job} Job */

export class JobForm {
  constructor() {
    /** What the form was made for. */
    this.made = '';
    /** @type {AbortController|null} */
    this.running = null;
    /** @type {SettingsGroup|null} */
    this.settings = null;
    /** What could be chosen when it was made. */
    this.there = '';
    /** The kind that the fields are of. */
    this.shown = '';
    /** What was set for kinds that were looked at before the shown one. @type {Map<string, Record<string, any>>} */
    this.left = new Map();
    this.switching = false;
    this.kind = h(
      'select',
      { id: 'job-kind', on: { change: () => this.#switchKind() } },
      JOB_KINDS.map((kind) => h('option', { value: kind }, kind)),
    );
    this.about = h('p', { class: 'hint', id: 'job-kind-hint' });
    this.kind.setAttribute('aria-describedby', this.about.id);
    this.name = h('input', {
      type: 'text',
      id: 'job-name',
      autocomplete: 'off',
      maxlength: 200,
      placeholder: 'optional',
    });
    this.fields = h('div', { class: 'job-fields' });
    this.problem = h('p', { class: 'problem', role: 'alert', id: 'job-problem' });
    this.dry = h('button', { type: 'button', id: 'dry-run', on: { click: () => this.#dryRun() } }, 'Dry run');
    this.start = h('button', { type: 'submit', class: 'main-button' }, 'Start');
    this.command = h('pre', { id: 'job-command', tabindex: 0, 'aria-label': 'The same as a command' });
    const plan = { id: 'job-plan', role: 'region', 'aria-label': 'What the job would do', 'aria-live': 'polite' };
    this.plan = h('div', plan);
    this.actions = h('div', { class: 'form-actions' }, this.start, this.dry);
    this.form = h(
      'form',
      {
        id: 'job-form',
        class: 'job-form',
        novalidate: true,
        'aria-labelledby': 'job-form-title',
        on: {
          submit: (/** @type {Event} */ event) => this.#submit(event),
          input: () => this.#preview(),
          change: () => this.#preview(),
        },
      },
      h(
        'div',
        { class: 'field-row' },
        h('label', { class: 'field' }, h('span', { class: 'field-label' }, 'What to do'), this.kind),
        h('label', { class: 'field grow' }, h('span', { class: 'field-label' }, 'Name'), this.name),
      ),
      this.about,
      this.fields,
      this.problem,
      this.actions,
    );
    this.root = h(
      'div',
      { class: 'page-body' },
      h(
        'div',
        { class: 'page-head' },
        h('a', { class: 'back', href: '/?view=jobs', data: { nav: 'here' } }, '‹ Jobs'),
        h('h1', { id: 'job-form-title' }, 'New job'),
      ),
      h(
        'div',
        { class: 'job-form-columns' },
        this.form,
        h(
          'aside',
          { class: 'job-beside', 'aria-label': 'The request' },
          this.plan,
          h(
            'div',
            { class: 'card' },
            h(
              'div',
              { class: 'part-head' },
              h('h2', {}, 'As a command'),
              copyButton('the command', () => this.command.textContent ?? ''),
            ),
            this.command,
          ),
        ),
      ),
    );
  }

  /** @param {router.Route} route */
  show(route) {
    const made = JSON.stringify([route.kind, route.dataset, route.from]);
    // Back to a form that was begun: it is as it was left.
    if (made === this.made && this.settings) {
      this.#again(route);
      return;
    }
    this.made = made;
    if (!this.switching) this.left.clear();
    this.switching = false;
    this.#make(route);
  }

  /** Shows another kind's fields, and keeps what is set here for when the reader comes back to it. */
  #switchKind() {
    try {
      if (this.settings) this.left.set(this.shown, this.settings.read());
    } catch {
      // What cannot be read as settings cannot be written as such.
    }
    this.switching = true;
    router.adjust({ kind: this.kind.value, from: null });
  }

  leave() {
    this.running?.abort();
  }

  /** Makes the form anew, as it was left, if there are other data sets or adapters by now. @param {router.Route} route */
  async #again(route) {
    const { made } = this;
    try {
      const there = await offered();
      if (made !== this.made || there.key === this.there) return;
      const left = this.settings?.read();
      await this.#make(route);
      if (left && made === this.made) this.settings?.write(left);
      this.#preview();
    } catch {
      // What was typed is not right yet, or the server does not answer: the form stays as it is.
    }
  }

  /** @param {router.Route} route */
  async #make(route) {
    const { made } = this;
    this.running?.abort();
    this.settings = null;
    this.#clearProblem();
    fill(this.plan);
    fill(this.command);
    fill(this.fields, loading('Reading what can be set…'));
    try {
      const [there, models, source] = await Promise.all([
        offered(),
        server.models(),
        route.from ? api.job(route.from) : null,
      ]);
      const { datasets, adapters } = there;
      const given = datasets.find(({ name }) => name === route.dataset);
      const kind = source?.kind ?? route.kind ?? (given ? kindFor(given.kind) : JOB_KINDS[0]);
      const schema = await api.configSchema(kind);
      // The reader has gone on to another form meanwhile.
      if (made !== this.made) return;
      this.there = there.key;
      this.kind.value = this.shown = kind;
      const { reads, what } = KINDS[kind];
      this.about.textContent = `Reads ${reads}, makes ${what}.`;
      const fitting = (/** @type {string} */ field) => (field === 'eval_dataset' ? 'problems' : reads);
      this.settings = new SettingsGroup(schema, '', {
        datasets: (field) =>
          datasets
            .filter((set) => set.kind === fitting(field))
            .map(({ name, rows }) => ({ value: name, text: `${name} (${count(rows, 'row')})` })),
        models: [...new Set(models.flatMap(({ id, roles }) => [...roles, id]))],
        adapters,
      });
      const some = datasets.some((set) => set.kind === reads);
      fill(this.fields, some ? null : noData(reads), this.settings.root);
      const left = this.left.get(kind);
      if (left) this.settings.write(left);
      else if (given && given.kind === reads) this.settings.write({ dataset: given.name });
      if (source) this.#takeOver(source);
      this.#preview();
    } catch (error) {
      if (made !== this.made) return;
      this.made = '';
      fill(
        this.fields,
        failed('The form could not be made', error, () => this.show(router.route())),
      );
    }
  }

  /** @param {Job} source */
  #takeOver(source) {
    const config = structuredClone(source.config);
    // The record shows a pipeline's seed at every stage, where it need not be given.
    for (const stage of Object.values(config)) if (stage?.seed === config.seed) delete stage.seed;
    this.settings?.write(config);
    this.name.value = source.name ?? '';
  }

  /** The request as the form has it; throws what is wrong. */
  #request() {
    const name = this.name.value.trim();
    const config = /** @type {SettingsGroup} */ (this.settings).read();
    return { kind: this.kind.value, ...(name ? { name } : {}), config };
  }

  /** Shows the request as far as it can be sent. */
  #preview() {
    if (!this.settings) return;
    try {
      this.command.textContent = curl(this.#request());
    } catch {
      this.command.textContent = 'A field is not right yet.';
    }
  }

  #clearProblem() {
    this.problem.textContent = '';
    this.actions.before(this.problem);
    for (const input of this.form.querySelectorAll('[aria-invalid]')) {
      input.removeAttribute('aria-invalid');
      input.removeAttribute('aria-errormessage');
    }
  }

  /** Says what is wrong, at its field where it has one. @param {string} text @param {HTMLElement|null} [at] */
  #say(text, at = null) {
    at?.parentElement?.append(this.problem);
    this.problem.textContent = text;
    if (!at) return this.problem.scrollIntoView({ block: 'nearest' });
    for (const fold of this.form.querySelectorAll('details')) if (fold.contains(at)) fold.open = true;
    at.setAttribute('aria-invalid', 'true');
    at.setAttribute('aria-errormessage', this.problem.id);
    at.focus();
  }

  /** @param {any} error */
  #refused(error) {
    if (error instanceof FieldFault) return this.#say(error.message, error.field.input);
    const param = /** @type {string} */ (error.param ?? '');
    const field = param === 'name' ? this.name : (this.settings?.at(param.replace(/^config\.?/, '')) ?? null);
    this.#say(field ? error.message : explain(error), field);
  }

  /** @template T @param {(request: any, signal: AbortSignal) => Promise<T>} send @returns {Promise<T|null>} */
  async #send(send) {
    if (this.running || !this.settings) return null;
    this.#clearProblem();
    const running = new AbortController();
    this.running = running;
    this.start.disabled = this.dry.disabled = true;
    try {
      const answer = await send(this.#request(), running.signal);
      // It came to an end, but not for the form that is seen now.
      return running.signal.aborted ? null : answer;
    } catch (error) {
      if (!running.signal.aborted) this.#refused(error);
      return null;
    } finally {
      if (this.running === running) this.running = null;
      this.start.disabled = this.dry.disabled = false;
    }
  }

  async #dryRun() {
    fill(this.plan, loading('Looking through the rows…'));
    const plan = await this.#send(api.dryRun);
    fill(this.plan, plan ? planned(plan) : null);
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    const job = await this.#send(api.submitJob);
    if (!job) return;
    // The next form begins anew.
    this.made = '';
    this.name.value = '';
    router.open({ job: job.id, kind: null, dataset: null, from: null });
  }
}

/** What a job can be given: data sets, and adapters of other jobs; `key` differs when these do. */
async function offered() {
  const [datasets, jobs] = await Promise.all([api.datasets(), api.jobs({ limit: 100 }, null)]);
  const adapters = madeBy(jobs.data);
  return { datasets, adapters, key: JSON.stringify([datasets.map(({ name, sha256 }) => [name, sha256]), adapters]) };
}

/** The adapters that jobs have made, newest first. @param {Job[]} jobs */
function madeBy(jobs) {
  return jobs.filter(isOver).flatMap((job) =>
    adapterFolders(job.artifacts).map((artifact) => ({
      job: job.id,
      artifact,
      text: `${plain(title(job))}, ${artifact}`,
    })),
  );
}

/** @param {string} reads */
function noData(reads) {
  return h(
    'p',
    { class: 'banner' },
    `No data set holds ${reads} yet. `,
    h('a', { href: '/?view=data', data: { nav: 'here' } }, 'Upload one'),
    ' first.',
  );
}

/** The request as a command for a shell. @param {object} request */
function curl(request) {
  const json = JSON.stringify(request, null, 2).replaceAll("'", "'\\''");
  const key = server.key() ? '  -H "Authorization: Bearer $LINCHPIN_API_KEY" \\\n' : '';
  return `curl -s ${location.origin}/v1/jobs \\\n${key}  --json '${json}'`;
}
