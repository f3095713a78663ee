// What two texts share from their beginning. Pure.

/** Longer ones are of a script without spaces, or no words. */
const LONGEST_WORD = 24;

/** How much two texts share from their beginning, in whole words. @param {string} a @param {string} b */
export function commonBeginning(a, b) {
  let same = 0;
  while (same < a.length && same < b.length && a[same] === b[same]) same++;
  const letter = (/** @type {string|undefined} */ c) => c !== undefined && /\S/.test(c);
  // One ends where the other goes on with another word.
  if (!letter(a[same]) && !letter(b[same])) return same;
  // Back to where the word begins: half a number says nothing.
  const [word] = /** @type {RegExpMatchArray} */ (a.slice(0, same).match(/\S*$/));
  if (word.length <= LONGEST_WORD) return same - word.length;
  // Not between the halves of a character.
  return /[\ud800-\udbff]$/.test(word) ? same - 1 : same;
}
