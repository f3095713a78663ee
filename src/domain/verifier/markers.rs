//! Where a response may give its answer: the markers before it, and where the response's own part ends.

const RUN_ON: [&str; 3] = ["Question", "Problem", "Q"];
const END_MARKS: [&str; 6] = ["<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "</s>", "<eos>"];

/// The response up to where the model begins another question, or ends in the text of a special token.
pub(super) fn own_part(response: &str) -> &str {
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
pub(super) enum Marker {
    /// `\boxed{`.
    Boxed,
    /// `the answer is`, `final answer:`: a sentence follows.
    Sentence,
    /// `####`, `A:`, `Answer:`: only a line that is nothing but an answer counts.
    Line,
}

/// The next marker at or after `from`: its kind, where it begins, and where the text behind it begins.
pub(super) fn next_marker(region: &str, lowered: &str, from: usize) -> Option<(Marker, usize, usize)> {
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
            let head = &region[region.floor_char_boundary(at.saturating_sub(24))..at];
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
