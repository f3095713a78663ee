//! A finished search as it is stored, exported and answered.

use serde::{Deserialize, Serialize};

use super::plan::{Candidates, Fallback, PositionOutcome, Reason, SearchPlan, Strategy};
use super::{Contrast, ROUND, SearchRule, Tally};
use crate::domain::invariants::{Defect, is_id};
use crate::domain::model::ModelRef;
use crate::domain::rollout::{PlanError, RolloutSampling};
use crate::domain::sampling::MAX_DRAWN;

/// Most rollouts a position.
pub const MAX_SAMPLES: usize = 1024;
/// Most rollouts of a round, however short they are.
const MAX_ROUND: usize = 1024;

/// The search of one trajectory for its critical token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRecord {
    /// `search_` and a time-ordered identifier.
    pub id: String,
    pub object: SearchObject,
    /// Unix seconds.
    pub created: i64,
    /// The trace that it is stored with; `None` if it is not stored.
    pub trace_id: Option<String>,
    /// The model that the rollouts were drawn from.
    pub model: ModelRef,
    /// The reference answer.
    pub answer: String,
    pub settings: SearchSettings,
    /// The critical position.
    pub critical: Option<usize>,
    /// The critical position's token.
    pub token: Option<CriticalToken>,
    pub reason: Reason,
    /// How likely an exhaustive search gives the same answer, as the search itself sees it.
    pub confidence: f64,
    /// The positions that were looked at, ascending.
    pub positions: Vec<PositionOutcome>,
    /// How the contrastive scores' candidates compare; `None` without scores.
    pub contrast: Option<Contrast>,
    pub usage: SearchUsage,
}

/// The constant `"search"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchObject {
    #[default]
    Search,
}

/// What was asked for, every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSettings {
    pub samples: usize,
    pub tail: f64,
    pub strategy: Strategy,
    pub candidates: Candidates,
    pub fallback: Fallback,
    pub confidence: f64,
    pub budget: f64,
    pub sampling: RolloutSampling,
}

/// The token at the critical position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriticalToken {
    pub id: u32,
    pub text: String,
}

/// What a search cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchUsage {
    pub prefill_tokens: usize,
    pub reused_tokens: usize,
    pub generated_tokens: usize,
    /// Rollouts drawn.
    pub samples: usize,
    /// Generations asked of the engine, one after the other.
    pub rounds: usize,
    /// Tokens that the exhaustive search over every position generates: estimated from the mean lengths of the samples
    /// drawn, unless all of them were drawn.
    pub exhaustive_tokens: usize,
    /// `generated_tokens / exhaustive_tokens`.
    pub share: f64,
    /// Milliseconds that rounds waited for the device, and that they were on it.
    pub queue_ms: f64,
    pub compute_ms: f64,
}

/// Whether a text has the form of a search's id.
pub fn is_search_id(id: &str) -> bool {
    is_id("search_", id)
}

impl SearchRecord {
    /// Checks what a reader relies on: ids have their form, positions ascend within a response of `response` tokens,
    /// rates and sums agree with the counts that they follow from, and what is reported as found was drawn in full. That
    /// no other answer is likelier, only the search itself knows. The fields of a defect are relative to the search.
    pub fn check(&self, response: usize) -> Result<(), Defect> {
        if !is_search_id(&self.id) {
            return defect("id", "must be `search_` and 26 characters of Crockford's base 32");
        }
        self.settings.check().or_else(|PlanError { field, message }| defect(format!("settings.{field}"), message))?;
        if !(0.0..=1.0).contains(&self.confidence) {
            return defect("confidence", "must lie between 0 and 1");
        }
        let rule = SearchRule { samples: self.settings.samples, tail: self.settings.tail };
        let mut next = 0;
        for (index, outcome) in self.positions.iter().enumerate() {
            let field = |name: &str| format!("positions[{index}].{name}");
            let PositionOutcome { position, samples, correct, .. } = *outcome;
            if position < next || position >= response {
                return defect(field("position"), "must ascend, within the response");
            }
            next = position + 1;
            if samples == 0 || samples > rule.samples || correct > samples {
                return defect(field("samples"), "must be 1 to the search's samples, and no fewer than the right ones");
            }
            let made = PositionOutcome::of(position, &rule, Tally { samples, correct });
            let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
            let [low, high] = outcome.interval;
            if !(near(outcome.rate, made.rate) && near(low, made.interval[0]) && near(high, made.interval[1])) {
                return defect(field("rate"), "must follow from the samples, like the interval");
            }
        }
        if self.critical.is_some() != self.token.is_some() || self.critical.is_some_and(|at| at >= response) {
            return defect("critical", "must be a position of the response, with its token");
        }
        self.check_critical(&rule)?;
        self.check_contrast(response)?;
        self.check_usage()
    }

    /// What was found has all of its samples, none of them right; after what satisfies the rule nothing is above the tail.
    fn check_critical(&self, rule: &SearchRule) -> Result<(), Defect> {
        let zero = |outcome: &PositionOutcome| outcome.samples == rule.samples && outcome.correct == 0;
        let complete = self
            .critical
            .is_some_and(|at| self.positions.iter().any(|outcome| outcome.position == at && zero(outcome)));
        let recovers = self
            .positions
            .iter()
            .any(|outcome| self.critical.is_some_and(|at| outcome.position > at) && outcome.correct > rule.allowed());
        match self.reason {
            Reason::Found | Reason::LastZero if !complete => {
                defect("critical", "must be a position with all of its samples, and none of them right")
            }
            Reason::Found if recovers => defect("critical", "must have no position above the tail after it"),
            Reason::NoCritical if self.critical.is_some() => defect("critical", "must be absent where none was found"),
            Reason::Found | Reason::LastZero | Reason::NoCritical | Reason::BudgetSpent | Reason::Stopped => Ok(()),
        }
    }

    fn check_usage(&self) -> Result<(), Defect> {
        let SearchUsage { samples, share, queue_ms, compute_ms, .. } = self.usage;
        if samples != self.positions.iter().map(|outcome| outcome.samples).sum::<usize>() {
            return defect("usage.samples", "must be the sum of the positions' samples");
        }
        if !(0.0..=1.0).contains(&share) {
            return defect("usage.share", "must lie between 0 and 1");
        }
        match [queue_ms, compute_ms].iter().all(|number| number.is_finite() && *number >= 0.0) {
            true => Ok(()),
            false => defect("usage", "must be finite, and not below 0"),
        }
    }

    fn check_contrast(&self, response: usize) -> Result<(), Defect> {
        let Some(Contrast { candidates, rank: _, in_lowest: _, precision }) = &self.contrast else { return Ok(()) };
        if !candidates.is_sorted_by(|a, b| a < b) || candidates.last().is_some_and(|last| *last >= response) {
            return defect("contrast.candidates", "must ascend, within the response");
        }
        match precision {
            Some(precision) if !(0.0..=1.0).contains(precision) => {
                defect("contrast.precision", "must lie between 0 and 1")
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl SearchSettings {
    /// The rule and its terms.
    pub fn plan(&self) -> SearchPlan {
        SearchPlan {
            rule: SearchRule { samples: self.samples, tail: self.tail },
            strategy: self.strategy,
            fallback: self.fallback,
            confidence: self.confidence,
            budget: self.budget,
            round: MAX_ROUND.min(MAX_DRAWN / self.sampling.max_tokens.max(1)),
        }
    }

    /// Refuses values that are out of range.
    pub fn check(&self) -> Result<(), PlanError> {
        let refuse = |field: &str, message: String| Err(PlanError { field: field.to_owned(), message });
        if !(1..=MAX_SAMPLES).contains(&self.samples) {
            return refuse("samples", format!("must be 1 to {MAX_SAMPLES}, not {}", self.samples));
        }
        if !(0.0..1.0).contains(&self.tail) {
            return refuse("tail", "must be at least 0 and below 1".to_owned());
        }
        if !(0.5..1.0).contains(&self.confidence) {
            return refuse("confidence", "must be at least 0.5 and below 1".to_owned());
        }
        if !(self.budget > 0.0 && self.budget <= 1.0) {
            return refuse("budget", "must be above 0 and at most 1".to_owned());
        }
        if self.candidates == Candidates::LowestScores(0) {
            return refuse("candidates.lowest_scores", "must be at least 1".to_owned());
        }
        // A round draws all samples of a position at once, or a few of several.
        self.sampling.check_request(self.samples.max(ROUND))
    }
}

fn defect<T>(field: impl Into<String>, message: impl Into<String>) -> Result<T, Defect> {
    Err(Defect { field: field.into(), message: message.into() })
}
