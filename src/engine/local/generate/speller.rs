//! The text of a sample while it grows: whole characters only, and nothing that may turn out to begin a stop string.

use crate::engine::text::whole_characters;

/// Spells a sample's tokens and watches for stop strings, across tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Speller {
    bytes: Vec<u8>,
    /// How many bytes have been given out, or were there before.
    given: usize,
}

impl Speller {
    /// Goes on after a text that ends with `before`, where a stop string may begin. The text's last `open` bytes begin a
    /// character; they are given out with its end.
    pub(super) fn after(before: Vec<u8>, open: usize) -> Self {
        let given = before.len() - open;
        Self { bytes: before, given }
    }

    /// Adds a token's bytes. Returns the text that has become certain, and whether a stop string ends it.
    pub(super) fn push(&mut self, token: &[u8], stop: &[String]) -> (String, bool) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(token);
        let longest = stop.iter().map(String::len).max().unwrap_or(0);
        // A stop string that is complete now ends in the new bytes. It may begin in what was there before, but not in what
        // was given out since: that could begin none.
        let from = before.saturating_sub(longest.saturating_sub(1));
        let found = stop.iter().filter_map(|stop| find(&self.bytes[from..], stop.as_bytes())).min();
        if let Some(at) = found {
            self.bytes.truncate((from + at).max(self.given));
            return (self.finish(), true);
        }
        let open = &self.bytes[self.given..];
        let held = stop.iter().map(|stop| open_end(&self.bytes, stop.as_bytes())).max().unwrap_or(0);
        let certain = whole_characters(&open[..open.len().saturating_sub(held)]);
        (self.give(self.given + certain), false)
    }

    /// What is left when no more tokens come.
    pub(super) fn finish(&mut self) -> String {
        self.give(self.bytes.len())
    }

    fn give(&mut self, to: usize) -> String {
        let text = String::from_utf8_lossy(&self.bytes[self.given..to]).into_owned();
        self.given = to;
        text
    }
}

/// Where `needle` begins in `bytes`. An empty one is never found.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() { None } else { bytes.windows(needle.len()).position(|window| window == needle) }
}

/// How many of the last bytes may be the beginning of `needle`.
fn open_end(bytes: &[u8], needle: &[u8]) -> usize {
    let most = needle.len().saturating_sub(1).min(bytes.len());
    (1..=most).rev().find(|&count| bytes.ends_with(&needle[..count])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell(tokens: &[&[u8]], stop: &[&str]) -> (Vec<String>, bool) {
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let mut speller = Speller::default();
        let mut texts = Vec::new();
        for token in tokens {
            let (text, stopped) = speller.push(token, &stop);
            texts.push(text);
            if stopped {
                return (texts, true);
            }
        }
        texts.push(speller.finish());
        (texts, false)
    }

    #[test]
    fn characters_come_whole() {
        let party = "🎉".as_bytes();
        assert_eq!(spell(&[b"a", &party[..1], &party[1..3], &party[3..], b"b"], &[]).0, ["a", "", "", "🎉", "b", ""]);
        assert_eq!(spell(&["é".as_bytes(), &party[..2]], &[]).0, ["é", "", "\u{fffd}"]);
        assert_eq!(spell(&[b"\xff", b"ok"], &[]).0, ["\u{fffd}", "ok", ""]);
        assert_eq!(spell(&["日本語".as_bytes(), b"!"], &[]).0, ["日本語", "!", ""]);
        assert_eq!(spell(&[&"日本語".as_bytes()[..8], &"語".as_bytes()[2..]], &[]).0, ["日本", "語", ""]);
    }

    #[test]
    fn a_stop_string_ends_the_text_wherever_tokens_begin() {
        assert_eq!(
            spell(&[b"18", b".\n", b"\nQues", b"tion: x"], &["\n\nQuestion:"]),
            (vec!["18".into(), ".".into(), String::new(), String::new()], true)
        );
        assert_eq!(spell(&[b"18.\n\nQuestion: x"], &["\n\nQuestion:"]), (vec!["18.".into()], true));
        // The first to be complete wins, and the earliest of those.
        assert_eq!(spell(&[b"a", b"bcd"], &["cd", "bc"]), (vec!["a".into(), String::new()], true));
    }

    #[test]
    fn what_only_looked_like_a_stop_string_is_given_out() {
        assert_eq!(
            spell(&[b"a\n", b"\n", b"b"], &["\n\nQ"]),
            (vec!["a".into(), "".into(), "\n\nb".into(), "".into()], false)
        );
        assert_eq!(spell(&[b"a\n"], &["\n\nQ"]), (vec!["a".into(), "\n".into()], false));
        assert_eq!(spell(&[b"aa", b"ab"], &["aab"]), (vec!["".into(), "a".into()], true));
    }

    #[test]
    fn a_stop_string_may_begin_in_the_text_before() {
        let stop = ["\n\nQuestion:".to_owned()];
        let after = |before: &str| Speller::after(before.as_bytes().to_vec(), 0);
        let mut speller = after("18.\n\n");
        assert_eq!(speller.push(b"Quest", &stop), (String::new(), false));
        assert_eq!(speller.push(b"ion: x", &stop), (String::new(), true));
        let mut speller = after("\n");
        assert_eq!(speller.push(b"\nQ", &stop), (String::new(), false));
        assert_eq!(speller.push(b"uarry", &stop), ("\nQuarry".to_owned(), false));
        // One that was complete before stops nothing.
        assert_eq!(after("\n\nQuestion:").push(b" x", &stop), (" x".to_owned(), false));
    }

    #[test]
    fn a_character_that_was_open_before_comes_whole() {
        let root = "√".as_bytes();
        let mut speller = Speller::after([b"2", &root[..2]].concat(), 2);
        assert_eq!(speller.push(&root[2..], &[]), ("√".to_owned(), false));
        assert_eq!(speller.push(b"3", &[]), ("3".to_owned(), false));
    }

    #[test]
    fn an_empty_stop_string_stops_nothing() {
        assert_eq!(spell(&[b"ab"], &[""]), (vec!["ab".into(), "".into()], false));
    }
}
