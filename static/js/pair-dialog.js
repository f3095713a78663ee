// Makes a preference pair of a right and a wrong response to the trace's prompt, and adds it to a data set.

import * as api from './api-runs.js';
import { score } from './api.js';
import { commonBeginning } from './common-beginning.js';
import { cancel, dialog } from './dialogs.js';
import { fill, h } from './dom.js';
import { integer, plain } from './format.js';
import { distinct, shortText } from './rollout-detail.js';
import { rolloutParts, whole } from './rollout-full.js';
import { explain } from './states.js';

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').Rollout} Rollout */
/** @typedef {{name: string, text: string, tokens?: import('./types.js').Token[]}} Choice `tokens` where it is scored already */

const REMEMBERED = 'linchpin.pairs';
const FIRST_NAME = 'pairs';
const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const OTHER = '\n';

/**
 * @param {Trace} trace @param {Rollouts} set @param {Rollout} rollout the one side; the dialog offers the other
 * @returns {Promise<{name: string, rows: number}|null>} the data set that the pair was added to; null when dismissed
 */
export async function addAsPair(trace, set, rollout) {
  const sides = choices(trace, set, rollout);
  const chosen = side('chosen', 'Chosen: the right one', sides.right);
  const rejected = side('rejected', 'Rejected: the wrong one', sides.wrong);
  const preview = h('div', { class: 'pair-preview' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const { root: name, value: nameOf, known, input } = dataset(() => (problem.textContent = ''));
  const pair = () => ({
    prompt: trace.prompt.text,
    chosen: sides.right[chosen.select.selectedIndex]?.text ?? '',
    rejected: sides.wrong[rejected.select.selectedIndex]?.text ?? '',
  });
  const draw = () => {
    problem.textContent = '';
    fill(preview, shown(pair()));
  };
  for (const { select } of [chosen, rejected]) select.addEventListener('change', draw);
  draw();

  /** @type {{name: string, rows: number}|null} */
  let added = null;
  const add = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const wanted = nameOf();
    if (!NAME.test(wanted)) {
      problem.textContent = 'A data set’s name has 1 to 64 of A–Z, a–z, 0–9, “.”, “_” and “-”.';
      input.focus();
      return;
    }
    button.disabled = true;
    try {
      if (known() && (await api.hasPair(wanted, pair()))) problem.textContent = `${wanted} has this pair already.`;
      else {
        const weights = await rejectedWeights(trace, sides.wrong[rejected.select.selectedIndex]);
        // Dismissed meanwhile: nothing is to be added.
        if (!button.isConnected) return;
        added = await api.addPair(wanted, { ...pair(), ...weights });
        remember(wanted);
        button.closest('dialog').close('ok');
      }
    } catch (error) {
      problem.textContent = explain(error);
    } finally {
      button.disabled = false;
    }
  };
  const lacking = !sides.right.length ? 'right' : !sides.wrong.length ? 'wrong' : '';
  const button = h(
    'button',
    { class: 'main-button', id: 'pair-add', disabled: lacking !== '', on: { click: add } },
    'Add the pair',
  );
  if (lacking) problem.textContent = `A pair needs a ${lacking} response too, and this fork has none.`;
  await dialog(
    'Add as preference pair',
    [
      h(
        'p',
        { class: 'hint' },
        'Both answer the trace’s prompt. Training makes the chosen one likelier and the rejected one less likely, token by token as s_t weighs it.',
      ),
      chosen.root,
      rejected.root,
      preview,
      name,
      problem,
    ],
    [cancel('Cancel'), button],
  );
  return added;
}

/** @param {Trace} trace @param {Rollouts} set @param {Rollout} first */
function choices(trace, set, first) {
  const all = distinct(set.rollouts ?? []);
  const of = (/** @type {string} */ status) => {
    /** @type {Choice[]} */
    const found = all
      .filter(({ rollout }) => rollout.verdict.status === status)
      // The one that the reader came from stands first.
      .sort((a, b) => Number(same(b.rollout, first)) - Number(same(a.rollout, first)))
      .map(({ rollout, times }) => ({
        name: `${shortText(set, rollout)}${times > 1 ? ` ×${integer(times)}` : ''}`,
        text: whole(rolloutParts(trace, set, rollout)),
      }));
    if (trace.verdict?.status === status) {
      const response = { name: 'the response', text: trace.response.text, tokens: trace.tokens };
      if (first.verdict.status === status) found.push(response);
      else found.unshift(response);
    }
    return found;
  };
  return { right: of('correct'), wrong: of('wrong') };
}

/**
 * What cDPO weights the rejected tokens by, 1 − s_t: with it the pair can be trained on as it is. Nothing without a
 * positive and a negative model.
 * @param {Trace} trace @param {Choice} rejected @returns {Promise<{rejected_weights?: number[]}>}
 */
async function rejectedWeights(trace, rejected) {
  const tokens =
    rejected.tokens ?? (await score({ prompt: trace.prompt.text, response: rejected.text, beta: trace.beta, save: false })).tokens;
  const weights = tokens.map((token) => (token.score === null ? NaN : 1 - token.score));
  return weights.some(Number.isNaN) ? {} : { rejected_weights: weights };
}

/** @param {Rollout} a @param {Rollout} b */
const same = (a, b) => a.alternative === b.alternative && a.text === b.text;

/** @param {string} id @param {string} label @param {Choice[]} offered */
function side(id, label, offered) {
  const select = h(
    'select',
    { id: `pair-${id}` },
    offered.map(({ name }) => h('option', {}, name)),
  );
  return { select, root: h('label', {}, label, select) };
}

/** The two texts, their common beginning dimmed. @param {api.Pair} pair */
function shown({ prompt, chosen, rejected }) {
  const common = commonBeginning(chosen, rejected);
  const text = (/** @type {string} */ label, /** @type {string} */ kind, /** @type {string} */ all) =>
    h(
      'div',
      {},
      h('p', { class: 'side-label' }, label),
      h(
        'p',
        { class: `model-text ${kind}` },
        h('span', { class: 'shared' }, plain(all.slice(0, common))),
        h('span', { class: 'own' }, plain(all.slice(common))),
      ),
    );
  return [
    h('details', {}, h('summary', {}, 'Prompt'), h('p', { class: 'model-text shared' }, plain(prompt))),
    text('✓ chosen', 'chosen', chosen),
    text('✗ rejected', 'rejected', rejected),
  ];
}

/** The choice of a data set: those of pairs, or another name. @param {() => void} onChange */
function dataset(onChange) {
  const last = remembered();
  const input = h('input', {
    type: 'text',
    id: 'pair-name',
    autocomplete: 'off',
    value: last,
    on: { input: onChange },
  });
  const other = h('label', {}, 'Name of the new data set', input);
  const select = h('select', {
    id: 'pair-dataset',
    on: {
      change: () => {
        other.hidden = select.value !== OTHER;
        onChange();
      },
    },
  });
  const offer = (/** @type {string[]} */ names) => {
    fill(
      select,
      names.map((name) => h('option', { value: name }, name)),
      h('option', { value: OTHER }, 'a new data set…'),
    );
    select.value = names.includes(last) ? last : OTHER;
    other.hidden = select.value !== OTHER;
  };
  offer([]);
  /** @type {string[]} */
  let there = [];
  api.preferenceSets().then(
    (names) => {
      there = names;
      // Not while another name is being typed.
      if (document.activeElement !== input) offer(names);
    },
    () => {},
  );
  const value = () => (select.value === OTHER ? input.value.trim() : select.value);
  const known = () => there.includes(value());
  return { root: [h('label', {}, 'Data set', select), other], value, known, input };
}

function remembered() {
  try {
    return localStorage.getItem(REMEMBERED) ?? FIRST_NAME;
  } catch {
    return FIRST_NAME;
  }
}

/** @param {string} name */
function remember(name) {
  try {
    localStorage.setItem(REMEMBERED, name);
  } catch {
    // Storage may be forbidden; the name is then asked for again.
  }
}
