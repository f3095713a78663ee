//! Finds the final answer of a response: the first one, for a model may run on into a question of its own.
//!
//! Looked for, in the order of the text: `#### 18`, `\boxed{18}`, `The answer is 18.`, `Final answer: 18`, and `A: 18` or
//! `Answer: 18` on a line of its own. A marker with a definite answer behind it beats an earlier one with mere words
//! (`The answer is found by …`). Without any marker the last number counts.

use super::compare::is_unit;
use super::number;

/// A part of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    pub text: &'a str,
    /// Byte offset in the response.
    pub start: usize,
}

/// A final answer as the response wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalAnswer<'a> {
    /// The answer alone: for `The answer is $18 per day.` it is `18`.
    pub literal: Piece<'a>,
    /// The words around it: `$18 per day`. Decides where the reference is not a number.
    pub phrase: Piece<'a>,
}

/// Longest phrase, in bytes, that is read behind a marker.
const PHRASE: usize = 400;
const RUN_ON: [&str; 3] = ["Question", "Problem", "Q"];
const END_MARKS: [&str; 6] = ["<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "</s>", "<eos>"];

/// How sure it is that a marker's phrase is an answer.
enum Found<'a> {
    Definite(FinalAnswer<'a>),
    Words(FinalAnswer<'a>),
}

/// The first final answer of a response, or its last number where nothing marks one.
pub fn final_answer(response: &str) -> Option<FinalAnswer<'_>> {
    let region = own_part(response);
    let lowered = region.to_ascii_lowercase();
    let last_line = region.trim_end().rfind('\n').map_or(0, |at| at + 1);
    let mut words = None;
    let mut at = 0;
    while let Some((marker, start, after)) = next_marker(region, &lowered, at) {
        let found = match marker {
            Marker::Boxed => boxed(region, start).map(|piece| Found::Definite(whole(piece))),
            Marker::Sentence => sentence(region, after),
            Marker::Line => line(region, after, start >= last_line),
        };
        match found {
            Some(Found::Definite(answer)) => return Some(answer),
            Some(Found::Words(answer)) => words = words.or(Some(answer)),
            None => {}
        }
        at = after;
    }
    words.or_else(|| last_number(region).map(whole))
}

/// The response up to where the model begins another question, or ends in the text of a special token.
fn own_part(response: &str) -> &str {
    let mut end = END_MARKS.iter().filter_map(|mark| response.find(mark)).min().unwrap_or(response.len());
    for word in RUN_ON {
        let begins = |&(at, _): &(usize, &str)| {
            let after =
                response[at + word.len()..].trim_start_matches(|c: char| c == ' ' || c == '*' || c.is_ascii_digit());
            let before = response[..at].trim_end_matches([' ', '*', '#', '>', '_']);
            let own_line = before.ends_with('\n');
            let after_sentence =
                word != "Q" && before.ends_with(|c: char| matches!(c, '.' | '!' | '?' | '}' | ')' | '$' | '0'..='9'));
            after.starts_with(':') && (own_line || after_sentence) && !before.trim().is_empty()
        };
        if let Some((at, _)) = response[..end].match_indices(word).find(begins) {
            end = at;
        }
    }
    &response[..end]
}

#[derive(Clone, Copy)]
enum Marker {
    /// `\boxed{`.
    Boxed,
    /// `the answer is`, `final answer:`: a sentence follows.
    Sentence,
    /// `####`, `A:`, `Answer:`: only a line that is nothing but an answer counts.
    Line,
}

/// The next marker at or after `from`: its kind, where it begins, and where the text behind it begins.
fn next_marker(region: &str, lowered: &str, from: usize) -> Option<(Marker, usize, usize)> {
    let mut at = from;
    loop {
        at += lowered[at..].find(['#', '\\', 'a'])?;
        let rest = &lowered[at..];
        if rest.starts_with("####") {
            let hashes = rest.bytes().take_while(|b| *b == b'#').count();
            return Some((Marker::Line, at, at + hashes));
        }
        if rest.starts_with("\\boxed") || rest.starts_with("\\fbox") {
            return Some((Marker::Boxed, at, at + 5));
        }
        let before = region[..at].chars().next_back();
        if rest.starts_with('a') && !before.is_some_and(|c| c.is_alphanumeric() || c == '/') {
            // Only the current line's head is looked at, and no more of it than an opening can take.
            let head = &region[floor(region, at.saturating_sub(24))..at];
            let opening = head.rsplit('\n').next().unwrap_or(head);
            let opens_line =
                opening.len() < 20 && opening.chars().all(|c| matches!(c, ' ' | '\t' | '*' | '#' | '>' | '_' | '-'));
            let end = if rest.starts_with("answer") { 6 } else { 1 };
            if let Some(after) = link(&rest[end..]) {
                let named = end == 6;
                let colon = !rest[end..end + after].contains("is");
                let plain = opens_line && colon;
                if named && !plain {
                    return Some((Marker::Sentence, at, at + end + after));
                }
                if plain && rest[end..end + after].contains(':') {
                    return Some((Marker::Line, at, at + end + after));
                }
            } else if end == 6
                && lowered[..at].ends_with("final ")
                && rest[6..].trim_start_matches('*').starts_with('\n')
            {
                // A heading `Final answer`.
                return Some((Marker::Sentence, at, at + 6));
            }
        }
        at += 1;
    }
}

/// Length of what links `answer` to the answer itself: ` is`, `:`, ` is:`, `** =` and so on. Not `was`: in solutions that
/// tells of an answer on the way.
fn link(rest: &str) -> Option<usize> {
    let mut end = rest.len() - rest.trim_start_matches(['*', '_']).len();
    let mut linked = false;
    loop {
        let here = &rest[end..];
        let blanks = here.len() - here.trim_start_matches(' ').len();
        let next = &here[blanks..];
        let word = ["is", "=", ":"].into_iter().find(|word| {
            next.starts_with(word)
                && !(word.len() > 1 && next[word.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()))
        });
        match word {
            Some(word) if end < 16 => {
                end += blanks + word.len();
                end += rest[end..].len() - rest[end..].trim_start_matches(['*', '_']).len();
                linked = true;
            }
            Some(_) | None => return linked.then_some(end),
        }
    }
}

/// The content of the `\boxed{…}` or `\boxed 5` that begins at `at`, braces balanced.
pub(super) fn boxed(text: &str, at: usize) -> Option<Piece<'_>> {
    let name = if text[at..].starts_with("\\boxed") { 6 } else { 5 };
    let after = &text[at + name..];
    let blanks = after.len() - after.trim_start_matches(' ').len();
    let open = at + name + blanks;
    if !text[open..].starts_with('{') {
        // TeX takes the next token: `\boxed 5`.
        let window = &text[open..open + floor(&text[open..], PHRASE)];
        let end = window.find(|c: char| c.is_whitespace() || c == '$').unwrap_or(window.len());
        return trimmed(text, open, open + end);
    }
    let mut depth = 0usize;
    let mut escaped = false;
    for (offset, byte) in text[open..].bytes().enumerate().take(PHRASE) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return trimmed(text, open + 1, open + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// The answer in the sentence that begins at `from`.
fn sentence(region: &str, from: usize) -> Option<Found<'_>> {
    let start = from + opening(&region[from..], true);
    let window = &region[start..start + floor(&region[start..], PHRASE)];
    let phrase = trimmed(region, start, start + sentence_end(window))?;
    if let Some(at) = window[..phrase.start - start + phrase.text.len()].find("\\boxed") {
        return boxed(region, start + at).map(|piece| Found::Definite(whole(piece)));
    }
    Some(read(phrase))
}

/// The answer on the rest of the line at `from`, if the line is nothing else.
fn line(region: &str, from: usize, last: bool) -> Option<Found<'_>> {
    let start = from + opening(&region[from..], true);
    let rest = &region[start..];
    let window = &rest[..floor(rest, PHRASE)];
    let end = match window.find('\n') {
        Some(end) => end,
        None if window.len() < rest.len() => return None,
        None => rest.len(),
    };
    let phrase = trimmed(region, start, start + end)?;
    if let Some(at) = phrase.text.find("\\boxed") {
        return boxed(region, phrase.start + at).map(|piece| Found::Definite(whole(piece)));
    }
    let bare = number::leading(phrase.text).filter(|found| is_unit(&phrase.text[found.end..]));
    if let Some(found) = bare {
        return Some(Found::Definite(FinalAnswer { literal: part(phrase, found.start, found.end), phrase }));
    }
    // A heading (`#### Step 1`) or a solution's first line (`A: She has 3 …`) has more text after it.
    last.then(|| Found::Words(inside(read(phrase))))
}

fn inside(found: Found<'_>) -> FinalAnswer<'_> {
    match found {
        Found::Definite(answer) | Found::Words(answer) => answer,
    }
}

/// Reads a phrase: a number at its head, a value behind `=`, a formula, or words with or without a number in them.
fn read(phrase: Piece<'_>) -> Found<'_> {
    let text = phrase.text;
    // GSM8K's calculator annotation, `<<9*2=18>>18`: what it wrote stands behind it.
    if let Some(at) = text.rfind(">>")
        && let Some(found) = number::leading(&text[at + 2..])
        && is_unit(&text[at + 2 + found.end..])
    {
        return Found::Definite(FinalAnswer {
            literal: part(phrase, at + 2 + found.start, at + 2 + found.end),
            phrase,
        });
    }
    if let Some(found) = number::leading(text)
        && (is_unit(&text[found.end..]) || clause(&text[found.end..]))
    {
        return Found::Definite(FinalAnswer { literal: part(phrase, found.start, found.end), phrase });
    }
    if let Some(equals) = text.rfind('=')
        && let Some(found) = number::leading(&text[equals + 1..])
        && is_unit(&text[equals + 1 + found.end..])
    {
        let literal = part(phrase, equals + 1 + found.start, equals + 1 + found.end);
        return Found::Definite(FinalAnswer { literal, phrase });
    }
    let wordy = text.chars().take_while(|c| c.is_alphabetic()).count() >= 2;
    if !wordy {
        return Found::Definite(whole(phrase));
    }
    match last_number(text) {
        Some(literal) => {
            let literal = Piece { start: phrase.start + literal.start, ..literal };
            Found::Words(FinalAnswer { literal, phrase })
        }
        None => Found::Words(whole(phrase)),
    }
}

/// Whether a number is followed by words of its own clause, as in `18 because …` or `18, since …`, and not by more
/// mathematics or a second value.
fn clause(rest: &str) -> bool {
    if rest.starts_with(' ') && rest.trim_start().starts_with('(') {
        return true;
    }
    let words = rest.strip_prefix([',', ';', ':', '%']).unwrap_or(rest).trim_start_matches(['*', '$']);
    let word: String = words.trim_start().chars().take_while(|c| c.is_alphabetic()).collect();
    let joins = ["and", "or", "to", "times", "plus", "minus", "over", "mod"];
    if !words.starts_with(' ') || word.len() < 2 || joins.contains(&word.as_str()) {
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
        let literal = text[start..].starts_with(|c: char| c.is_ascii_digit())
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
        let found = if literal { number::leading(&text[start..]) } else { None };
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

/// Bytes of blanks, Markdown, colons and math delimiters before an answer; with `lines`, a blank rest of the line too.
fn opening(text: &str, lines: bool) -> usize {
    let mut rest = text;
    for _ in 0..8 {
        let before = rest.len();
        rest = rest.trim_start_matches([' ', '\t', '*', ':', '_', '`']);
        for open in ["\\[", "\\(", "$$"] {
            rest = rest.strip_prefix(open).unwrap_or(rest);
        }
        if lines {
            rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
        }
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
fn trimmed(text: &str, start: usize, end: usize) -> Option<Piece<'_>> {
    let dress = |c: char| c.is_whitespace() || matches!(c, '*' | '`');
    let inner = text[start..end].trim_start_matches(dress);
    let start = end - inner.len();
    let inner = inner.trim_end_matches(dress);
    (!inner.is_empty()).then_some(Piece { text: inner, start })
}

fn whole(piece: Piece<'_>) -> FinalAnswer<'_> {
    FinalAnswer { literal: piece, phrase: piece }
}

fn part(phrase: Piece<'_>, start: usize, end: usize) -> Piece<'_> {
    Piece { text: &phrase.text[start..end], start: phrase.start + start }
}

/// The largest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}
