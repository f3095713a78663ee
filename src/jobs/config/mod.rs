//! Configurations of jobs: what a request leaves out is the published setting, and every value is checked before a job exists.

mod draw;
mod fields;
mod merge;
mod training;

use serde_json::{Value, json};

use self::merge::{joined, merge, read};
use super::error::{ConfigError, ConfigFault};
use crate::domain::job::JobKind;

pub use draw::ArtifactRef;
pub(in crate::jobs) use draw::{ContrastConfig, DrawConfig, ModelSource, SelectConfig};
pub use fields::{Bound, ConfigField, FieldValues, config_fields};
pub(in crate::jobs) use training::{PreferenceConfig, Responses, SftConfig};

/// The seed of a job that names none.
const DEFAULT_SEED: u64 = 42;

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::jobs) struct JobConfig {
    pub(in crate::jobs) dataset: String,
    /// Problems to measure accuracy on, for a pipeline.
    pub(in crate::jobs) eval_dataset: Option<String>,
    pub(in crate::jobs) seed: u64,
    pub(in crate::jobs) stages: StageConfigs,
    /// The whole of it with every default filled in.
    pub(in crate::jobs) json: Value,
}

/// What a kind of job is configured by.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::jobs) enum StageConfigs {
    Sample(DrawConfig),
    Select(SelectConfig),
    Sft(SftConfig),
    Contrast(ContrastConfig),
    Preference(PreferenceConfig),
    Evaluate(DrawConfig),
    Pipeline(Box<PipelineConfig>),
}

/// One configuration a stage.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::jobs) struct PipelineConfig {
    pub(in crate::jobs) sample: DrawConfig,
    pub(in crate::jobs) select: SelectConfig,
    /// Of the positive and the negative model alike.
    pub(in crate::jobs) sft: SftConfig,
    pub(in crate::jobs) contrast: ContrastConfig,
    pub(in crate::jobs) preference: PreferenceConfig,
    pub(in crate::jobs) evaluate: DrawConfig,
}

impl JobConfig {
    /// Fills in and checks a configuration. Names in errors begin with `config.`.
    pub(in crate::jobs) fn parse(kind: JobKind, given: Value) -> Result<Self, ConfigError> {
        let root = "config";
        let mut defaults = defaults(kind);
        // A ratio that is asked for is not to be overruled by a number of steps that is not.
        for stage in ["", "/sft"] {
            let asked = |field: &str| given.pointer(&format!("{stage}/{field}")).is_some_and(|value| !value.is_null());
            if asked("warmup_ratio")
                && !asked("warmup_steps")
                && let Some(steps) = defaults.pointer_mut(&format!("{stage}/warmup_steps"))
            {
                *steps = Value::Null;
            }
        }
        let mut json = merge(&defaults, given, root)?;
        let seed: u64 = read(&json["seed"], "config.seed")?;
        let stages = match kind {
            JobKind::Sample => StageConfigs::Sample(DrawConfig::sample(&mut json, root)?),
            JobKind::Select => StageConfigs::Select(SelectConfig::read(&json, root)?),
            JobKind::Sft => StageConfigs::Sft(SftConfig::read(&json, root)?),
            JobKind::Contrast => StageConfigs::Contrast(ContrastConfig::read(&json, root)?),
            JobKind::Preference => StageConfigs::Preference(PreferenceConfig::read(&json, root)?),
            JobKind::Evaluate => StageConfigs::Evaluate(DrawConfig::evaluate(&mut json, root)?),
            JobKind::Pipeline => StageConfigs::Pipeline(Box::new(PipelineConfig::read(&mut json, seed)?)),
        };
        let eval_dataset: Option<String> = read(&json["eval_dataset"], "config.eval_dataset")?;
        if json["dataset"].is_null() {
            let message = "missing field `dataset`".to_owned();
            return Err(ConfigError { fault: ConfigFault::Missing, param: "config.dataset".to_owned(), message });
        }
        Ok(Self { dataset: read(&json["dataset"], "config.dataset")?, eval_dataset, seed, stages, json })
    }
}

impl PipelineConfig {
    fn read(json: &mut Value, seed: u64) -> Result<Self, ConfigError> {
        for stage in ["sample", "select", "sft", "contrast", "preference", "evaluate"] {
            if json[stage]["seed"].is_null() {
                json[stage]["seed"] = json!(seed);
            }
        }
        for stage in ["sft", "preference"] {
            if json[stage]["lora"].is_null() {
                let message = "a pipeline's stages use each other's adapters: null is for jobs of their own";
                return Err(ConfigError::invalid(format!("config.{stage}.lora"), message));
            }
        }
        Ok(Self {
            sample: DrawConfig::sample(&mut json["sample"], "config.sample")?,
            select: SelectConfig::read(&json["select"], "config.select")?,
            sft: SftConfig::read(&json["sft"], "config.sft")?,
            contrast: ContrastConfig::read(&json["contrast"], "config.contrast")?,
            preference: PreferenceConfig::read(&json["preference"], "config.preference")?,
            evaluate: DrawConfig::evaluate(&mut json["evaluate"], "config.evaluate")?,
        })
    }
}

/// Every field that a configuration may have, with its default.
fn defaults(kind: JobKind) -> Value {
    let own = match kind {
        JobKind::Sample => draw::sample_defaults(),
        JobKind::Select => draw::select_defaults(),
        JobKind::Sft => training::sft_defaults(),
        JobKind::Contrast => draw::contrast_defaults(),
        JobKind::Preference => training::preference_defaults(),
        JobKind::Evaluate => draw::evaluate_defaults(),
        JobKind::Pipeline => json!({
            "eval_dataset": null, "sample": within_pipeline(draw::sample_defaults()), "select": draw::select_defaults(),
            "sft": within_pipeline(training::sft_defaults()), "contrast": within_pipeline(draw::contrast_defaults()),
            "preference": within_pipeline(training::preference_defaults()), "evaluate": within_pipeline(draw::evaluate_defaults())
        }),
    };
    joined([json!({"dataset": null}), own, json!({"seed": DEFAULT_SEED})])
}

/// A pipeline's stages use the models that those before them made: its configuration cannot name others.
fn within_pipeline(mut defaults: Value) -> Value {
    if let Value::Object(fields) = &mut defaults {
        fields.retain(|field, _| !["model", "positive", "negative", "adapter"].contains(&field.as_str()));
    }
    defaults
}

#[cfg(test)]
mod tests;
