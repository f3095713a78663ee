//! Answers in LaTeX inside running text: `\boxed{…}`, and formulas between their delimiters.

use super::budget::Budget;
use super::extract::{FinalAnswer, PHRASE, Piece, Search, behind_equals, floor, part, trimmed, whole};
use super::literal;
use super::parse::parse;
use super::units::is_unit;

/// Longest content of a `\boxed{…}` or a formula, in bytes.
const FORMULA: usize = 4096;
/// Delimiters of formulas, the longer ones first.
const DELIMITERS: [(&str, &str); 4] = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];

/// Whether a text begins with a formula's delimiter.
pub(super) fn opens(text: &str) -> bool {
    DELIMITERS.iter().any(|(open, _)| text.starts_with(open))
}

/// The content of the `\boxed{…}` or `\boxed 5` that begins at `at`, braces balanced, and where the box ends.
pub(super) fn boxed<'a>(text: &'a str, at: usize, budget: &mut Budget) -> Search<(Piece<'a>, usize)> {
    let name = if text[at..].starts_with("\\boxed") { 6 } else { 5 };
    let after = &text[at + name..];
    let blanks = after.len() - after.trim_start_matches(' ').len();
    let open = at + name + blanks;
    if !text[open..].starts_with('{') {
        // TeX takes the next token: `\boxed 5`.
        let window = &text[open..open + floor(&text[open..], PHRASE)];
        let end = window.find(|c: char| c.is_whitespace() || c == '$').unwrap_or(window.len());
        return Ok(trimmed(text, open, open + end).map(|piece| (piece, open + end)));
    }
    let mut depth = 0usize;
    let mut escaped = false;
    for (offset, byte) in text[open..].bytes().enumerate().take(FORMULA) {
        budget.spend(1)?;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(trimmed(text, open + 1, open + offset).map(|piece| (piece, open + offset + 1)));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The box at `at`, or all boxes from there that are listed: `\boxed{1} and \boxed{2}` is one answer.
pub(super) fn boxes<'a>(text: &'a str, at: usize, budget: &mut Budget) -> Search<Piece<'a>> {
    let Some((first, mut end)) = boxed(text, at, budget)? else { return Ok(None) };
    let mut listed = None;
    loop {
        let window = &text[end..end + floor(&text[end..], 24)];
        let between = window.find("\\boxed").map(|length| &window[..length]);
        let Some(between) = between.filter(|between| {
            let words = between.trim_matches(|c: char| c.is_whitespace() || matches!(c, '$' | ',' | '(' | ')' | '\\'));
            !between.contains('\n') && between.len() > 1 && matches!(words, "" | "and" | "or")
        }) else {
            return Ok(Some(listed.unwrap_or(first)));
        };
        let Some((_, next)) = boxed(text, end + between.len(), budget)? else {
            return Ok(Some(listed.unwrap_or(first)));
        };
        end = next;
        listed = Some(Piece { text: &text[at..end], start: at });
    }
}

/// The formula at `start`, or the formulas that are listed there, and where they end: `$x = 1$ and $y = 2$`.
pub(super) fn formulas<'a>(region: &'a str, start: usize, budget: &mut Budget) -> Search<(FinalAnswer<'a>, usize)> {
    let Some((first, mut end)) = formula(region, start, budget)? else { return Ok(None) };
    let mut listed = None;
    loop {
        let rest = &region[end..];
        let window = &rest[..floor(rest, 16)];
        let next = window.find(['$', '\\']).filter(|length| {
            let between = window[..*length].trim_matches([' ', ',']);
            *length > 0 && matches!(between, "" | "and" | "or")
        });
        let Some(length) = next else { break };
        let Some((_, after)) = formula(region, end + length, budget)? else { break };
        end = after;
        listed = Some(Piece { text: &region[start..end], start });
    }
    if let Some(listed) = listed {
        return Ok(Some((whole(listed), end)));
    }
    if let Some(at) = first.text.find("\\boxed") {
        return Ok(boxes(region, first.start + at, budget)?.map(|piece| (whole(piece), end)));
    }
    // `$50$%`, `$18$ dollars`
    let percent = region[end..].trim_start().starts_with(['%', '\\'])
        && region[end..].trim_start_matches([' ', '\\']).starts_with('%');
    let stop = if percent { end + region[end..].find('%').map_or(0, |at| at + 1) } else { end };
    let phrase = if percent { Piece { text: &region[start..stop], start } } else { first };
    let number = literal::leading(first.text).filter(|found| is_unit(&first.text[found.end..]));
    let literal = match number {
        Some(found) => part(first, found.start, found.end),
        None => behind_equals(first).unwrap_or(first),
    };
    Ok(Some((FinalAnswer { literal, phrase }, end)))
}

/// The content of the formula whose delimiter stands at `at`, and where the formula ends. Between single dollars, which
/// may be money, only what reads as mathematics counts.
fn formula<'a>(region: &'a str, at: usize, budget: &mut Budget) -> Search<(Piece<'a>, usize)> {
    let rest = &region[at..];
    let Some((open, close)) = DELIMITERS.iter().find(|(open, _)| rest.starts_with(open)) else { return Ok(None) };
    let limit = if *open == "$" { PHRASE } else { FORMULA };
    let inside = &rest[open.len()..];
    let window = &inside[..floor(inside, limit)];
    budget.spend(window.len() as u64)?;
    let Some(length) = window.match_indices(close).map(|(at, _)| at).find(|at| !window[..*at].ends_with('\\')) else {
        return Ok(None);
    };
    let (start, end) = (at + open.len(), at + open.len() + length);
    let Some(piece) = trimmed(region, start, end) else { return Ok(None) };
    let piece = Piece { text: piece.text.trim_end_matches(['.', ',']), ..piece };
    if *open == "$" {
        let money = window[..length].ends_with(char::is_whitespace) || window[..length].contains('\n');
        let word = piece.text.chars().all(char::is_alphabetic);
        if money || !word && !piece.text.contains('\\') && parse(piece.text, budget)?.is_none() {
            return Ok(None);
        }
    }
    Ok((!piece.text.is_empty()).then_some((piece, end + close.len())))
}
