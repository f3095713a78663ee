// The colours of tokens, as a class for each of a few dozen shades. Elements of one class share their style, so that a
// browser gives thousands of them a new colour in a few milliseconds; mixing a colour for each one takes ten times that.

/** Shades on each side of the neutral one, finer than the eye can tell apart. */
const LEVELS = 24;

/** @param {number} level from -LEVELS, the most suspicious, to LEVELS, the soundest; 0 is neutral and has no class */
const nameOf = (level) => (level === 0 ? '' : `${level < 0 ? 'bad' : 'good'}-${Math.abs(level)}`);

/**
 * The class of a token.
 * @param {number} shade its place on the measure's scale, 0 suspicious and 1 sound; NaN where not measured
 * @param {number} neutral the place of the neutral shade, between 0 and 1
 */
export function shadeClass(shade, neutral) {
  if (Number.isNaN(shade)) return 'unmeasured';
  const side = shade < neutral ? neutral : 1 - neutral;
  return nameOf(Math.round((LEVELS * (shade - neutral)) / side));
}

const sheet = new CSSStyleSheet();
for (let level = 1; level <= LEVELS; level += 1) {
  const bad = `calc(var(--floor) + var(--orange-strength) * ${level / LEVELS})`;
  const good = `calc(var(--blue-strength) * ${level / LEVELS})`;
  sheet.insertRule(`.tok.${nameOf(-level)} { background-color: color-mix(in srgb, var(--orange) ${bad}, transparent) }`);
  sheet.insertRule(`.tok.${nameOf(level)} { background-color: color-mix(in srgb, var(--blue) ${good}, transparent) }`);
}
document.adoptedStyleSheets.push(sheet);
