//! A token's bytes, and where tokens lie in the text that they spell together.
//!
//! A token may be a part of a character, so text is only made of the bytes of whole sequences.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tokenizers::Tokenizer;

/// Knows how a tokenizer's vocabulary spells bytes.
pub(super) struct Pieces {
    spelling: Spelling,
    /// Added tokens are spelled as they are.
    added: HashMap<u32, String>,
    /// Added tokens that are no part of a text.
    special: HashSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's alphabet of 256 printable characters, one for each byte.
    ByteLevel,
    /// SentencePiece: `▁` for a space, `<0x0A>` for a byte.
    SentencePiece,
    Verbatim,
}

impl Pieces {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let decoder = tokenizer.get_decoder().and_then(|decoder| serde_json::to_string(decoder).ok());
        let decoder = decoder.unwrap_or_default();
        let spelling = if decoder.contains("\"ByteLevel\"") {
            Spelling::ByteLevel
        } else if ["\"ByteFallback\"", "\"Metaspace\"", "▁"].iter().any(|sign| decoder.contains(sign)) {
            Spelling::SentencePiece
        } else {
            Spelling::Verbatim
        };
        let added = tokenizer.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        let added = added.into_iter().map(|(id, token)| (id, token.content)).collect();
        Pieces { spelling, added, special }
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The bytes that a token stands for; `None` when there is no such token.
    pub(super) fn bytes<'a>(&'a self, tokenizer: &Tokenizer, id: u32) -> Option<Cow<'a, [u8]>> {
        if let Some(content) = self.added.get(&id) {
            return Some(Cow::Borrowed(content.as_bytes()));
        }
        let token = tokenizer.id_to_token(id)?;
        Some(Cow::Owned(match self.spelling {
            // A token with a character outside the alphabet is spelled as it is, as in the tokenizer's own decoder.
            Spelling::ByteLevel => token.chars().map(byte_of).collect::<Option<_>>().unwrap_or(token.into_bytes()),
            Spelling::SentencePiece => match fallback_byte(&token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
            Spelling::Verbatim => token.into_bytes(),
        }))
    }
}

/// The byte that a character of GPT-2's alphabet stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        // The other 68 bytes, in order: 0 to 0x20, 0x7f to 0xa0, and 0xad.
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The character of GPT-2's alphabet for a byte.
pub(super) fn char_of(byte: u8) -> char {
    match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte - 0x7f)).unwrap_or(char::REPLACEMENT_CHARACTER),
        0xad => '\u{143}',
    }
}

fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// A text made of tokens' bytes, with each token's span of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spelled {
    /// Bytes that are no UTF-8 read U+FFFD.
    pub(super) text: String,
    /// Byte offsets into `text`, one pair a token: from the start of the character that holds the token's first byte
    /// to the end of the one that holds its last.
    pub(super) spans: Vec<(usize, usize)>,
}

/// Puts tokens' bytes together into text.
pub(super) fn spell<'a>(tokens: impl IntoIterator<Item = Cow<'a, [u8]>>) -> Spelled {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for token in tokens {
        bytes.extend_from_slice(&token);
        ends.push(bytes.len());
    }
    // For each byte, the span in the text of the character that it belongs to.
    let mut characters = Vec::with_capacity(bytes.len());
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let start = text.len();
            text.push(c);
            characters.extend(std::iter::repeat_n((start, text.len()), c.len_utf8()));
        }
        if !chunk.invalid().is_empty() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            characters.extend(std::iter::repeat_n((start, text.len()), chunk.invalid().len()));
        }
    }
    let mut from = 0;
    let spans = ends
        .into_iter()
        .map(|to| {
            let span = match characters.get(from..to) {
                Some([first, .., last]) => (first.0, last.1),
                Some([only]) => *only,
                // A token without bytes stands between its neighbours.
                Some([]) | None => {
                    let at = from.checked_sub(1).and_then(|before| characters.get(before)).map_or(0, |span| span.1);
                    (at, at)
                }
            };
            from = to;
            span
        })
        .collect();
    Spelled { text, spans }
}

/// How many of `bytes` are whole characters. Bytes that can be no character count as whole.
pub(crate) fn whole_characters(bytes: &[u8]) -> usize {
    let mut whole = 0;
    loop {
        match std::str::from_utf8(&bytes[whole..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                Some(broken) => whole += error.valid_up_to() + broken,
                None => return whole + error.valid_up_to(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_gpt2s() {
        let ours: std::collections::HashSet<char> = (0..=255).map(char_of).collect();
        let theirs = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(ours, theirs.into_iter().collect());
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), byte_of('▁')), ('Ġ', 'Ċ', None));
    }

    fn spelled(tokens: &[&[u8]]) -> Spelled {
        spell(tokens.iter().map(|token| Cow::Borrowed(*token)))
    }

    #[test]
    fn tokens_that_share_a_character_share_its_span() {
        // The emoji's four bytes lie in three tokens, the last of which goes on.
        let party = "a🎉b".as_bytes();
        let result = spelled(&[&party[..2], &party[2..3], &party[3..]]);
        assert_eq!(result, Spelled { text: "a🎉b".to_owned(), spans: vec![(0, 5), (1, 5), (1, 6)] });
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        let result = spelled(&[b"ok", b"\xf0\x9f", b"", b"!", b"\xff"]);
        assert_eq!(result.text, "ok\u{fffd}!\u{fffd}");
        assert_eq!(result.spans, [(0, 2), (2, 5), (5, 5), (5, 6), (6, 9)]);
    }

    #[test]
    fn sentencepiece_bytes() {
        assert_eq!(fallback_byte("<0x0A>"), Some(10));
        assert_eq!(fallback_byte("<0xA>"), None);
        assert_eq!(fallback_byte("<0xGG>"), None);
        assert_eq!(fallback_byte("<0x+A>"), None);
    }
}
