// The tree of a fork on the page. One row a node, walked by arrows as a tree is; each row with how many rollouts go
// through it and how many of them are right and wrong, by length, pattern and figures.

import { fill, h, setVars } from './dom.js';
import { count, integer, plain, verdictMark, visible } from './format.js';
import { treeOf, unfolded } from './fork-tree.js';

/** @typedef {import('./fork-tree.js').Node} Node */
/** @typedef {import('./types.js').Rollouts} Rollouts */

/** A row that shows more of a node's children. @typedef {{more: Node, hidden: number}} More */
/** @typedef {{key: string, depth: number, parent: string, node: Node|null, more: More|null}} Row */

/** So many rows are unfolded at first, and so many branches of one node. */
const FIRST_ROWS = 14;
const FIRST_BRANCHES = 4;
/** A text that is too long loses its middle: at so many letters of its end the branches part. */
const TAIL = 14;

export class ForkTree {
  /** @param {(node: Node) => void} onChoose */
  constructor(onChoose) {
    this.onChoose = onChoose;
    /** @type {Node[]} */
    this.roots = [];
    this.of = '';
    /** @type {Map<string, boolean>} what the reader folded and unfolded */
    this.turned = new Map();
    /** @type {Set<string>} nodes of which all branches are seen */
    this.whole = new Set();
    /** @type {Set<string>} */
    this.first = new Set();
    /** @type {Row[]} */
    this.rows = [];
    this.active = '';
    this.chosen = '';
    this.held = false;
    this.stale = false;
    this.root = h('div', {
      class: 'tree',
      id: 'fork-tree',
      role: 'tree',
      tabindex: 0,
      'aria-label': 'Rollouts by their words',
      on: {
        keydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
        click: (/** @type {MouseEvent} */ event) => this.#click(event),
        // A row must not be replaced between the press and the release of a click.
        pointerdown: () => (this.held = true),
      },
    });
    addEventListener('pointerup', () => setTimeout(() => this.#release()));
    addEventListener('pointercancel', () => this.#release());
  }

  #release() {
    this.held = false;
    if (this.stale) this.#draw();
  }

  /** @param {Rollouts} set */
  show(set) {
    if (this.of !== set.id) {
      this.of = set.id;
      this.turned.clear();
      this.whole.clear();
      this.active = '';
      this.chosen = '';
    }
    this.roots = treeOf(set);
    this.first = unfolded(this.roots, FIRST_ROWS, ({ children }) => Math.min(children.length, FIRST_BRANCHES));
    this.#draw();
  }

  /** Chooses a node, and tells of it. @param {Node} node */
  choose(node) {
    this.chosen = node.key;
    this.active = node.key;
    this.#mark();
    this.onChoose(node);
  }

  /** @param {string} key */
  #open(key) {
    return this.turned.get(key) ?? this.first.has(key);
  }

  #draw() {
    if (this.held) {
      this.stale = true;
      return;
    }
    this.stale = false;
    this.rows = [];
    const walk = (/** @type {Node[]} */ nodes, /** @type {number} */ depth, /** @type {Node|null} */ above) => {
      const parent = above?.key ?? '';
      const all = !above || this.whole.has(parent) || nodes.length <= FIRST_BRANCHES + 1;
      const seen = all ? nodes : nodes.slice(0, FIRST_BRANCHES);
      for (const node of seen) {
        this.rows.push({ key: node.key, depth, parent, node, more: null });
        if (node.children.length && this.#open(node.key)) walk(node.children, depth + 1, node);
      }
      if (above && !all) {
        const more = { more: above, hidden: nodes.length - seen.length };
        this.rows.push({ key: `${parent} more`, depth, parent, node: null, more });
      }
    };
    walk(this.roots, 0, null);
    if (!this.rows.some(({ key }) => key === this.active)) this.active = this.rows[0]?.key ?? '';
    fill(
      this.root,
      this.rows.map((row, i) => this.#row(row, i)),
    );
    this.#mark();
  }

  /** @param {Row} row @param {number} i */
  #row({ depth, node, more, parent }, i) {
    const siblings = this.rows.filter((row) => row.parent === parent && row.depth === depth);
    const place = {
      id: `fork-row-${i}`,
      role: 'treeitem',
      'aria-level': depth + 1,
      'aria-setsize': siblings.length,
      'aria-posinset': siblings.findIndex((row) => row === this.rows[i]) + 1,
      'aria-selected': 'false',
      data: { row: String(i) },
      vars: { '--depth': depth },
    };
    if (more) {
      const hidden = more.more.children.slice(-more.hidden);
      const rollouts = hidden.flatMap(({ rollouts: below }) => below).length;
      return h(
        'div',
        { class: 'tree-row tree-more', ...place },
        h(
          'span',
          { class: 'tree-text' },
          `${count(more.hidden, 'more branch', 'more branches')}, ${count(rollouts, 'rollout')}`,
        ),
      );
    }
    const one = /** @type {Node} */ (node);
    const open = one.children.length ? this.#open(one.key) : null;
    const leaf = open === null;
    return h(
      'div',
      {
        class: `tree-row${one.alternative === undefined ? '' : ' tree-token'}`,
        ...place,
        'aria-expanded': leaf ? null : String(open),
      },
      h('span', { class: 'tree-turn', 'aria-hidden': 'true' }, leaf ? '' : open ? '▾' : '▸'),
      h('span', { class: 'tree-text' }, this.#text(one)),
      leaf ? answer(one) : null,
      share(one, this.#group(one.key)),
    );
  }

  /** @param {Node} node */
  #text({ alternative, text }) {
    if (alternative === undefined) return text === '' ? h('i', {}, 'ends here') : oneLine(text);
    return [
      h('span', { class: `chip${alternative === null ? ' own' : ''}` }, visible(text)),
      alternative === null ? h('span', { class: 'hint' }, ' the response’s own') : null,
    ];
  }

  /** How many rollouts the forced token above a node has. @param {string} key */
  #group(key) {
    return this.roots.find((root) => key === root.key || key.startsWith(`${root.key}\u241f`))?.rollouts.length ?? 1;
  }

  #mark() {
    for (const [i, element] of [...this.root.children].entries()) {
      const { key } = this.rows[i];
      element.classList.toggle('active', key === this.active);
      element.setAttribute('aria-selected', String(key === this.chosen));
      if (key === this.active) this.root.setAttribute('aria-activedescendant', element.id);
    }
    if (!this.rows.length) this.root.removeAttribute('aria-activedescendant');
  }

  /** @param {string} key @param {boolean} open */
  #turn(key, open) {
    this.turned.set(key, open);
    this.#draw();
  }

  /** @param {number} i */
  #go(i) {
    const row = this.rows[Math.min(this.rows.length - 1, Math.max(0, i))];
    if (!row) return;
    this.active = row.key;
    this.#mark();
    this.root.children[this.rows.indexOf(row)].scrollIntoView({ block: 'nearest' });
  }

  /** @param {Row} row */
  #act(row) {
    if (row.more) {
      const { more: above, hidden } = row.more;
      this.whole.add(above.key);
      this.active = above.children[above.children.length - hidden].key;
      this.#draw();
    } else if (row.node) this.choose(row.node);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const element = /** @type {HTMLElement|null} */ (/** @type {Element} */ (event.target).closest('.tree-row'));
    const row = this.rows[Number(element?.dataset.row ?? -1)];
    if (!row) return;
    this.active = row.key;
    const turns = /** @type {Element} */ (event.target).closest('.tree-turn');
    if (row.node?.children.length && (turns || this.chosen === row.key)) this.#turn(row.key, !this.#open(row.key));
    if (!turns) this.#act(row);
    this.#mark();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const at = this.rows.findIndex(({ key }) => key === this.active);
    const row = this.rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const open = row.node?.children.length ? this.#open(row.key) : null;
    const above = this.rows.findIndex(({ key }) => key === row.parent);
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#go(at + 1),
      ArrowUp: () => this.#go(at - 1),
      ArrowRight: () => (open === false ? this.#turn(row.key, true) : open && this.#go(at + 1)),
      ArrowLeft: () => (open ? this.#turn(row.key, false) : above >= 0 && this.#go(above)),
      Home: () => this.#go(0),
      End: () => this.#go(this.rows.length - 1),
      Enter: () => this.#act(row),
      ' ': () => this.#act(row),
    };
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  }
}

/** @param {string} text */
function oneLine(text) {
  const line = plain(text.replace(/\s*\n\s*/g, ' ↵ ').trim());
  if (line.length <= 2 * TAIL) return line;
  return [
    h('span', { class: 'tree-begin' }, line.slice(0, -TAIL)),
    h('span', { class: 'tree-end' }, line.slice(-TAIL)),
  ];
}

/** What the rollouts of a leaf answer. @param {Node} node */
function answer({ rollouts: [{ verdict }] }) {
  const { symbol, word } = verdictMark(verdict.status);
  return h(
    'span',
    { class: `tree-answer num verdict ${verdict.status}`, title: word },
    `${symbol} ${plain(verdict.extracted ?? word)}`,
  );
}

/** @param {Node} node @param {number} group */
function share({ rollouts, right, wrong, other }, group) {
  const part = (/** @type {number} */ n) => (n / group).toFixed(4);
  const bar = h('span', { class: 'shares', 'aria-hidden': 'true' });
  setVars(bar, { '--right': part(right), '--wrong': part(wrong), '--other': part(other) });
  fill(bar, h('span', { class: 'right' }), h('span', { class: 'wrong' }), h('span', { class: 'other' }));
  const told = [
    `${count(rollouts.length, 'rollout')}: ${right} right`,
    `${wrong} wrong`,
    other ? `${other} without a verdict` : '',
  ];
  return h(
    'span',
    { class: 'tree-share num' },
    h('span', { class: 'unseen' }, told.filter(Boolean).join(', ')),
    bar,
    h('span', { class: 'figure', 'aria-hidden': 'true' }, right ? `✓${integer(right)}` : ''),
    h('span', { class: 'figure wrong', 'aria-hidden': 'true' }, wrong ? `✗${integer(wrong)}` : ''),
    h('span', { class: 'figure', 'aria-hidden': 'true' }, other ? `?${integer(other)}` : ''),
  );
}
