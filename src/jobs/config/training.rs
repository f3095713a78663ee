//! Settings of what trains: `sft` and `preference`, by TRL's and PEFT's names.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ArtifactRef;
use super::merge::{joined, read};
use crate::jobs::error::ConfigError;
use crate::train::{
    Arguments, LoraConfig, Method, Objective, Preference, PreferenceLoss, Reduction, TrainError, TrainingPlan,
};

/// Which responses of a data set of trajectories are learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::jobs) enum Responses {
    All,
    /// Those that reach the reference answer.
    Correct,
    /// Those that do not.
    Wrong,
}

/// Settings of `sft`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::jobs) struct SftConfig {
    pub(in crate::jobs) responses: Responses,
    /// Longer rows are dropped.
    pub(in crate::jobs) max_length: usize,
    pub(in crate::jobs) start_adapter: Option<ArtifactRef>,
    pub(in crate::jobs) plan: TrainingPlan,
}

/// Settings of `preference`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::jobs) struct PreferenceConfig {
    /// Rows with longer prompts are dropped.
    pub(in crate::jobs) max_prompt_length: usize,
    /// Rows of which a prompt with a response is longer are dropped.
    pub(in crate::jobs) max_length: usize,
    pub(in crate::jobs) start_adapter: Option<ArtifactRef>,
    pub(in crate::jobs) loss: PreferenceLoss,
    pub(in crate::jobs) plan: TrainingPlan,
}

#[derive(Deserialize)]
struct SftFields {
    responses: Responses,
    max_length: usize,
    adapter: Option<ArtifactRef>,
    lora: Option<LoraConfig>,
}

#[derive(Deserialize)]
struct PreferenceFields {
    loss: PreferenceLoss,
    reduction: Reduction,
    beta: f64,
    rpo_alpha: f64,
    tdpo_alpha: f64,
    label_smoothing: f64,
    max_prompt_length: usize,
    max_length: usize,
    adapter: Option<ArtifactRef>,
    lora: Option<LoraConfig>,
}

pub(super) fn sft_defaults() -> Value {
    let own = json!({"responses": "all", "max_length": 1024, "adapter": null, "lora": LoraConfig::published_sft()});
    joined([own, json!(Arguments::published_sft()), json!({"seed": null})])
}

pub(super) fn preference_defaults() -> Value {
    let Preference { loss, reduction, beta, rpo_alpha, tdpo_alpha, label_smoothing } =
        Preference::published(PreferenceLoss::Cdpo);
    let own = json!({
        "loss": loss, "reduction": reduction, "beta": beta, "rpo_alpha": rpo_alpha, "tdpo_alpha": tdpo_alpha,
        "label_smoothing": label_smoothing, "max_prompt_length": 512, "max_length": 1500, "adapter": null,
        "lora": LoraConfig::published_preference()
    });
    joined([own, json!(Arguments::published_preference()), json!({"seed": null})])
}

impl SftConfig {
    pub(super) fn read(merged: &Value, path: &str) -> Result<Self, ConfigError> {
        let SftFields { responses, max_length, adapter, lora } = read(merged, path)?;
        let plan = plan(Objective::Sft, lora, merged, path)?;
        at_least_one(&[("max_length", max_length)], path)?;
        Ok(Self { responses, max_length, start_adapter: adapter, plan })
    }
}

impl PreferenceConfig {
    pub(super) fn read(merged: &Value, path: &str) -> Result<Self, ConfigError> {
        let fields: PreferenceFields = read(merged, path)?;
        let PreferenceFields { loss, reduction, beta, rpo_alpha, tdpo_alpha, label_smoothing, .. } = fields;
        let preference = Preference { loss, reduction, beta, rpo_alpha, tdpo_alpha, label_smoothing };
        let PreferenceFields { max_prompt_length, max_length, adapter, lora, .. } = fields;
        let plan = plan(Objective::Preference(preference), lora, merged, path)?;
        at_least_one(&[("max_prompt_length", max_prompt_length), ("max_length", max_length)], path)?;
        Ok(Self { max_prompt_length, max_length, start_adapter: adapter, loss, plan })
    }
}

/// Puts a plan together and has the trainer check it.
fn plan(
    objective: Objective,
    lora: Option<LoraConfig>,
    merged: &Value,
    path: &str,
) -> Result<TrainingPlan, ConfigError> {
    let arguments: Arguments = read(merged, path)?;
    let plan = TrainingPlan { objective, method: lora.map_or(Method::Full, Method::Lora), arguments };
    match plan.check() {
        Ok(()) => Ok(plan),
        Err(TrainError::Invalid { param, message }) => Err(ConfigError::invalid(format!("{path}.{param}"), message)),
        Err(error) => Err(ConfigError::invalid(path, error.to_string())),
    }
}

fn at_least_one(fields: &[(&str, usize)], path: &str) -> Result<(), ConfigError> {
    match fields.iter().find(|(_, value)| *value == 0) {
        Some((field, _)) => Err(ConfigError::invalid(format!("{path}.{field}"), "must be at least 1")),
        None => Ok(()),
    }
}
