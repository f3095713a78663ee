//! A prompt and one response to it, as token ids with their place in the text.

/// A tokenised trajectory. Every index below is checked when it is built by the tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    pub prompt_text: String,
    pub prompt_ids: Vec<u32>,
    pub response_text: String,
    pub response: Vec<ResponseToken>,
    /// The first response token began inside the prompt's text: prompt and response are tokenised together, and a
    /// token over the boundary belongs to the response.
    pub straddles_boundary: bool,
}

/// A token of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToken {
    pub id: u32,
    /// The token's own text; a token that is a part of a character reads U+FFFD.
    pub text: String,
    /// Byte offsets into the response's text. Tokens that share a character share its span.
    pub start: usize,
    pub end: usize,
}

impl Trajectory {
    /// Prompt and response as one sequence of ids.
    pub fn token_ids(&self) -> Vec<u32> {
        self.prompt_ids.iter().copied().chain(self.response.iter().map(|token| token.id)).collect()
    }
}
