// The rollouts of a fork as a tree: the forced tokens first, then branches wherever the words of rollouts part. Words
// that all share stand in one node. Pure.

/** @typedef {import('./types.js').Rollouts} Rollouts */
/** @typedef {import('./types.js').Rollout} Rollout */

/**
 * @typedef {object} Node
 * @property {string} key The same while rollouts are added, as long as the node begins the same.
 * @property {string} text
 * @property {number|null} [alternative] Of a forced token's node: null for the response's own.
 * @property {Rollout[]} rollouts All below.
 * @property {number} right
 * @property {number} wrong
 * @property {number} other Neither: no answer, or not graded in time.
 * @property {Node[]} children Most rollouts first; none where the rollouts end here, all with the same text.
 */

/** @typedef {{rollout: Rollout, words: string[]}} Item */

const BETWEEN = '\u241f';

/** Words with the white space before them. @param {string} text */
export function wordsOf(text) {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}

/** @param {string} key @param {string} text @param {Rollout[]} rollouts @param {Node[]} children @returns {Node} */
function node(key, text, rollouts, children) {
  let [right, wrong] = [0, 0];
  for (const { verdict } of rollouts) {
    if (verdict.status === 'correct') right += 1;
    else if (verdict.status === 'wrong') wrong += 1;
  }
  return { key, text, rollouts, right, wrong, other: rollouts.length - right - wrong, children };
}

/** One node for each forced token that has rollouts, in the set's order. @param {Rollouts} set @returns {Node[]} */
export function treeOf(set) {
  const groups = [null, ...set.alternatives.keys()];
  /** @type {Map<number|null, Rollout[]>} */
  const drawn = new Map(groups.map((group) => [group, []]));
  for (const rollout of set.rollouts ?? []) drawn.get(rollout.alternative)?.push(rollout);
  return groups
    .map((group) => {
      const rollouts = drawn.get(group) ?? [];
      const key = String(group ?? 'own');
      const items = rollouts.map((rollout) => ({ rollout, words: wordsOf(rollout.text) }));
      const token = group === null ? set.original.token : set.alternatives[group].token;
      return { ...node(key, token.text, rollouts, branches(items, 0, key)), alternative: group };
    })
    .filter(({ rollouts }) => rollouts.length);
}

/**
 * Parts rollouts by their word at a depth.
 * @param {Item[]} items @param {number} depth @param {string} above @returns {Node[]}
 */
function branches(items, depth, above) {
  /** @type {Map<string, Item[]>} */
  const parted = new Map();
  for (const item of items) {
    const word = item.words[depth] ?? '';
    const same = parted.get(word);
    if (same) same.push(item);
    else parted.set(word, [item]);
  }
  return [...parted]
    .map(([word, same]) => {
      const key = above + BETWEEN + word;
      const end = word === '' ? depth : shared(same, depth + 1);
      const over = same.every(({ words }) => words.length <= end);
      const text = same[0].words.slice(depth, end).join('');
      return node(
        key,
        text,
        same.map(({ rollout }) => rollout),
        over ? [] : branches(same, end, key),
      );
    })
    .sort((a, b) => b.rollouts.length - a.rollouts.length || b.right - a.right);
}

/** How far all have the same words. @param {Item[]} items @param {number} from */
function shared([first, ...rest], from) {
  let end = from;
  while (end < first.words.length && rest.every(({ words }) => words[end] === first.words[end])) end += 1;
  return end;
}

/**
 * Which nodes to begin with unfolded: those with the most rollouts, until so many rows are seen.
 * @param {Node[]} roots @param {number} rows
 * @param {(node: Node) => number} shown how many children a node shows at first
 */
export function unfolded(roots, rows, shown) {
  /** @type {Set<string>} */
  const open = new Set();
  const waiting = [...roots];
  let seen = roots.length;
  while (waiting.length && seen < rows) {
    let most = 0;
    for (let i = 1; i < waiting.length; i += 1)
      if (waiting[i].rollouts.length > waiting[most].rollouts.length) most = i;
    const [next] = waiting.splice(most, 1);
    if (!next.children.length) continue;
    open.add(next.key);
    seen += shown(next);
    waiting.push(...next.children.slice(0, shown(next)));
  }
  return open;
}
