//! Rollouts at a fork: what came of a token and of others in its place, in the shape that the HTTP contract and the
//! export use.
//!
//! This file knows what was drawn and graded; [`plan`] knows what is to be drawn, and [`invariants`] what must hold.

pub mod invariants;
pub mod plan;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use plan::{AlternativesPlan, AlternativesSource, GivenTokens, PlanError, RolloutPlan, RolloutSampling};

use super::model::ModelRef;
use super::sampling::FinishReason;
use super::statistics::{pass_curve, wilson};
use super::verdict::{Verdict, VerdictStatus};

/// The rollouts of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSet {
    /// `roll_` and a time-ordered identifier.
    pub id: String,
    pub object: RolloutsObject,
    /// Unix seconds.
    pub created: i64,
    /// The trace that the set is stored with; `None` for one that is not stored.
    pub trace_id: Option<String>,
    /// The model that drew the rollouts.
    pub model: ModelRef,
    /// The response token that others stood in for; 0 is the response's first.
    pub position: usize,
    /// The answer that a right rollout reaches, as the request or the trace gave it.
    pub answer: String,
    pub sampling: RolloutSampling,
    pub alternatives_source: AlternativesSource,
    /// Whether it was ended before all was drawn. Rollouts that are short were drawn first then, so its rates lean to them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// The response's own token.
    pub original: Group,
    pub alternatives: Vec<Group>,
    /// All rollouts with the response's own token.
    pub with_token: Pool,
    /// All rollouts with another token in its place.
    pub without_token: Pool,
    /// The original's first, then those of each alternative in turn, by their numbers. A stopped set lacks some numbers.
    pub rollouts: Vec<Rollout>,
    pub usage: RolloutUsage,
}

/// The constant `"rollouts"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutsObject {
    #[default]
    Rollouts,
}

/// A token by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForcedToken {
    pub id: u32,
    /// A token that is a part of a character reads U+FFFD.
    pub text: String,
}

/// The rollouts after one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub token: ForcedToken,
    /// Natural log of the token's probability at the fork, by the model as the request named it. Empty if no model was
    /// asked.
    pub logprob: BTreeMap<String, f32>,
    /// How often the token was drawn; `None` for one that was not chosen by drawing.
    pub drawn: Option<usize>,
    pub samples: usize,
    pub correct: usize,
    /// Samples without a final answer; they are not correct.
    pub unparsed: usize,
    /// Samples whose grading took too long; they do not count as correct.
    pub timeout: usize,
    /// `correct / samples`; `None` without samples.
    pub rate: Option<f64>,
    /// Wilson's interval for the rate at 95%.
    pub interval: [f64; 2],
    /// Equation (2) for every power of 2 up to `samples`, and for `samples`.
    pub pass_at_k: BTreeMap<usize, f64>,
}

/// Several groups' rollouts taken as one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub samples: usize,
    pub correct: usize,
    /// Equation (2) for every power of 2 up to `samples`, and for `samples`.
    pub pass_at_k: BTreeMap<usize, f64>,
}

/// One completion of the response after the fork.
///
/// The *full response* is the text that the kept tokens and the forced one spell together, with `text` behind it: it is
/// what is graded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Index into the alternatives; `None` for the response's own token.
    pub alternative: Option<usize>,
    /// Number within its group.
    pub index: usize,
    /// What follows the forced token, without the stop string that ended it.
    pub text: String,
    /// Every token drawn after the forced one.
    pub token_ids: Vec<u32>,
    /// Byte offset of `text` in the full response.
    pub start: usize,
    pub finish_reason: FinishReason,
    /// Its span lies in the full response.
    pub verdict: Verdict,
}

/// What the rollouts cost, summed over the engine's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutUsage {
    /// Tokens of prompt and response that were read.
    pub prefill_tokens: usize,
    /// Tokens of prompt and response that did not have to be read, for they were known from before.
    pub reused_tokens: usize,
    pub generated_tokens: usize,
}

impl Group {
    /// A group without samples.
    pub fn new(token: ForcedToken, drawn: Option<usize>) -> Self {
        Group {
            token,
            logprob: BTreeMap::new(),
            drawn,
            samples: 0,
            correct: 0,
            unparsed: 0,
            timeout: 0,
            rate: None,
            interval: wilson(0, 0),
            pass_at_k: BTreeMap::new(),
        }
    }

    /// Counts a sample. The rates follow with [`Group::settle`].
    pub fn count(&mut self, status: VerdictStatus) {
        self.samples += 1;
        match status {
            VerdictStatus::Correct => self.correct += 1,
            VerdictStatus::Unparsed => self.unparsed += 1,
            VerdictStatus::Timeout => self.timeout += 1,
            VerdictStatus::Wrong => {}
        }
    }

    /// Brings rate, interval and pass@k up to the counts.
    pub fn settle(&mut self) {
        self.rate = (self.samples > 0).then(|| self.correct as f64 / self.samples as f64);
        self.interval = wilson(self.correct, self.samples);
        self.pass_at_k = pass_curve(self.samples, self.correct);
    }
}

impl Pool {
    /// Pools groups.
    pub fn of<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Self {
        let (samples, correct) = groups
            .into_iter()
            .fold((0, 0), |(samples, correct), group| (samples + group.samples, correct + group.correct));
        Pool { samples, correct, pass_at_k: pass_curve(samples, correct) }
    }
}

impl RolloutSet {
    /// The group of an alternative, or of the response's own token; `None` when there is no such alternative.
    pub fn group_mut(&mut self, alternative: Option<usize>) -> Option<&mut Group> {
        match alternative {
            None => Some(&mut self.original),
            Some(index) => self.alternatives.get_mut(index),
        }
    }

    /// Gives a set that has only its head these rollouts, and counts them.
    pub fn take_up(&mut self, rollouts: Vec<Rollout>) {
        for group in std::iter::once(&mut self.original).chain(&mut self.alternatives) {
            let logprob = std::mem::take(&mut group.logprob);
            *group = Group { logprob, ..Group::new(group.token.clone(), group.drawn) };
        }
        self.rollouts = Vec::with_capacity(rollouts.len());
        for rollout in rollouts {
            if let Some(group) = self.group_mut(rollout.alternative) {
                group.count(rollout.verdict.status);
                self.rollouts.push(rollout);
            }
        }
        self.settle();
    }

    /// Brings all rates up to the counts, and the rollouts into order.
    pub fn settle(&mut self) {
        self.original.settle();
        self.alternatives.iter_mut().for_each(Group::settle);
        self.with_token = Pool::of([&self.original]);
        self.without_token = Pool::of(&self.alternatives);
        // `None` is less than any index.
        self.rollouts.sort_by_key(|rollout| (rollout.alternative, rollout.index));
    }
}

#[cfg(test)]
mod tests;
