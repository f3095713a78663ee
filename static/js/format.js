// Numbers, times and token texts as the page writes them. Pure functions.

const MINUS = '\u2212';

/** A probability or score in (0, 1), three figures, small ones in powers of ten. @param {number|null} p */
export function probability(p) {
  if (p === null || p === undefined || Number.isNaN(p)) return '–';
  if (p === 0) return '0';
  if (p < 0.0005) return p.toExponential(1).replace('-', MINUS);
  return p < 0.01 ? p.toFixed(4) : p.toFixed(3);
}

/** The same in two figures, for narrow columns: .31, .044, 3e−5. @param {number} p */
export function compact(p) {
  if (p < 0.001) return p === 0 ? '0' : p.toExponential(0).replace('-', MINUS);
  return p >= 0.995 ? '1.0' : p.toPrecision(2).replace(/^0/, '');
}

/** A number with a fixed number of decimals and a true minus sign. @param {number|null} x @param {number} [decimals] */
export function decimal(x, decimals = 2) {
  if (x === null || x === undefined || Number.isNaN(x)) return '–';
  return x.toFixed(decimals).replace('-', MINUS);
}

/** A rate in whole percent. @param {number} rate */
export function percent(rate) {
  return `${Math.round(rate * 100)}%`;
}

/** A short form for ticks and thresholds: no trailing zeros. @param {number} x */
export function short(x) {
  if (x !== 0 && Math.abs(x) < 0.001) return x.toExponential(0).replace('-', MINUS);
  return String(Number(x.toPrecision(3))).replace('-', MINUS);
}

/** A whole number with its thousands apart. The browser's own way loads its tables first, which takes 50 ms. @param {number} n */
export function integer(n) {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** "3 tokens", "1 token". @param {number} n @param {string} noun @param {string} [plural] */
export function count(n, noun, plural = `${noun}s`) {
  return `${integer(n)} ${n === 1 ? noun : plural}`;
}

/** A count of weights: 135M, 1.5B. @param {number} n */
export function parameters(n) {
  if (n >= 1e9) return `${Number((n / 1e9).toPrecision(3))}B`;
  if (n >= 1e6) return `${Number((n / 1e6).toPrecision(3))}M`;
  if (n >= 1e3) return `${Number((n / 1e3).toPrecision(3))}K`;
  return String(n);
}

/** @param {number} ms */
export function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A length of time in two units: 42 s, 3 min 05 s, 2 h 10 min. @param {number} seconds */
export function span(seconds) {
  const whole = Math.round(seconds);
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** A size in powers of ten: 449 B, 638 kB, 1.12 GB. @param {number} n */
export function bytes(n) {
  const unit = ['B', 'kB', 'MB', 'GB', 'TB'];
  let power = 0;
  for (; n >= 999.5 && power < unit.length - 1; power++) n /= 1000;
  return `${power ? Number(n.toPrecision(3)) : n} ${unit[power]}`;
}

/**
 * A number of any size in four figures, about as long from step to step: 0.6931, 12.34, 1.70e−4.
 * @param {number|null|undefined} x
 */
export function figures(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return '–';
  const size = Math.abs(x);
  if (size >= 1e4 && size < 1e7) return integer(Math.round(x)).replace('-', MINUS);
  const far = size >= 1e7 || (size && size < 1e-3);
  return (far ? x.toExponential(2).replace('+', '') : x.toPrecision(4)).replace(/-/g, MINUS);
}

/** Unix seconds as a short local time: the hour today, else the day, with the year when it is another. @param {number} seconds */
export function when(seconds) {
  const date = new Date(seconds * 1000);
  const now = new Date();
  if (date.toDateString() === now.toDateString())
    return date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  const year = date.getFullYear() === now.getFullYear() ? undefined : 'numeric';
  return date.toLocaleDateString([], { year, month: 'short', day: 'numeric' });
}

/** @param {number} seconds */
export function whenFull(seconds) {
  return new Date(seconds * 1000).toLocaleString();
}

// Characters that would be invisible or would reorder the text around them: C0 and C1 controls, zero-width ones (but
// not the joiner, which emoji need), and the bidirectional overrides.
const HIDDEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** @param {string} c */
function named(c) {
  return `⟨U+${/** @type {number} */ (c.codePointAt(0)).toString(16).toUpperCase().padStart(4, '0')}⟩`;
}

/** A token's text with every space and break made visible, for chips and tables. @param {string} text */
export function visible(text) {
  if (text === '') return '∅';
  return text.replace(/ /g, '·').replace(/\n/g, '↵').replace(/\t/g, '⇥').replace(/\r/g, '␍').replace(HIDDEN, named);
}

/**
 * A token's text as it stands in the response: breaks keep breaking and are marked, white space that stands alone or
 * in a run is marked, a single space before a word stays a space.
 * @param {string} text
 */
export function inFlow(text) {
  let shown = text;
  if (/^ +$/.test(text)) shown = '·'.repeat(text.length);
  else if (/ {2}/.test(text)) shown = text.replace(/ {2,}/g, (run) => '·'.repeat(run.length));
  return shown.replace(/\r/g, '␍').replace(/\n/g, '↵\n').replace(/\t/g, '⇥\t').replace(HIDDEN, named);
}

/** A piece of text with its hidden characters named, breaks kept. @param {string} text */
export function plain(text) {
  return text.replace(HIDDEN, named);
}

/** The question at the end of a prompt, behind its examples. @param {string} prompt */
export function lastQuestion(prompt) {
  return prompt.slice(Math.max(prompt.lastIndexOf('Question:'), prompt.lastIndexOf('Problem:'), 0));
}

/** The words and the symbol of a verdict: shape and word, never colour alone. @param {string|null|undefined} status */
export function verdictMark(status) {
  switch (status) {
    case 'correct':
      return { symbol: '✓', word: 'correct' };
    case 'wrong':
      return { symbol: '✗', word: 'wrong' };
    case 'unparsed':
      return { symbol: '?', word: 'no answer found' };
    case 'timeout':
      return { symbol: '?', word: 'not graded in time' };
    default:
      return { symbol: '·', word: 'not graded' };
  }
}
