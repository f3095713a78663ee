//! What each field of a configuration is, in words and bounds: the API's own description is made of this.

use serde_json::Value;

use super::defaults;
use super::draw::MAX_SAMPLES;
use crate::analysis::MAX_BETA;
use crate::domain::job::JobKind;
use crate::domain::sampling::MAX_TEMPERATURE;
use crate::train::{MAX_COUNT, MAX_EPOCHS, MAX_RANK};

/// A field of a configuration, with its default.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigField {
    pub name: String,
    pub about: &'static str,
    pub values: FieldValues,
    /// Null where the field is left out, or has to be given.
    pub default: Value,
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValues {
    /// The name of a data set.
    Dataset {
        required: bool,
    },
    Choice(&'static [&'static str]),
    Text,
    /// Null for the prompt's own.
    Texts {
        nullable: bool,
    },
    /// A whole number within the bounds.
    Count {
        min: u64,
        max: Option<u64>,
        nullable: bool,
    },
    /// A number within the bounds.
    Number {
        above: Bound,
        below: Option<Bound>,
    },
    Flag,
    /// A loaded model's id, a role's name, or an adapter that a job made.
    Model,
    /// An adapter that a job made, or null.
    Artifact,
    /// An object with fields of its own.
    Object {
        fields: Vec<ConfigField>,
        nullable: bool,
    },
}

/// An end of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// The number is in the range.
    With(f64),
    /// The number is not.
    Without(f64),
}

const COUNT: FieldValues = FieldValues::Count { min: 1, max: None, nullable: false };
/// Steps and sizes of batches.
const STEPS: FieldValues = FieldValues::Count { min: 1, max: Some(MAX_COUNT as u64), nullable: false };
const FRACTION: FieldValues = FieldValues::Number { above: Bound::With(0.0), below: Some(Bound::With(1.0)) };
const SHARE: FieldValues = FieldValues::Number { above: Bound::Without(0.0), below: Some(Bound::With(1.0)) };
const BELOW_ONE: FieldValues = FieldValues::Number { above: Bound::With(0.0), below: Some(Bound::Without(1.0)) };
const NOT_NEGATIVE: FieldValues = FieldValues::Number { above: Bound::With(0.0), below: None };
const POSITIVE: FieldValues = FieldValues::Number { above: Bound::Without(0.0), below: None };

/// The fields that a configuration of this kind may have.
pub fn config_fields(kind: JobKind) -> Vec<ConfigField> {
    fields(defaults(kind), kind.name(), kind)
}

/// The fields of an object: of the whole configuration of a `stage`, of a pipeline's stage, or of an adapter's.
fn fields(defaults: Value, stage: &str, kind: JobKind) -> Vec<ConfigField> {
    let Value::Object(defaults) = defaults else { return Vec::new() };
    defaults
        .into_iter()
        .filter_map(|(name, default)| {
            let (about, values) = described(&name, &default, stage, kind)?;
            Some(ConfigField { name, about, values, default })
        })
        .collect()
}

/// `None` for a field that nothing is said of, which the tests do not let happen.
fn described(name: &str, default: &Value, stage: &str, kind: JobKind) -> Option<(&'static str, FieldValues)> {
    let object = |nullable| FieldValues::Object { fields: fields(default.clone(), name, kind), nullable };
    Some(match name {
        "dataset" => ("The data set that the job reads", FieldValues::Dataset { required: true }),
        "eval_dataset" => {
            ("Problems to measure greedy accuracy on, before and after", FieldValues::Dataset { required: false })
        }
        // A pipeline's stages take the pipeline's unless they have their own.
        "seed" => {
            ("Of everything that is drawn", FieldValues::Count { min: 0, max: None, nullable: default.is_null() })
        }
        "sample" => ("Responses to every problem", object(false)),
        "select" => ("Training sets from the graded responses", object(false)),
        "sft" => ("The positive and the negative model", object(false)),
        "contrast" => ("Scores of the rejected responses", object(false)),
        "preference" => ("The trained adapter", object(false)),
        "evaluate" => ("Greedy accuracy", object(false)),

        "model" => ("Which model answers", FieldValues::Model),
        "positive" => ("The positive model", FieldValues::Model),
        "negative" => ("The negative model", FieldValues::Model),
        "prompt_format" => (
            "How a problem is put: `gsm8k` with eight worked examples before it, `math` with four, `plain` by the template",
            FieldValues::Choice(&["gsm8k", "math", "plain"]),
        ),
        "prompt_template" => {
            ("The prompt's form, for `plain`; has `{question}` in the problem's place", FieldValues::Text)
        }
        "n" => {
            ("Responses to each problem", FieldValues::Count { min: 1, max: Some(MAX_SAMPLES as u64), nullable: false })
        }
        "temperature" => (
            "Of the draws; 0 is greedy",
            FieldValues::Number { above: Bound::With(0.0), below: Some(Bound::With(MAX_TEMPERATURE)) },
        ),
        "top_p" => ("Draw from the likeliest tokens of this much probability together", SHARE),
        "top_k" => (
            "Draw from so many of the likeliest tokens; 0 for all",
            FieldValues::Count { min: 0, max: None, nullable: false },
        ),
        "min_p" => ("Draw no token below this share of the likeliest one's probability", FRACTION),
        "max_tokens" => ("Longest response", COUNT),
        "stop" => {
            ("Texts that end a response; null for those of the prompt's form", FieldValues::Texts { nullable: true })
        }
        "coverage" => ("Share of a problem's wrong responses that the answers of the negative set cover", SHARE),

        "responses" => ("Which responses are learned from", FieldValues::Choice(&["all", "correct", "wrong"])),
        "max_length" => ("Longer rows are dropped, and listed; in tokens, prompt and response", COUNT),
        "max_prompt_length" => ("Rows with longer prompts are dropped, and listed; in tokens", COUNT),
        "adapter" => ("An adapter to go on from", FieldValues::Artifact),
        "loss" => (
            "cDPO weights the rejected response's tokens by the contrastive score; `dpo`, `rpo` and `tdpo` weight none; \
             `token_weighted` takes the data set's weights on both sides",
            FieldValues::Choice(&["cdpo", "dpo", "rpo", "tdpo", "token_weighted"]),
        ),
        "reduction" => (
            "Whether the log-sigmoid is taken over whole responses, or position by position",
            FieldValues::Choice(&["sequence", "position"]),
        ),
        // The paper has the same letter for both.
        "beta" if stage == "contrast" => (
            "Weight of the negative model in the score, of equation (3)",
            FieldValues::Number { above: Bound::With(0.0), below: Some(Bound::With(MAX_BETA)) },
        ),
        "beta" => ("How dear it is to go away from the reference, of equation (6)", POSITIVE),
        "rpo_alpha" => ("Factor of RPO's likelihood of the chosen response", NOT_NEGATIVE),
        "tdpo_alpha" => ("Factor of TDPO's divergences", NOT_NEGATIVE),
        "label_smoothing" => (
            "Chance that a pair is labelled the wrong way round",
            FieldValues::Number { above: Bound::With(0.0), below: Some(Bound::Without(0.5)) },
        ),
        // The stages after it use the adapter.
        "lora" if kind == JobKind::Pipeline => ("The adapter that is trained", object(false)),
        "lora" => ("The adapter that is trained; null trains every weight", object(true)),
        "r" => ("Rank", FieldValues::Count { min: 1, max: Some(MAX_RANK as u64), nullable: false }),
        "lora_alpha" => ("The adapter counts by this over its rank", POSITIVE),
        "lora_dropout" => ("Chance that an input of the adapter is left out", BELOW_ONE),
        "target_modules" => {
            ("Which linear layers have one; `all-linear` for all of a block", FieldValues::Texts { nullable: false })
        }
        "learning_rate" => ("At its highest", POSITIVE),
        "num_train_epochs" => (
            "How often the data set is read",
            FieldValues::Number { above: Bound::Without(0.0), below: Some(Bound::With(MAX_EPOCHS)) },
        ),
        "max_steps" => (
            "Ends the run after so many optimizer steps",
            FieldValues::Count { min: 1, max: Some(MAX_COUNT as u64), nullable: true },
        ),
        "per_device_train_batch_size" => ("Rows of a batch", STEPS),
        "gradient_accumulation_steps" => ("Batches of an optimizer step", STEPS),
        "warmup_steps" => (
            "Steps in which the learning rate rises; goes before `warmup_ratio`",
            FieldValues::Count { min: 0, max: None, nullable: true },
        ),
        "warmup_ratio" => ("Share of the steps in which the learning rate rises", BELOW_ONE),
        "lr_scheduler_type" => (
            "How the learning rate falls after that",
            FieldValues::Choice(&["linear", "cosine", "constant", "constant_with_warmup"]),
        ),
        "weight_decay" => ("AdamW's, decoupled", NOT_NEGATIVE),
        "max_grad_norm" => ("Gradients of a larger norm are scaled down to it; 0 leaves them", NOT_NEGATIVE),
        "adam_beta1" => ("Decay of AdamW's mean of the gradients", BELOW_ONE),
        "adam_beta2" => ("Decay of AdamW's mean of their squares", BELOW_ONE),
        "adam_epsilon" => ("AdamW's", POSITIVE),
        "logging_steps" => ("Steps between two metrics", STEPS),
        "save_steps" => ("Steps between two checkpoints", STEPS),
        "gradient_checkpointing" => {
            ("Keep less in memory and compute it again, at about a third more time", FieldValues::Flag)
        }
        "group_by_length" => ("Put rows of like length into one batch", FieldValues::Flag),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::JobConfig;
    use super::*;

    /// Every field of a configuration, by its path.
    fn flat(fields: &[ConfigField], path: &str) -> Vec<(String, ConfigField)> {
        let mut all = Vec::new();
        for field in fields {
            let path = format!("{path}/{}", field.name);
            if let FieldValues::Object { fields, .. } = &field.values {
                all.extend(flat(fields, &path));
            }
            all.push((path, field.clone()));
        }
        all
    }

    fn leaves(value: &Value, path: &str) -> Vec<String> {
        let Value::Object(fields) = value else { return vec![path.to_owned()] };
        let inner = fields.iter().flat_map(|(name, value)| leaves(value, &format!("{path}/{name}")));
        inner.collect()
    }

    /// A configuration with this value at this path.
    fn with(path: &str, value: Value) -> Value {
        let nested = path.split('/').skip(1).collect::<Vec<_>>();
        let inner = nested.iter().rev().fold(value, |value, name| json!({(*name): value}));
        let mut config = json!({"dataset": "d"});
        config.as_object_mut().unwrap().extend(inner.as_object().unwrap().clone());
        config
    }

    #[test]
    fn every_field_is_described() {
        for kind in JobKind::ALL {
            let described = flat(&config_fields(kind), "");
            for leaf in leaves(&defaults(kind), "") {
                assert!(described.iter().any(|(path, _)| *path == leaf), "{kind:?} {leaf}");
            }
        }
    }

    #[test]
    fn what_is_described_is_what_is_taken() {
        for kind in JobKind::ALL {
            for (path, field) in flat(&config_fields(kind), "") {
                let taken = |value: Value| JobConfig::parse(kind, with(&path, value));
                match field.values {
                    FieldValues::Choice(choices) => {
                        for choice in choices {
                            let config = taken(json!(choice));
                            // Not every loss has both reductions.
                            assert!(config.is_ok() || path.ends_with("reduction"), "{path} {choice} {config:?}");
                        }
                        assert!(taken(json!("no such")).is_err(), "{path}");
                    }
                    FieldValues::Count { min, max, nullable } => {
                        assert!(taken(json!(min)).is_ok(), "{path}");
                        assert!(min == 0 || taken(json!(min - 1)).is_err(), "{path}");
                        if let Some(max) = max {
                            assert!(taken(json!(max)).is_ok() && taken(json!(max + 1)).is_err(), "{path}");
                        }
                        assert_eq!(taken(Value::Null).is_ok(), nullable, "{path}");
                    }
                    FieldValues::Number { above, below } => {
                        for (bound, outwards) in below.into_iter().map(|bound| (bound, 0.01)).chain([(above, -0.01)]) {
                            let (end, within) = match bound {
                                Bound::With(end) => (end, true),
                                Bound::Without(end) => (end, false),
                            };
                            assert_eq!(taken(json!(end)).is_ok(), within, "{path} at {end}");
                            assert!(taken(json!(end + outwards)).is_err(), "{path} beyond {end}");
                        }
                    }
                    FieldValues::Flag => assert!(taken(json!(true)).is_ok() && taken(json!(1)).is_err(), "{path}"),
                    FieldValues::Model | FieldValues::Artifact => {
                        let artifact = json!({"job": "job_1", "artifact": "adapter"});
                        assert!(taken(artifact).is_ok(), "{path}");
                    }
                    FieldValues::Dataset { required: _ } | FieldValues::Text | FieldValues::Texts { nullable: _ } => {}
                    FieldValues::Object { fields: _, nullable } => {
                        assert_eq!(taken(Value::Null).is_ok(), nullable, "{path}");
                    }
                }
            }
        }
    }
}
