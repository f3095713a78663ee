//! What a generation asks of an engine, and what comes back.
//!
//! A request is a tree: one sequence of tokens, forks of it, and samples from each fork. A plain completion is a tree with
//! one fork at its end. The engine reads the sequence once, whatever hangs on it.

use std::ops::Range;

use futures::stream::BoxStream;

use super::EngineError;
use crate::domain::model::ModelRef;
use crate::domain::sampling::{FinishReason, Sampling};

/// Samples to draw after forks of one sequence.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The id of a loaded model or adapter, or the name of a role.
    pub model: String,
    /// The sequence that the forks share; at least one token.
    pub token_ids: Vec<u32>,
    pub forks: Vec<Fork>,
    pub sampling: Sampling,
    /// Most tokens that a sample draws; at least 1.
    pub max_tokens: usize,
    /// Texts that end a sample. The sample's text ends before the first of them, wherever tokens begin and end.
    pub stop: Vec<String>,
    /// How many of `token_ids` come before the text in which a stop string may begin: all of them where only what is drawn
    /// counts.
    pub stop_from: usize,
    /// Draw on past the tokens that end a sequence.
    pub ignore_eos: bool,
    /// How many of the likeliest tokens to report beside each one drawn.
    pub top_logprobs: usize,
    /// Report every token as it is drawn, not only finished samples.
    pub every_token: bool,
}

/// A place where samples leave the shared sequence.
///
/// Draws depend on the seed, the tokens up to the fork and the sample's number alone: the same fork gives the same samples
/// in any request, and asking for fewer gives the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// How many of the sequence's tokens it keeps; at least 1.
    pub keep: usize,
    /// The token that follows them, if it is not drawn. It counts as no drawn token.
    pub forced: Option<u32>,
    /// A token whose probability is zero in the first draw, the others sharing what it had.
    pub banned: Option<u32>,
    /// The numbers of the samples to draw.
    pub samples: Range<usize>,
}

/// A running generation. Dropping `events` cancels what has not been drawn.
pub struct Generation {
    /// The model that draws, as it was when the request came.
    pub model: ModelRef,
    /// Ends after [`GenerationEvent::Done`] or an error.
    pub events: BoxStream<'static, Result<GenerationEvent, EngineError>>,
}

/// What a generation reports. Forks and samples come in the order in which they finish.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// A fork's forced token and its log probability, before any of the fork's samples.
    Forced {
        fork: usize,
        logprob: f32,
    },
    /// A token was drawn (if every token was asked for). The sample's last token may be followed by no text.
    Token {
        fork: usize,
        sample: usize,
        token: DrawnToken,
    },
    /// A sample is finished.
    Sample(Sample),
    Done(GenerationUsage),
}

/// One drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnToken {
    pub id: u32,
    /// Natural log of its probability in the model's own distribution, before temperature and filters.
    pub logprob: f32,
    /// The likeliest tokens and their log probabilities, likeliest first.
    pub top: Vec<(u32, f32)>,
    /// The text that is certain since this token: whole characters that begin no stop string. Empty while a character or
    /// a possible stop string is open; all pieces together are the sample's text.
    pub text: String,
}

/// A finished sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Index into the request's forks.
    pub fork: usize,
    /// The sample's number within its fork.
    pub number: usize,
    /// What was drawn after the fork (and its forced token), in full: a token that ends the sequence or spells a stop
    /// string is there too. Their `text`s together are the text without the stop string and without special tokens. A
    /// character that the fork parts is in it as a whole.
    pub tokens: Vec<DrawnToken>,
    pub finish: FinishReason,
}

impl Sample {
    /// The text that was drawn, without the stop string that ended it.
    pub fn text(&self) -> String {
        self.tokens.iter().map(|token| token.text.as_str()).collect()
    }

    pub fn token_ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

/// What a generation cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GenerationUsage {
    /// Tokens of the shared sequence that were read for this request.
    pub prefill_tokens: usize,
    /// Tokens of the shared sequence whose keys and values were there already. With `prefill_tokens` they add up to the
    /// longest part of the sequence that a fork keeps.
    pub reused_tokens: usize,
    pub generated_tokens: usize,
    /// Milliseconds until the request was begun, and from then to its end.
    pub queue_ms: f64,
    pub compute_ms: f64,
}
