//! Whether two answers are the same: exactly as numbers where the reference is one, else as folded text.

use super::extract::{self, FinalAnswer, Piece};
use super::number::{self, Number};

/// The answer inside a reference: behind GSM8K's last `####`, in the last `\boxed{}`, or the whole text.
pub(super) fn reference_answer(reference: &str) -> &str {
    if let Some((_, answer)) = reference.rsplit_once("####") {
        return answer.trim();
    }
    if let Some(at) = reference.rfind("\\boxed")
        && let Some(inside) = extract::boxed(reference, at)
    {
        return inside.text;
    }
    reference.trim()
}

/// The part of the response's answer that equals the reference, if one does.
pub(super) fn matching<'a>(found: &FinalAnswer<'a>, reference: &str) -> Option<Piece<'a>> {
    if let Some(wanted) = numeric(reference) {
        return (numeric(found.literal.text) == Some(wanted)).then_some(found.literal);
    }
    let wanted = folded(reference);
    if wanted.is_empty() {
        return None;
    }
    [found.literal, found.phrase].into_iter().find(|piece| folded(piece.text) == wanted)
}

/// The number that a whole answer stands for: dressing, a `name =` before it and a unit after it do not count.
///
/// A percent sign is a unit as well: `50%` equals `50`, and not `0.5`.
pub(super) fn numeric(answer: &str) -> Option<Number> {
    let answer = undressed(answer);
    let answer = answer.rsplit_once('=').map_or(answer, |(_, value)| undressed(value));
    let found = number::leading(answer)?;
    is_unit(&answer[found.end..]).then_some(found.value)
}

/// Whether what follows a number only names what is counted: `eggs`, `%`, `\text{ cm}^2`, `km/h`, `dollars per day.`
pub(super) fn is_unit(rest: &str) -> bool {
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
    plain && powered.split_whitespace().count() <= 6
}

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

/// An answer without what only dresses it: blanks, Markdown, math delimiters, `\text{}`, a final dot.
pub(super) fn undressed(answer: &str) -> &str {
    let mut text = answer.trim();
    // Nobody nests these deeper; the cap keeps a wall of dollar signs from costing quadratic time.
    for _ in 0..8 {
        let before = text.len();
        text = text
            .trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '`' | '"' | '“' | '”'))
            .trim_end_matches(['.', ',', ';']);
        for (open, close) in
            [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("(", ")"), ("{", "}"), ("\\left(", "\\right)")]
        {
            let inside = text.strip_prefix(open).and_then(|inside| inside.strip_suffix(close));
            // `(1, 2)` keeps its brackets: only a single value is merely dressed by them.
            if let Some(inside) =
                inside.filter(|inside| !inside.contains([',', '(', ')', '{', '}']) || open.starts_with('$'))
            {
                text = inside;
            }
        }
        for command in ["\\text{", "\\mathrm{", "\\mathbf{", "\\textbf{", "\\mbox{", "\\boxed{"] {
            let inside = text.strip_prefix(command).and_then(|inside| inside.strip_suffix('}'));
            if let Some(inside) = inside.filter(|inside| !inside.contains(['{', '}'])) {
                text = inside;
            }
        }
        if text.len() == before {
            break;
        }
    }
    text
}

/// Text in one case without blanks and dressing.
fn folded(answer: &str) -> String {
    let plain: String = undressed(answer).chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    ["\\left", "\\right", "\\!", "\\,", "\\;"]
        .iter()
        .fold(plain.replace("\\dfrac", "\\frac"), |text, noise| text.replace(noise, ""))
}
