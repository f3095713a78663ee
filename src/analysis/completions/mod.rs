//! Completions: samples drawn after prompts, as they come, with the log probabilities of their tokens if asked for.
//!
//! The stream is the work: the engine draws as it is read, and dropping it cancels what has not been drawn.

mod prepare;
mod run;
mod tokens;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

pub use tokens::{CompletionToken, LikelyToken};

use super::AnalysisError;
use crate::domain::model::ModelRef;
use crate::domain::sampling::{FinishReason, Sampling};
use crate::engine::text::PromptInput;

/// Most prompts of one request.
pub const MAX_PROMPTS: usize = 256;
/// Most samples of one prompt.
pub const MAX_SAMPLES: usize = 1024;
/// Most samples of all prompts together.
pub const MAX_CHOICES: usize = 1024;
/// Most of the likeliest tokens that are reported beside each token.
pub const MAX_LOGPROBS: usize = 20;

/// A request for completions.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionInput {
    /// The id of a loaded model or adapter, or the name of a role. `None` is the base.
    pub model: Option<String>,
    /// 1 to [`MAX_PROMPTS`].
    pub prompts: Vec<PromptInput>,
    /// How many samples to draw after each prompt, 1 to [`MAX_SAMPLES`]; at most [`MAX_CHOICES`] for all prompts.
    pub samples: usize,
    /// Its seed does not count: see `seed`.
    pub sampling: Sampling,
    /// `None` has one chosen at random.
    pub seed: Option<u64>,
    pub limit: TokenLimit,
    /// Texts that end a sample; none is empty.
    pub stop: Vec<String>,
    /// Draw on past the tokens that end a sequence.
    pub ignore_eos: bool,
    /// Report tokens with this many of the likeliest beside each, at most [`MAX_LOGPROBS`]. `None` reports text alone.
    pub logprobs: Option<usize>,
    /// Begin every choice with its prompt.
    pub echo: bool,
    /// Report text as it is drawn, and not only whole samples.
    pub every_token: bool,
}

/// How many tokens a sample draws at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLimit {
    /// Refused where the context does not hold as many, or the answer would be too large, by the request's name for it. 0
    /// draws nothing.
    Exactly { max_tokens: usize, field: &'static str },
    /// As many as the context, the engine's memory and the bounds on an answer hold, and at most this many.
    Fitting(usize),
}

/// Completions on their way.
pub struct CompletionRun {
    /// The model that draws.
    pub model: ModelRef,
    /// The seed of the draws, given or chosen.
    pub seed: u64,
    /// Unix seconds.
    pub created: i64,
    /// Choices of all prompts: sample `s` of prompt `p` is choice `p * samples + s`.
    pub choices: usize,
    /// Ends after [`CompletionEvent::Done`] or an error.
    pub events: BoxStream<'static, Result<CompletionEvent, AnalysisError>>,
}

/// What a run reports. The choices' pieces come interleaved, each choice's own in order.
#[derive(Debug, Clone, PartialEq)]
pub enum CompletionEvent {
    Piece(Piece),
    Done(CompletionUsage),
}

/// A part of a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub choice: usize,
    /// What the choice's text goes on with.
    pub text: String,
    /// If log probabilities were asked for: the tokens that are new, those that end the sample among them.
    pub tokens: Vec<CompletionToken>,
    /// How many tokens were drawn for it.
    pub drawn: usize,
    /// Set in the choice's last piece.
    pub finish: Option<FinishReason>,
}

/// A finished choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub text: String,
    pub tokens: Vec<CompletionToken>,
    pub finish: FinishReason,
}

/// What completions cost, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompletionUsage {
    /// Of the prompts, each counted once.
    pub prompt: usize,
    /// Of the prompts: those whose keys and values the engine had already.
    pub cached: usize,
    /// Drawn in all choices.
    pub drawn: usize,
}

/// The finished choices, in order.
///
/// # Errors
/// The first error of the events.
pub async fn collect(
    choices: usize,
    events: impl Stream<Item = Result<CompletionEvent, AnalysisError>>,
) -> Result<(Vec<Choice>, CompletionUsage), AnalysisError> {
    let mut events = std::pin::pin!(events);
    let mut parts: Vec<(String, Vec<CompletionToken>, Option<FinishReason>)> = vec![Default::default(); choices];
    let mut usage = None;
    while let Some(event) = events.next().await {
        match event? {
            CompletionEvent::Piece(piece) => {
                let Some((text, tokens, finish)) = parts.get_mut(piece.choice) else {
                    return Err(AnalysisError::Internal(format!("there is no choice {}", piece.choice)));
                };
                text.push_str(&piece.text);
                tokens.extend(piece.tokens);
                *finish = piece.finish.or(*finish);
            }
            CompletionEvent::Done(done) => usage = Some(done),
        }
    }
    let unfinished = || AnalysisError::Internal("the engine left a sample unfinished".to_owned());
    let mut finished = Vec::with_capacity(choices);
    for (text, tokens, finish) in parts {
        finished.push(Choice { text, tokens, finish: finish.ok_or_else(unfinished)? });
    }
    Ok((finished, usage.ok_or_else(unfinished)?))
}
