//! Settings of what draws or scores: `sample`, `evaluate`, `contrast` and `select`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::merge::{joined, read};
use crate::analysis::MAX_BETA;
use crate::domain::sampling::{Sampling, check_stops};
use crate::domain::selection::DEFAULT_COVERAGE;
use crate::jobs::error::ConfigError;
use crate::jobs::prompts::{PromptFormat, is_template};

/// Most samples of one problem.
pub(super) const MAX_SAMPLES: usize = 4096;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a model's id, or {\"job\", \"artifact\"}")]
pub(in crate::jobs) enum ModelSource {
    /// The id of a loaded model or adapter, or a role's name.
    Loaded(String),
    /// An adapter that a job made.
    Artifact(ArtifactRef),
}

/// A folder among a job's artifacts that holds an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRef {
    pub job: String,
    pub artifact: String,
}

/// How problems are put and answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::jobs) struct DrawConfig {
    pub(in crate::jobs) model: ModelSource,
    pub(in crate::jobs) prompt_format: PromptFormat,
    /// Of the plain form.
    pub(in crate::jobs) prompt_template: String,
    /// Responses a problem.
    pub(in crate::jobs) n: usize,
    pub(in crate::jobs) temperature: f64,
    pub(in crate::jobs) top_p: f64,
    pub(in crate::jobs) top_k: usize,
    pub(in crate::jobs) min_p: f64,
    pub(in crate::jobs) max_tokens: usize,
    pub(in crate::jobs) stop: Vec<String>,
    pub(in crate::jobs) seed: u64,
}

/// Settings of `select`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::jobs) struct SelectConfig {
    /// The share of wrong responses that the negative set's answers cover.
    pub(in crate::jobs) coverage: f64,
}

/// Settings of `contrast`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::jobs) struct ContrastConfig {
    pub(in crate::jobs) positive: ModelSource,
    pub(in crate::jobs) negative: ModelSource,
    /// `beta` of equation (3).
    pub(in crate::jobs) beta: f64,
}

/// The temperature is the published one for an 8B model on GSM8K; it is to give about 10 wrong answers of 64.
pub(super) fn sample_defaults() -> Value {
    json!({
        "model": "base", "prompt_format": "gsm8k", "prompt_template": "{question}\n", "n": 64, "temperature": 0.5,
        "top_p": 0.95, "top_k": 0, "min_p": 0.0, "max_tokens": 1024, "stop": null, "seed": null
    })
}

/// One greedy response a problem; what only draws use is left out.
pub(super) fn evaluate_defaults() -> Value {
    json!({
        "model": "base", "prompt_format": "gsm8k", "prompt_template": "{question}\n", "max_tokens": 1024, "stop": null,
        "seed": null
    })
}

pub(super) fn select_defaults() -> Value {
    json!({"coverage": DEFAULT_COVERAGE, "seed": null})
}

pub(super) fn contrast_defaults() -> Value {
    json!({"positive": "positive", "negative": "negative", "beta": 1.0, "seed": null})
}

impl DrawConfig {
    /// Reads the settings of `sample`; fills in the stops of the prompt's form.
    pub(super) fn sample(merged: &mut Value, path: &str) -> Result<Self, ConfigError> {
        if merged["stop"].is_null() {
            let format: PromptFormat = read(&merged["prompt_format"], &format!("{path}.prompt_format"))?;
            merged["stop"] = json!(format.stop());
        }
        let config: Self = read(&joined([json!({"model": "base"}), merged.clone()]), path)?;
        config.check(path)?;
        Ok(config)
    }

    /// Reads the settings of `evaluate`: greedy, and one response each.
    pub(super) fn evaluate(merged: &mut Value, path: &str) -> Result<Self, ConfigError> {
        let greedy = json!({"n": 1, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0});
        let mut whole = joined([merged.clone(), greedy]);
        let config = Self::sample(&mut whole, path)?;
        merged["stop"] = whole["stop"].take();
        Ok(config)
    }

    fn check(&self, path: &str) -> Result<(), ConfigError> {
        let invalid = |field: &str, message: String| Err(ConfigError::invalid(format!("{path}.{field}"), message));
        if !(1..=MAX_SAMPLES).contains(&self.n) {
            return invalid("n", format!("must be between 1 and {MAX_SAMPLES}, not {}", self.n));
        }
        if self.max_tokens == 0 {
            return invalid("max_tokens", "must be at least 1".to_owned());
        }
        if let Err(error) = self.sampling(0).check() {
            return invalid(error.field, error.message.to_owned());
        }
        if let Err(error) = check_stops(&self.stop) {
            let field = error.index.map_or("stop".to_owned(), |index| format!("stop[{index}]"));
            return invalid(&field, error.message);
        }
        if self.prompt_format == PromptFormat::Plain && !is_template(&self.prompt_template) {
            return invalid("prompt_template", "must contain `{question}`".to_owned());
        }
        Ok(())
    }

    /// How the responses to a problem are drawn: no two problems share their random numbers.
    pub(in crate::jobs) fn sampling(&self, problem: u64) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            seed: mixed(self.seed, problem),
        }
    }

    pub(in crate::jobs) fn whole_prompt(&self, question: &str) -> String {
        self.prompt_format.whole(question, &self.prompt_template)
    }

    pub(in crate::jobs) fn bare_prompt(&self, question: &str) -> String {
        self.prompt_format.bare(question, &self.prompt_template)
    }
}

impl SelectConfig {
    pub(super) fn read(merged: &Value, path: &str) -> Result<Self, ConfigError> {
        let config: Self = read(merged, path)?;
        match config.coverage > 0.0 && config.coverage <= 1.0 {
            true => Ok(config),
            false => Err(ConfigError::invalid(format!("{path}.coverage"), "must be above 0 and at most 1")),
        }
    }
}

impl ContrastConfig {
    pub(super) fn read(merged: &Value, path: &str) -> Result<Self, ConfigError> {
        let roles = json!({"positive": "positive", "negative": "negative"});
        let config: Self = read(&joined([roles, merged.clone()]), path)?;
        match (0.0..=MAX_BETA).contains(&config.beta) {
            true => Ok(config),
            false => {
                let message = format!("must be a number from 0 to {MAX_BETA}");
                Err(ConfigError::invalid(format!("{path}.beta"), message))
            }
        }
    }
}

/// A seed for a problem of a run (the finaliser of SplitMix64).
fn mixed(seed: u64, problem: u64) -> u64 {
    let mut bits = seed ^ problem.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
