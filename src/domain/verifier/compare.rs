//! Puts an answer beside the reference: as text, as a choice, as a number in words, and as mathematics.

use super::budget::{Budget, Exhausted};
use super::equal;
use super::expr::{Expr, Literal};
use super::extract::{FinalAnswer, Piece};
use super::formulas;
use super::literal;
use super::parse::parse;
use super::units::is_unit;
use super::words;

/// Longest answer, in bytes, that is compared as text.
const LONGEST: usize = 64 << 10;

/// The answer inside a reference: behind GSM8K's last `####`, in the last `\boxed{}`, or the whole text.
pub(super) fn reference_answer<'a>(reference: &'a str, budget: &mut Budget) -> Result<&'a str, Exhausted> {
    if let Some((_, answer)) = reference.rsplit_once("####") {
        return Ok(answer.trim());
    }
    if let Some(at) = reference.rfind("\\boxed")
        && let Some((inside, _)) = formulas::boxed(reference, at, budget)?
    {
        return Ok(inside.text);
    }
    Ok(reference.trim())
}

/// The part of the response's answer that equals the reference, if one does.
pub(super) fn matching<'a>(
    found: &FinalAnswer<'a>,
    reference: &str,
    budget: &mut Budget,
) -> Result<Option<Piece<'a>>, Exhausted> {
    let wanted = folded(reference);
    if wanted.is_empty() {
        return Ok(None);
    }
    let pieces = [found.literal, found.phrase];
    let as_text = |piece: &Piece<'_>| piece.text.len() <= LONGEST && folded(piece.text) == wanted;
    let Some(expression) = mathematics(reference, budget)? else {
        let choice = choice(reference);
        return Ok(pieces
            .into_iter()
            .find(|piece| as_text(piece) || choice.is_some() && choice_of(piece.text) == choice));
    };
    // What is not one value is lost in the literal: of `x = 5` it is `5`.
    let one_value = matches!(
        expression,
        Expr::Number(_)
            | Expr::Negative(_)
            | Expr::Quotient(..)
            | Expr::Percent(_)
            | Expr::Degrees(_)
            | Expr::Based { .. }
    );
    let [first, second] = if one_value { pieces } else { [found.phrase, found.literal] };
    let literal_is_read = {
        let given = mathematics(first.text, budget)?;
        match &given {
            Some(given) if equal::same(&expression, given, budget)? => return Ok(Some(first)),
            Some(_) => true,
            None => false,
        }
    };
    if let Some(piece) = [first, second].into_iter().find(as_text) {
        return Ok(Some(piece));
    }
    if let Some(letter) = choice(reference)
        && let Some(piece) = pieces.into_iter().find(|piece| choice_of(piece.text) == Some(letter))
    {
        return Ok(Some(piece));
    }
    // A percent sign stands outside the literal, and changes the value that it may have.
    if matches!(expression, Expr::Symbol(_)) && literal_is_read || first == second {
        return Ok(None);
    }
    match mathematics(second.text, budget)? {
        Some(given) if equal::same(&expression, &given, budget)? => Ok(Some(second)),
        Some(_) | None => Ok(None),
    }
}

/// An answer as mathematics: as it stands, as its number where only a unit follows, or as a number in words.
fn mathematics(text: &str, budget: &mut Budget) -> Result<Option<Expr>, Exhausted> {
    if let Some(expression) = parse(undressed(text), budget)? {
        return Ok(Some(expression));
    }
    if let Some(found) = literal::leading(text)
        && is_unit(&text[found.end..])
    {
        return parse(&text[found.start..found.end], budget);
    }
    let text = undressed(text);
    Ok(words::number(text).map(|value| Expr::Number(Literal { value, places: 0 })))
}

/// The letter of a multiple-choice reference: `B`, `(B)`, `\text{(B)}`, `(B) 12`.
fn choice(reference: &str) -> Option<char> {
    let text = undressed(reference);
    let inner = text.strip_prefix('(').unwrap_or(text);
    let letter = inner.chars().next().filter(|c| ('A'..='J').contains(c))?;
    let after = &inner[1..];
    (after.is_empty() || text.starts_with('(') && after.starts_with(')')).then_some(letter)
}

/// The letter that an answer chooses: `B`, `(B) 12`, `B. 12`, `option B`, `\textbf{(B)}\ 12`.
fn choice_of(answer: &str) -> Option<char> {
    let mut text = undressed(answer);
    for dress in ["\\textbf{", "\\text{", "\\mathrm{", "\\mathbf{", "option ", "Option ", "choice ", "Choice "] {
        text = text.strip_prefix(dress).unwrap_or(text);
    }
    let bracketed = text.starts_with('(');
    let inner = text.trim_start_matches(['(', '*']);
    let letter = inner.chars().next().filter(|c| ('A'..='J').contains(c))?;
    let after = inner[1..].trim_start_matches(['*', '}']);
    let closed = after.starts_with(')')
        || !bracketed && after.starts_with(['.', ':']) && !after[1..].starts_with(char::is_alphanumeric);
    (after.is_empty() || closed).then_some(letter)
}

/// An answer without what only dresses it: blanks, Markdown, math delimiters, `\text{}`, a final dot.
fn undressed(answer: &str) -> &str {
    let mut text = answer.trim();
    // Nobody nests these deeper; the cap keeps a wall of dollar signs from costing quadratic time.
    for _ in 0..8 {
        let before = text.len();
        text = text
            .trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '`' | '"' | '“' | '”'))
            .trim_end_matches(['.', ',', ';']);
        for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
            let inside = text.strip_prefix(open).and_then(|inside| inside.strip_suffix(close));
            // `$1$ and $2$` is more than one formula.
            if let Some(inside) = inside.filter(|inside| !inside.contains(open)) {
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
    let plain: String = undressed(answer)
        .trim_matches(['\'', '’', '‘'])
        .chars()
        .filter(|c| !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect();
    let plain = ["\\left", "\\right", "\\!", "\\,", "\\;", "\\ "]
        .iter()
        .fold(plain.replace("\\dfrac", "\\frac"), |text, noise| text.replace(noise, ""));
    let inside = plain.strip_prefix('(').and_then(|inside| inside.strip_suffix(')'));
    match inside {
        // `(B)`
        Some(letter) if letter.chars().count() == 1 => letter.to_owned(),
        Some(_) | None => plain,
    }
}
