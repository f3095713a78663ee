//! Token scores: what the three models say of each token of a response.

use serde::{Deserialize, Serialize};

use super::model::PerModel;

/// Whether `Z_t` of equation (3) was summed over the whole vocabulary or over the top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalizer {
    Exact,
    Truncated,
}

/// What the models say of the token at one position of the response.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// Natural log of the token's probability, before any sampling filter.
    pub logprob: PerModel<f32>,
    /// How many tokens are likelier; 0 is the greedy choice.
    pub rank: PerModel<u32>,
    /// Entropy of the next-token distribution in nats.
    pub entropy: PerModel<f32>,
    /// `s_t` of equation (3), in (0, 1). `None` while a role is empty.
    pub score: Option<f64>,
    /// The tokens asked for, likeliest for the base first, then the caller's own in the caller's order.
    pub top: Vec<Alternative>,
}

/// Another token at the same position.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    pub id: u32,
    /// Natural log probabilities.
    pub logprob: PerModel<f32>,
    /// The score that it would have had in the token's place.
    pub score: Option<f64>,
}
