//! Tokens as completions report them: their text, and where it begins.

use crate::domain::score::TokenScore;
use crate::engine::{DrawnToken, TextCodec};

/// A token of a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionToken {
    pub text: String,
    /// The bytes that it stands for, of a character that it holds a part of, too.
    pub bytes: Vec<u8>,
    /// Characters of the choice's text before it. Tokens that share a character begin where it does.
    pub offset: usize,
    /// Natural log of its probability in the model's own distribution. `None` where nothing is before it.
    pub logprob: Option<f32>,
    /// The likeliest tokens in its place, likeliest first.
    pub top: Vec<LikelyToken>,
}

/// A token that is likely at a position.
#[derive(Debug, Clone, PartialEq)]
pub struct LikelyToken {
    pub text: String,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}

impl CompletionToken {
    /// A token of the prompt; `score` is what the model says of it.
    pub(super) fn of_prompt(codec: &TextCodec, id: u32, offset: usize, score: Option<&TokenScore>) -> Self {
        let top = score.iter().flat_map(|score| &score.top).map(|other| (other.id, other.logprob.base));
        let top = top.map(|(id, logprob)| LikelyToken::new(codec, id, logprob)).collect();
        let logprob = score.map(|score| score.logprob.base);
        Self { text: codec.piece(id), bytes: bytes(codec, id), offset, logprob, top }
    }

    /// A drawn token.
    pub(super) fn drawn(codec: &TextCodec, offset: usize, token: &DrawnToken) -> Self {
        let DrawnToken { id, logprob, top, text: _ } = token;
        let top = top.iter().map(|&(id, logprob)| LikelyToken::new(codec, id, logprob)).collect();
        Self { text: codec.piece(*id), bytes: bytes(codec, *id), offset, logprob: Some(*logprob), top }
    }
}

impl LikelyToken {
    fn new(codec: &TextCodec, id: u32, logprob: f32) -> Self {
        Self { text: codec.piece(id), bytes: bytes(codec, id), logprob }
    }
}

fn bytes(codec: &TextCodec, id: u32) -> Vec<u8> {
    codec.piece_bytes(id).unwrap_or_default().into_owned()
}

/// Counts the characters of a choice's text, token by token.
///
/// The engine holds text back while it may turn out to be a stop string, so the place of a token follows from the bytes
/// before it and not from the text that has been given out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offsets {
    /// Characters that have begun.
    begun: usize,
}

impl Offsets {
    /// After a text of `characters`.
    pub(super) fn after(characters: usize) -> Self {
        Self { begun: characters }
    }

    /// Where the next token begins.
    pub(super) fn place(&mut self, codec: &TextCodec, id: u32) -> usize {
        self.advance(&codec.text_bytes(id))
    }

    fn advance(&mut self, bytes: &[u8]) -> usize {
        let goes_on = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
        let start = self.begun.saturating_sub(usize::from(bytes.first().is_some_and(|&byte| goes_on(byte))));
        self.begun += bytes.iter().filter(|&&byte| !goes_on(byte)).count();
        start
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn tokens_of_one_character_begin_together() {
        let mut offsets = Offsets::after(3);
        let party = "a🎉b".as_bytes();
        let starts: Vec<_> =
            [&party[..2], &party[2..4], &party[4..], b"", b"c"].map(|bytes| offsets.advance(bytes)).to_vec();
        assert_eq!(starts, [3, 4, 4, 6, 6]);
    }
}
