//! What a search is asked, and what it finds: plain values with their names on the wire.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::rule::{SearchRule, Tally};
use crate::domain::statistics::wilson;

/// How a search draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Where the answer may still change, until it is known at the confidence asked for.
    Adaptive,
    /// Every sample at every position.
    Exhaustive,
}

/// What to answer where definition (1) has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    None,
    /// The last position after which no rollout is right.
    LastZero,
}

/// Which positions are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidates {
    All,
    /// The `m` positions with the lowest `s_t`. Definition (1) is then read over these positions alone.
    LowestScores(usize),
}

/// A search's rule and its terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchPlan {
    pub rule: SearchRule,
    pub strategy: Strategy,
    pub fallback: Fallback,
    /// How sure an adaptive search must be to stop, in (0, 1).
    pub confidence: f64,
    /// The share of the exhaustive search's tokens that an adaptive one may draw, in (0, 1]. Short trajectories get at
    /// least what two positions cost: less could not even show that there is no hope after the first token.
    pub budget: f64,
    /// Most samples of a round: many rows, and still a bound on what one generation holds.
    pub round: usize,
}

/// Samples to draw after a position, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    pub position: usize,
    pub samples: Range<usize>,
}

/// Why a search stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Definition (1) holds at the critical position.
    Found,
    /// No position satisfies definition (1).
    NoCritical,
    /// No position satisfies definition (1); the critical position is the last without a right rollout.
    LastZero,
    /// The budget is spent; the critical position is the likeliest so far.
    BudgetSpent,
    /// Somebody ended it; the critical position is the likeliest so far.
    Stopped,
}

/// What is known of a position's count of right rollouts, were all of them drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// It is above the tail.
    Hopeful,
    /// All were drawn, and none is right.
    Zero,
    /// It is not above the tail.
    Tail,
    /// Neither is known, and the answer did not hang on it.
    Open,
}

/// A position that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionOutcome {
    pub position: usize,
    pub samples: usize,
    pub correct: usize,
    /// `correct / samples`.
    pub rate: f64,
    /// Wilson's at 95%.
    pub interval: [f64; 2],
    /// An adaptive search decides at the search's confidence, an exhaustive one by all samples.
    pub decided: Decided,
}

impl PositionOutcome {
    /// What a tally says by itself: decided where no further sample could change it.
    pub fn of(position: usize, rule: &SearchRule, tally: Tally) -> Self {
        let Tally { samples, correct } = tally;
        let left = rule.samples.saturating_sub(samples);
        let decided = match correct {
            _ if correct > rule.allowed() => Decided::Hopeful,
            0 if left == 0 => Decided::Zero,
            _ if correct + left <= rule.allowed() => Decided::Tail,
            _ => Decided::Open,
        };
        let rate = if samples == 0 { 0.0 } else { correct as f64 / samples as f64 };
        PositionOutcome { position, samples, correct, rate, interval: wilson(correct, samples), decided }
    }
}

/// What was drawn after a position: all that a search must know to go on in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawnAfter {
    pub position: usize,
    pub tally: Tally,
    /// Over all its samples.
    pub tokens: usize,
}

/// A finished search.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    pub critical: Option<usize>,
    pub reason: Reason,
    /// How likely the exhaustive search gives the same answer; 1 where every sample that matters was drawn.
    pub confidence: f64,
    /// Positions with samples, ascending.
    pub positions: Vec<PositionOutcome>,
    pub tokens: usize,
    /// What the exhaustive search costs: from the mean lengths of the samples drawn, or exactly if it was run.
    pub exhaustive_tokens: usize,
}

/// How a search stands between two rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchProgress {
    /// The likeliest critical position so far, and how likely it is; an exhaustive search names none before its end.
    pub leading: Option<usize>,
    pub confidence: Option<f64>,
    pub samples: usize,
    pub generated_tokens: usize,
    pub exhaustive_tokens: usize,
}
