//! Finds the final answer of a response: the first one, for a model may run on into a question of its own.
//!
//! Looked for, in the order of the text: `#### 18`, `\boxed{18}`, `The answer is 18.`, `Final answer: 18`, and `A: 18` or
//! `Answer: 18` on a line of its own. A marker with a definite answer behind it beats an earlier one with mere words
//! (`The answer is found by …`). Without any marker the last number or formula counts.

use super::budget::{Budget, Exhausted};
use super::formulas::{boxes, formulas, opens};
use super::literal;
use super::markers::{Marker, next_marker, own_part};
use super::parse::parse;
use super::units::is_unit;

/// A part of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    /// Byte offset in the response.
    pub(super) start: usize,
}

/// A final answer as the response wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FinalAnswer<'a> {
    /// The answer alone: for `The answer is $18 per day.` it is `18`.
    pub(super) literal: Piece<'a>,
    /// The words around it: `$18 per day`. Decides where the reference is not a number.
    pub(super) phrase: Piece<'a>,
}

/// Longest phrase, in bytes, that is read behind a marker.
pub(super) const PHRASE: usize = 400;

/// How sure it is that a marker's phrase is an answer.
enum Found<'a> {
    Definite(FinalAnswer<'a>),
    Words(FinalAnswer<'a>),
}

pub(super) type Search<T> = Result<Option<T>, Exhausted>;

/// The first final answer of a response, or its last number or formula where nothing marks one.
///
/// # Errors
/// The budget's, for a response that is nothing but markers.
pub(super) fn final_answer<'a>(response: &'a str, budget: &mut Budget) -> Search<FinalAnswer<'a>> {
    let region = own_part(response);
    let lowered = region.to_ascii_lowercase();
    let last_line = region.trim_end().rfind('\n').map_or(0, |at| at + 1);
    let mut words = None;
    let mut at = 0;
    while let Some((marker, start, after)) = next_marker(region, &lowered, at) {
        budget.spend(32)?;
        let found = match marker {
            Marker::Boxed => boxes(region, start, budget)?.map(|piece| Found::Definite(whole(piece))),
            Marker::Sentence => sentence(region, after, budget)?,
            Marker::Line => line(region, after, start >= last_line, budget)?,
        };
        match found {
            Some(Found::Definite(answer)) => return Ok(Some(answer)),
            Some(Found::Words(answer)) => words = words.or(Some(answer)),
            None => {}
        }
        at = after;
    }
    match words {
        Some(words) => Ok(Some(words)),
        None => unmarked(region, budget),
    }
}

/// The answer in the sentence that begins at `from`.
fn sentence<'a>(region: &'a str, from: usize, budget: &mut Budget) -> Search<Found<'a>> {
    let start = from + opening(&region[from..]);
    if let Some((formula, _)) = formulas(region, start, budget)? {
        return Ok(Some(Found::Definite(formula)));
    }
    let window = &region[start..start + floor(&region[start..], PHRASE)];
    budget.spend(window.len() as u64)?;
    let Some(phrase) = trimmed(region, start, start + sentence_end(window)) else { return Ok(None) };
    // `Final Answer: The final answer is 18.`: the next marker is nearer.
    if phrase.text.to_ascii_lowercase().contains("answer is ") {
        return Ok(None);
    }
    if let Some(at) = window[..phrase.start - start + phrase.text.len()].find("\\boxed") {
        return Ok(boxes(region, start + at, budget)?.map(|piece| Found::Definite(whole(piece))));
    }
    read(phrase, budget).map(Some)
}

/// The answer on the rest of the line at `from`, if the line is nothing else.
fn line<'a>(region: &'a str, from: usize, last: bool, budget: &mut Budget) -> Search<Found<'a>> {
    let start = from + opening(&region[from..]);
    let rest = &region[start..];
    let window = &rest[..floor(rest, PHRASE)];
    budget.spend(window.len() as u64)?;
    let end = match window.find('\n') {
        Some(end) => end,
        None if window.len() < rest.len() => return Ok(None),
        None => rest.len(),
    };
    let Some(phrase) = trimmed(region, start, start + end) else { return Ok(None) };
    if let Some(at) = phrase.text.find("\\boxed") {
        return Ok(boxes(region, phrase.start + at, budget)?.map(|piece| Found::Definite(whole(piece))));
    }
    let bare = literal::leading(phrase.text).filter(|found| is_unit(&phrase.text[found.end..]));
    if let Some(found) = bare {
        return Ok(Some(Found::Definite(FinalAnswer { literal: part(phrase, found.start, found.end), phrase })));
    }
    let formal = phrase.text.contains(['\\', '$', '=', '^', '/', ',', '(']);
    if (formal || is_choice(phrase.text)) && parse(phrase.text, budget)?.is_some() {
        return Ok(Some(Found::Definite(whole(phrase))));
    }
    // A heading (`#### Step 1`) or a solution's first line (`A: She has 3 …`) has more text after it.
    if !last {
        return Ok(None);
    }
    Ok(Some(Found::Words(match read(phrase, budget)? {
        Found::Definite(answer) | Found::Words(answer) => answer,
    })))
}

/// `B`, `(B)`, `B.`
fn is_choice(text: &str) -> bool {
    let letter = text.trim_matches(['(', ')', '.', '*']);
    letter.len() == 1 && letter.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Reads a phrase: a number at its head, a value behind `=`, a formula, or words with or without a number in them.
fn read<'a>(phrase: Piece<'a>, budget: &mut Budget) -> Result<Found<'a>, Exhausted> {
    let text = phrase.text;
    budget.spend(text.len() as u64)?;
    if let Some(literal) = annotated(phrase) {
        return Ok(Found::Definite(FinalAnswer { literal, phrase }));
    }
    if let Some(found) = literal::leading(text)
        && (is_unit(&text[found.end..]) || clause(&text[found.end..]))
    {
        return Ok(Found::Definite(FinalAnswer { literal: part(phrase, found.start, found.end), phrase }));
    }
    if let Some(literal) = behind_equals(phrase) {
        return Ok(Found::Definite(FinalAnswer { literal, phrase }));
    }
    let wordy = text.chars().take_while(|c| c.is_alphabetic()).count() >= 2;
    if !wordy || (text.contains(['(', '\\', '^', '/', '=']) && parse(text, budget)?.is_some()) {
        return Ok(Found::Definite(whole(phrase)));
    }
    // `not 5` and `between 5 and 6` do not say 5 or 6.
    let head = text.split_whitespace().next().unwrap_or_default().to_lowercase();
    if ["not", "between", "from", "either", "neither", "less", "more", "unknown"].contains(&head.as_str()) {
        return Ok(Found::Words(whole(phrase)));
    }
    Ok(Found::Words(match last_number(text) {
        Some(literal) => {
            let literal = Piece { start: phrase.start + literal.start, ..literal };
            FinalAnswer { literal, phrase }
        }
        None => whole(phrase),
    }))
}

/// GSM8K's calculator annotation, `<<9*2=18>>18`: what it wrote stands behind it.
fn annotated(phrase: Piece<'_>) -> Option<Piece<'_>> {
    let after = phrase.text.rfind(">>")? + 2;
    let found = literal::leading(&phrase.text[after..])?;
    is_unit(&phrase.text[after + found.end..]).then(|| part(phrase, after + found.start, after + found.end))
}

/// The number that one equation, or a chain of them, comes to.
pub(super) fn behind_equals(phrase: Piece<'_>) -> Option<Piece<'_>> {
    let text = phrase.text;
    let after = text.rfind('=')? + 1;
    let several = text[..after].contains([',', ';', '<', '>', '\u{2264}', '\u{2265}']) && text.matches('=').count() > 1
        || text[..after].contains("\\le")
        || text[..after].contains("\\ge");
    let found = literal::leading(&text[after..]).filter(|_| !several)?;
    let rest = text[after + found.end..].trim_end_matches(['$', '\\', ')', ']', ' ']);
    is_unit(rest).then(|| part(phrase, after + found.start, after + found.end))
}

/// The last number, or the formula that it stands in or that comes after it.
fn unmarked<'a>(region: &'a str, budget: &mut Budget) -> Search<FinalAnswer<'a>> {
    let number = last_number(region);
    let from = number.map_or(0, |number| number.start);
    let mut formula_found = None;
    let mut at = 0;
    while let Some(next) = region[at..].find(['$', '\\']) {
        at += next;
        let rest = &region[at..];
        match if opens(rest) { formulas(region, at, budget)? } else { None } {
            Some((found, end)) => {
                if end > from {
                    formula_found = Some(found);
                }
                at = end;
            }
            None => at += 1,
        }
    }
    Ok(formula_found.or(number.map(whole)))
}

/// Whether a number is followed by words of its own clause, as in `18 because …` or `18, since …`, and not by more
/// mathematics or a second value.
fn clause(rest: &str) -> bool {
    if rest.starts_with(' ') && rest.trim_start().starts_with('(') {
        return !rest.contains(')') || rest.contains(char::is_alphabetic);
    }
    let words = rest.strip_prefix([',', ';', ':', '%']).unwrap_or(rest).trim_start_matches(['*', '$']);
    let word: String = words.trim_start().chars().take_while(|c| c.is_alphabetic()).collect();
    let joins = ["and", "or", "to", "times", "plus", "minus", "over", "mod"];
    if !words.starts_with(' ') || word.len() < 2 || joins.contains(&word.as_str()) {
        return false;
    }
    // `2 hours and 30 minutes` is no 2.
    let second_value =
        words.split(" and ").nth(1).is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit() || c == '$'));
    let short = words.split(" and ").next().is_some_and(|before| before.split_whitespace().count() <= 2);
    if super::words::is_mathematics(&word) || second_value && short {
        return false;
    }
    // `15 gallons * 8 pints = 120`: still calculating, unless a new clause gives the reason.
    let before_equals = rest.split('=').next().unwrap_or(rest);
    let reason = before_equals.contains([',', ';', '('])
        || before_equals.split_whitespace().any(|word| ["because", "since", "as", "for"].contains(&word));
    before_equals.len() == rest.len() || reason
}

/// The last number of a text, ordinals (`3rd`) and names (`x2`) aside.
fn last_number(text: &str) -> Option<Piece<'_>> {
    let mut last = None;
    let mut at = 0;
    while let Some(next) = text[at..].find(|c: char| c.is_ascii_digit() || c == '.' || c == '\\') {
        let mut start = at + next;
        let before = text[at..start].chars().next_back();
        let is_literal = text[start..].starts_with(|c: char| c.is_ascii_digit())
            || text[start + 1..].starts_with(|c: char| c.is_ascii_digit())
            || text[start..].starts_with("\\frac")
            || text[start..].starts_with("\\dfrac");
        let named = before.is_some_and(|c| c.is_alphabetic() || c == '_');
        // A minus with nothing to subtract from is a sign; with a blank behind it, it is a list's bullet.
        if let Some(sign) = before.filter(|c| matches!(c, '-' | '\u{2212}')) {
            let left = text[..start - sign.len_utf8()].chars().next_back();
            if !left.is_some_and(|c| c.is_alphanumeric() || matches!(c, ')' | '}' | '%')) {
                start -= sign.len_utf8();
            }
        }
        let found = if is_literal { literal::leading(&text[start..]) } else { None };
        match found {
            Some(found) => {
                let end = start + found.end;
                let ordinal = ["st", "nd", "rd", "th"].iter().any(|suffix| text[end..].starts_with(suffix));
                if !named && !ordinal {
                    last = Some(Piece { text: &text[start + found.start..end], start: start + found.start });
                }
                at = end;
            }
            None => {
                let run = text[at + next..].bytes().take_while(u8::is_ascii_digit).count();
                at += next + run.max(1);
            }
        }
    }
    last
}

/// Bytes of blanks, Markdown, colons and line ends before an answer.
fn opening(text: &str) -> usize {
    let mut rest = text;
    for _ in 0..8 {
        let before = rest.len();
        rest = rest.trim_start_matches([' ', '\t', '*', ':', '_', '`']);
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
        if rest.len() == before {
            break;
        }
    }
    text.len() - rest.len()
}

/// Where a sentence ends: at a line's end, or at a stop that is no decimal point.
fn sentence_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let next = bytes.get(at + 1);
        match byte {
            b'\n' => return at,
            b'.' | b'!' | b'?'
                if next.is_none_or(|next| next.is_ascii_whitespace() || matches!(next, b'*' | b'"' | b'$')) =>
            {
                return at;
            }
            _ => {}
        }
    }
    text.len()
}

/// The piece between two offsets without the blanks and Markdown around it; `None` if nothing is left.
pub(super) fn trimmed(text: &str, start: usize, end: usize) -> Option<Piece<'_>> {
    let dress = |c: char| c.is_whitespace() || matches!(c, '*' | '`');
    let inner = text[start..end].trim_start_matches(dress);
    let start = end - inner.len();
    let inner = inner.trim_end_matches(dress);
    (!inner.is_empty()).then_some(Piece { text: inner, start })
}

pub(super) fn whole(piece: Piece<'_>) -> FinalAnswer<'_> {
    FinalAnswer { literal: piece, phrase: piece }
}

pub(super) fn part(phrase: Piece<'_>, start: usize, end: usize) -> Piece<'_> {
    Piece { text: &phrase.text[start..end], start: phrase.start + start }
}

/// The largest character boundary at or below `at`.
pub(super) fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}
