//! What rollouts are to be drawn: the tokens to force, how many samples of each, and how.

use serde::{Deserialize, Serialize};

use crate::domain::sampling::{MAX_DRAWN, Sampling, SamplingError, StopError, check_stops};

/// Most rollouts of one request, over all tokens.
pub const MAX_ROLLOUTS: usize = 4096;
/// Most tokens that a caller names as alternatives.
pub const MAX_GIVEN: usize = 256;
/// Most alternatives by likelihood.
pub const MAX_LIKELIEST: usize = 100;

/// The rollouts to draw at one position of a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPlan {
    /// 0 is the response's first token.
    pub position: usize,
    /// The model that draws: its id, or the name of a role.
    pub model: String,
    pub alternatives: AlternativesPlan,
    /// Rollouts of each alternative; of a drawn one, of each time it was drawn.
    pub samples: usize,
    /// Rollouts of the response's own token; 0 leaves it out.
    pub original_samples: usize,
    pub sampling: RolloutSampling,
}

/// Which tokens stand in for the response's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlternativesPlan {
    /// Drawn from the model's distribution with the response's own token left out; at temperature 1 the published rule.
    Sampled { count: usize, temperature: f64 },
    /// The `k` tokens that a model finds likeliest; `None` asks the model that draws.
    Top { model: Option<String>, k: usize },
    /// The caller's.
    Given(GivenTokens),
}

/// How a caller names tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenTokens {
    Ids(Vec<u32>),
    /// Each the text of exactly one token.
    Texts(Vec<String>),
}

/// Where alternatives come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlternativesSource {
    Sampled,
    Top,
    Given,
}

/// How rollouts are drawn, and where they end. The defaults are the published settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSampling {
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: usize,
    pub min_p: f64,
    /// Most tokens after the forced one.
    pub max_tokens: usize,
    /// Texts that end a rollout.
    pub stop: Vec<String>,
    pub seed: u64,
}

impl Default for RolloutSampling {
    fn default() -> Self {
        RolloutSampling {
            temperature: 0.5,
            top_p: 0.95,
            top_k: 0,
            min_p: 0.0,
            max_tokens: 1024,
            stop: vec!["\n\nQuestion:".to_owned()],
            seed: 0,
        }
    }
}

/// A field of a plan that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct PlanError {
    /// Such as `sampling.top_p`.
    pub field: String,
    pub message: String,
}

fn refuse<T>(field: impl Into<String>, message: impl Into<String>) -> Result<T, PlanError> {
    Err(PlanError { field: field.into(), message: message.into() })
}

impl RolloutSampling {
    /// The part that decides each draw.
    pub fn draws(&self) -> Sampling {
        let RolloutSampling { temperature, top_p, top_k, min_p, max_tokens: _, stop: _, seed } = *self;
        Sampling { temperature, top_p, top_k, min_p, seed }
    }

    /// Refuses values that are out of range. Fields are named without the `sampling.` before them.
    pub fn check(&self) -> Result<(), PlanError> {
        if let Err(SamplingError { field, message }) = self.draws().check() {
            return refuse(field, message);
        }
        if self.max_tokens == 0 {
            return refuse("max_tokens", "must be at least 1");
        }
        check_stops(&self.stop).or_else(|StopError { index, message }| {
            refuse(index.map_or("stop".to_owned(), |index| format!("stop[{index}]")), message)
        })
    }

    /// Checks what a request that draws `samples` at once asks for, its bound on tokens included. Fields are named with
    /// the `sampling.` before them.
    pub fn check_request(&self, samples: usize) -> Result<(), PlanError> {
        self.check().or_else(|PlanError { field, message }| refuse(format!("sampling.{field}"), message))?;
        let most = MAX_DRAWN / samples.max(1);
        if self.max_tokens > most {
            let message = format!(
                "is {}, and {samples} samples may have at most {most} tokens each: {MAX_DRAWN} in all",
                self.max_tokens
            );
            return refuse("sampling.max_tokens", message);
        }
        Ok(())
    }
}

impl AlternativesPlan {
    pub fn source(&self) -> AlternativesSource {
        match self {
            AlternativesPlan::Sampled { .. } => AlternativesSource::Sampled,
            AlternativesPlan::Top { .. } => AlternativesSource::Top,
            AlternativesPlan::Given(_) => AlternativesSource::Given,
        }
    }

    /// How many alternatives there will be, a token counted as often as it is drawn.
    fn count(&self) -> usize {
        match self {
            AlternativesPlan::Sampled { count, .. } => *count,
            AlternativesPlan::Top { k, .. } => *k,
            AlternativesPlan::Given(GivenTokens::Ids(ids)) => ids.len(),
            AlternativesPlan::Given(GivenTokens::Texts(texts)) => texts.len(),
        }
    }

    /// The field that says how many there are, and the most there may be.
    fn bound(&self) -> (&'static str, usize) {
        match self {
            AlternativesPlan::Sampled { .. } => ("alternatives.count", MAX_ROLLOUTS),
            AlternativesPlan::Top { .. } => ("alternatives.k", MAX_LIKELIEST),
            AlternativesPlan::Given(GivenTokens::Ids(_)) => ("alternatives.token_ids", MAX_GIVEN),
            AlternativesPlan::Given(GivenTokens::Texts(_)) => ("alternatives.texts", MAX_GIVEN),
        }
    }
}

impl RolloutPlan {
    /// Refuses values that are out of range, wherever that shows without a model.
    pub fn check(&self) -> Result<(), PlanError> {
        let count = self.alternatives.count();
        let (field, most) = self.alternatives.bound();
        if !(1..=most).contains(&count) {
            return refuse(field, format!("must ask for 1 to {most} alternatives, not {count}"));
        }
        if let AlternativesPlan::Sampled { temperature, .. } = self.alternatives
            && (Sampling { temperature, ..Sampling::default() }).check().is_err()
        {
            return refuse("alternatives.temperature", "must be between 0 and 100");
        }
        if !(1..=MAX_ROLLOUTS).contains(&self.samples) {
            return refuse("samples", format!("must be 1 to {MAX_ROLLOUTS}, not {}", self.samples));
        }
        if self.original_samples > MAX_ROLLOUTS {
            return refuse(
                "original_samples",
                format!("must be at most {MAX_ROLLOUTS}, not {}", self.original_samples),
            );
        }
        let total = count * self.samples + self.original_samples;
        if total > MAX_ROLLOUTS {
            let message = format!("{total} rollouts are asked for in all, and at most {MAX_ROLLOUTS} are drawn");
            // The field to change is the one that asks for most.
            let largest = if self.original_samples > count * self.samples {
                "original_samples"
            } else if count > self.samples {
                field
            } else {
                "samples"
            };
            return refuse(largest, message);
        }
        self.sampling.check_request(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RolloutPlan {
        RolloutPlan {
            position: 0,
            model: "base".to_owned(),
            alternatives: AlternativesPlan::Sampled { count: 64, temperature: 1.0 },
            samples: 1,
            original_samples: 64,
            sampling: RolloutSampling::default(),
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(plan().check(), Ok(()));
        let sampling = |change: fn(&mut RolloutSampling)| {
            let mut plan = plan();
            change(&mut plan.sampling);
            plan
        };
        let alternatives = |alternatives| RolloutPlan { alternatives, ..plan() };
        let sampled = |count, temperature| alternatives(AlternativesPlan::Sampled { count, temperature });
        for (field, plan) in [
            ("alternatives.count", sampled(0, 1.0)),
            ("alternatives.count", sampled(MAX_ROLLOUTS + 1, 1.0)),
            ("alternatives.temperature", sampled(1, f64::NAN)),
            ("alternatives.k", alternatives(AlternativesPlan::Top { model: None, k: 101 })),
            ("alternatives.token_ids", alternatives(AlternativesPlan::Given(GivenTokens::Ids(vec![])))),
            ("alternatives.texts", alternatives(AlternativesPlan::Given(GivenTokens::Texts(vec![String::new(); 257])))),
            ("samples", RolloutPlan { samples: 0, ..plan() }),
            ("samples", RolloutPlan { samples: usize::MAX, ..plan() }),
            ("samples", RolloutPlan { samples: 64, ..plan() }),
            ("samples", RolloutPlan { samples: 64, original_samples: 4096, ..plan() }),
            ("alternatives.count", RolloutPlan { samples: 2, ..sampled(2048, 1.0) }),
            (
                "alternatives.k",
                RolloutPlan { samples: 50, ..alternatives(AlternativesPlan::Top { model: None, k: 100 }) },
            ),
            ("original_samples", RolloutPlan { original_samples: 4096, ..plan() }),
            ("original_samples", RolloutPlan { original_samples: usize::MAX, ..plan() }),
            ("sampling.temperature", sampling(|s| s.temperature = -1.0)),
            ("sampling.top_p", sampling(|s| s.top_p = 0.0)),
            ("sampling.min_p", sampling(|s| s.min_p = 2.0)),
            ("sampling.max_tokens", sampling(|s| s.max_tokens = 0)),
            ("sampling.max_tokens", sampling(|s| s.max_tokens = 32_769)),
            ("sampling.max_tokens", sampling(|s| s.max_tokens = usize::MAX)),
            ("sampling.stop", sampling(|s| s.stop = vec!["x".to_owned(); 17])),
            ("sampling.stop[1]", sampling(|s| s.stop.push(String::new()))),
        ] {
            assert_eq!(plan.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn all_rollouts_at_the_default_length_are_legal() {
        let plan = RolloutPlan { samples: 64, original_samples: 0, ..plan() };
        assert_eq!((plan.check(), plan.sampling.max_tokens), (Ok(()), 1024));
    }
}
