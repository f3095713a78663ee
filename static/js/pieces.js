// Cuts a response into what can be shown: one piece an element. Usually a piece is a token; tokens that are parts of
// one character share a piece, so that no half characters appear. Also groups tokens into words and steps. Pure.

/** @typedef {import('./types.js').Trace} Trace */

/**
 * @typedef {object} Piece
 * @property {string} text
 * @property {number} first Its first token; -1 for text that belongs to no token.
 * @property {number} last Its last token, itself included.
 */

/** @typedef {'token'|'word'|'step'} Granularity */

/** @type {{key: Granularity, label: string, about: string}[]} */
export const GRANULARITIES = [
  { key: 'token', label: 'token', about: 'Each token by its own value.' },
  { key: 'word', label: 'word', about: 'Each word by the worst value of its tokens.' },
  { key: 'step', label: 'step', about: 'Each line, and each sentence in a line, by the worst value of its tokens.' },
];

const encoder = new TextEncoder();
// The byte order mark is kept: dropping it would shift what is shown against what was scored.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * A function from byte offsets to text.
 * @param {string} text @returns {(start: number, end: number) => string}
 */
export function byteSlicer(text) {
  const bytes = encoder.encode(text);
  if (bytes.length === text.length) return (start, end) => text.slice(start, end);
  return (start, end) => decoder.decode(bytes.subarray(start, end));
}

/**
 * @param {Trace} trace
 * @returns {{pieces: Piece[], pieceOf: Int32Array}} the pieces in order, and each token's piece
 */
export function cut(trace) {
  const { tokens, response } = trace;
  const slice = byteSlicer(response.text);
  /** @type {Piece[]} */
  const pieces = [];
  const pieceOf = new Int32Array(tokens.length);
  let reached = 0;
  for (let i = 0; i < tokens.length;) {
    const first = i;
    const { start } = tokens[i];
    let { end } = tokens[i];
    // A token that begins inside the bytes of the one before is the rest of its character.
    for (i += 1; i < tokens.length && tokens[i].start < end; i += 1) end = Math.max(end, tokens[i].end);
    if (start > reached) pieces.push({ text: slice(reached, start), first: -1, last: -1 });
    const alone = i - first === 1;
    // A token over the boundary has text that the response lacks, and a special token may have none there at all.
    const own = (first === 0 && response.straddles_boundary && alone) || start === end;
    pieceOf.fill(pieces.length, first, i);
    pieces.push({ text: own ? tokens[first].text : slice(start, end), first, last: i - 1 });
    reached = Math.max(reached, end);
  }
  const rest = slice(reached, Number.MAX_SAFE_INTEGER);
  if (rest) pieces.push({ text: rest, first: -1, last: -1 });
  return { pieces, pieceOf };
}

/**
 * The unit that each token belongs to, numbered from 0 in order.
 * @param {Piece[]} pieces @param {number} tokens how many tokens there are @param {Granularity} granularity
 * @returns {{unitOf: Int32Array, units: number}}
 */
export function group(pieces, tokens, granularity) {
  const unitOf = new Int32Array(tokens);
  let unit = -1;
  // The last piece, and the text since the last piece that was more than white space.
  let previous = '';
  let tail = '';
  for (const { text, first, last } of pieces) {
    if (first >= 0) {
      if (unit < 0 || beginsUnit(granularity, previous, tail, text)) unit += 1;
      unitOf.fill(unit, first, last + 1);
    }
    previous = text;
    tail = text.trim() === '' ? tail + text : text;
  }
  return { unitOf, units: unit + 1 };
}

/** @param {Granularity} granularity @param {string} previous @param {string} tail @param {string} text */
function beginsUnit(granularity, previous, tail, text) {
  if (granularity === 'token') return true;
  // A blank line belongs to what it ends.
  if (/\n\s*$/.test(tail)) return text.trim() !== '';
  if (granularity === 'word') {
    // Some tokenizers give the space before a number a token of its own: it belongs to the number.
    return (/^[^\S\n]/.test(text) && previous.trim() !== '') || /\S\s+$/.test(previous);
  }
  return (
    /[.!?]["')\]]*$/.test(tail.trimEnd()) && /\s$/.test(tail + (/^\s/.exec(text)?.[0] ?? '')) && text.trim() !== ''
  );
}
