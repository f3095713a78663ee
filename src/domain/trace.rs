//! A stored analysis of one trajectory, in the shape that the HTTP contract and the export use.

use serde::{Deserialize, Serialize};

use super::critical::CriticalRule;
use super::model::{ModelRef, PerModel};
use super::rollout::RolloutSet;
use super::score::Normalizer;
use super::search::SearchRecord;
use super::verdict::Verdict;

/// The analysis of one trajectory: what the models said of each token, and which tokens are critical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// `trace_` and a time-ordered identifier.
    pub id: String,
    pub object: TraceObject,
    /// Unix seconds.
    pub created: i64,
    /// `beta` of equation (3).
    pub beta: f64,
    pub normalizer: Normalizer,
    pub models: PerModel<ModelRef>,
    pub prompt: Prompt,
    pub response: Response,
    pub tokens: Vec<Token>,
    pub rule: CriticalRule,
    /// Positions of the critical tokens, ascending.
    pub critical: Vec<usize>,
    pub verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub usage: Usage,
    pub timing: Timing,
    /// The stored rollouts, oldest first. They come after the trace and are kept beside it, so they are read with it and
    /// not written with it.
    #[serde(default, skip_serializing)]
    pub rollouts: Vec<RolloutSet>,
    /// The stored searches, oldest first; kept beside the trace like the rollouts.
    #[serde(default, skip_serializing)]
    pub searches: Vec<SearchRecord>,
}

/// The constant `"trace"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceObject {
    #[default]
    Trace,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    pub text: String,
    pub token_ids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    pub text: String,
    /// The first token began inside the prompt's text.
    pub straddles_boundary: bool,
}

/// A response token with what the models say of it. See [`super::score::TokenScore`] for units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// 0 is the response's first token.
    pub position: usize,
    pub id: u32,
    pub text: String,
    /// Byte offsets into the response's text.
    pub start: usize,
    pub end: usize,
    pub logprob: PerModel<f32>,
    pub rank: PerModel<u32>,
    pub entropy: PerModel<f32>,
    pub score: Option<f64>,
    pub critical: bool,
    pub top: Vec<TopToken>,
}

/// An alternative at a position: log probabilities by model, and the score it would have had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "TopTokenRecord", into = "TopTokenRecord")]
pub struct TopToken {
    pub id: u32,
    pub text: String,
    pub logprob: PerModel<f32>,
    pub score: Option<f64>,
}

/// [`TopToken`] as it is written. Spelled out because serde's `flatten` would accept unknown fields and read `f32` by
/// way of `f64`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopTokenRecord {
    id: u32,
    text: String,
    base: f32,
    positive: Option<f32>,
    negative: Option<f32>,
    score: Option<f64>,
}

impl From<TopTokenRecord> for TopToken {
    fn from(record: TopTokenRecord) -> Self {
        let TopTokenRecord { id, text, base, positive, negative, score } = record;
        TopToken { id, text, logprob: PerModel { base, positive, negative }, score }
    }
}

impl From<TopToken> for TopTokenRecord {
    fn from(token: TopToken) -> Self {
        let TopToken { id, text, logprob: PerModel { base, positive, negative }, score } = token;
        TopTokenRecord { id, text, base, positive, negative, score }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub response_tokens: usize,
}

/// Milliseconds spent waiting for the device, and on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    pub queue_ms: f64,
    pub compute_ms: f64,
}
