//! What stands behind a number and only names what is counted.

use super::words;

/// LaTeX around a unit that means nothing for the value.
const COMMANDS: [&str; 16] = [
    "\\textbf",
    "\\text",
    "\\mathrm",
    "\\mbox",
    "\\%",
    "\\$",
    "\\ ",
    "\\,",
    "\\;",
    "\\!",
    "^{\\circ}",
    "^\\circ",
    "\\circ",
    "\\degrees",
    "\\degree",
    "\\)",
];

/// Whether what follows a number only names what is counted: `eggs`, `%`, `\text{ cm}^2`, `km/h`, `dollars per day.`
pub(super) fn is_unit(rest: &str) -> bool {
    // Nobody's unit is longer, and a long text would be copied for nothing.
    if rest.len() > 400 {
        return false;
    }
    let mut named = rest.replace("**", "");
    for command in COMMANDS {
        named = named.replace(command, " ");
    }
    let attached = named.trim_start_matches(['%', '$', '°']);
    let goes_on = attached.trim_start();
    if let Some(per) = goes_on.strip_prefix('/') {
        // `3/day`, but not `3/x`.
        return per.chars().take_while(|c| c.is_alphabetic()).count() >= 2 && is_unit(per);
    }
    if goes_on.starts_with(['!', '^', '*', '+', '-', '_', '=', '(', '[', ':', ';', '<', '>']) {
        return false;
    }
    // `1. Count the eggs` is an item of a list.
    if goes_on.starts_with(['.', ')']) && goes_on.contains(char::is_alphabetic) {
        return false;
    }
    // `2x` and `3n` are algebra; of single attached letters only common units pass.
    let mut letters = attached.chars();
    if let (Some(first), second) = (letters.next(), letters.next())
        && first.is_alphabetic()
        && !second.is_some_and(char::is_alphabetic)
        && !matches!(first, 'm' | 'g' | 's' | 'h' | 'l' | 'L')
    {
        return false;
    }
    let powered = ["^2", "^3", "^{2}", "^{3}"].iter().fold(named, |text, power| text.replace(power, ""));
    let plain = powered.chars().all(|c| c.is_alphabetic() || c.is_whitespace() || "/.'’-{}$%~²³°,()\"”`".contains(c));
    let mut parts = powered.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    plain && powered.split_whitespace().count() <= 6 && !parts.any(words::is_mathematics)
}
