use serde_json::{Value, json};

use super::*;
use crate::train::{Method, PreferenceLoss, SchedulerType};

fn refused(kind: JobKind, config: Value) -> (ConfigFault, String) {
    let error = JobConfig::parse(kind, config).unwrap_err();
    (error.fault, error.param)
}

#[test]
fn what_is_left_out_is_the_published_setting() {
    let config = JobConfig::parse(JobKind::Pipeline, json!({"dataset": "gsm8k"})).unwrap();
    let StageConfigs::Pipeline(stages) = &config.stages else { panic!() };
    let sample = &stages.sample;
    assert_eq!((sample.n, sample.top_p, sample.max_tokens, sample.temperature), (64, 0.95, 1024, 0.5));
    assert_eq!(sample.stop, ["\n\nQuestion:", "Question:"]);
    assert_eq!((stages.evaluate.temperature, stages.evaluate.n), (0.0, 1));
    let sft = &stages.sft.plan;
    let Method::Lora(lora) = &sft.method else { panic!() };
    assert_eq!((lora.r, lora.lora_alpha, lora.lora_dropout), (8, 16.0, 0.1));
    assert_eq!(lora.target_modules, ["gate_proj", "up_proj", "down_proj"]);
    let arguments = &sft.arguments;
    assert_eq!((arguments.learning_rate, arguments.lr_scheduler_type), (3e-4, SchedulerType::Cosine));
    assert_eq!((arguments.warmup_steps, arguments.per_device_train_batch_size), (Some(100), 6));
    assert_eq!((stages.sft.max_length, arguments.num_train_epochs, arguments.seed), (1024, 1.0, 42));
    let preference = &stages.preference;
    assert_eq!(
        (preference.loss, preference.max_prompt_length, preference.max_length),
        (PreferenceLoss::Cdpo, 512, 1500)
    );
    let arguments = &preference.plan.arguments;
    assert_eq!((arguments.learning_rate, arguments.weight_decay, arguments.warmup_ratio), (4e-5, 0.01, 0.1));
    assert_eq!(arguments.effective_batch(), 8);
}

#[test]
fn a_complete_configuration_reads_as_itself() {
    for kind in JobKind::ALL {
        let config = JobConfig::parse(kind, json!({"dataset": "d", "seed": 7})).unwrap();
        assert_eq!(JobConfig::parse(kind, config.json.clone()).unwrap(), config);
        assert_eq!(config.seed, 7);
    }
}

#[test]
fn a_stage_takes_the_pipelines_seed_unless_it_has_its_own() {
    let given = json!({"dataset": "d", "seed": 7, "sample": {"seed": 8}});
    let config = JobConfig::parse(JobKind::Pipeline, given).unwrap();
    assert_eq!((&config.json["sample"]["seed"], &config.json["preference"]["seed"]), (&json!(8), &json!(7)));
}

#[test]
fn the_field_at_fault_is_named() {
    use ConfigFault as F;
    let with = |kind: JobKind, fields: Value| {
        let mut config = json!({"dataset": "d"});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        refused(kind, config)
    };
    let named = |fault: ConfigFault, param: &str| (fault, param.to_owned());
    assert_eq!(refused(JobKind::Sft, json!({})), named(F::Missing, "config.dataset"));
    assert_eq!(with(JobKind::Sft, json!({"learnin_rate": 1})), named(F::Unknown, "config.learnin_rate"));
    assert_eq!(with(JobKind::Sft, json!({"learning_rate": -1})), named(F::Invalid, "config.learning_rate"));
    assert_eq!(with(JobKind::Sft, json!({"learning_rate": "x"})), named(F::Invalid, "config.learning_rate"));
    assert_eq!(with(JobKind::Sft, json!({"lora": {"r": 0}})), named(F::Invalid, "config.lora.r"));
    assert_eq!(with(JobKind::Sft, json!({"lora": {"rank": 8}})), named(F::Unknown, "config.lora.rank"));
    assert_eq!(with(JobKind::Sft, json!({"max_length": 0})), named(F::Invalid, "config.max_length"));
    assert_eq!(with(JobKind::Sample, json!({"n": 0})), named(F::Invalid, "config.n"));
    assert_eq!(with(JobKind::Sample, json!({"top_p": 0.0})), named(F::Invalid, "config.top_p"));
    assert_eq!(with(JobKind::Sample, json!({"prompt_format": "chat"})), named(F::Invalid, "config.prompt_format"));
    let plain = json!({"prompt_format": "plain", "prompt_template": "x"});
    assert_eq!(with(JobKind::Sample, plain), named(F::Invalid, "config.prompt_template"));
    assert_eq!(with(JobKind::Select, json!({"coverage": 0})), named(F::Invalid, "config.coverage"));
    assert_eq!(with(JobKind::Contrast, json!({"positive": 3})), named(F::Invalid, "config.positive"));
    assert_eq!(with(JobKind::Evaluate, json!({"temperature": 1})), named(F::Unknown, "config.temperature"));
    let preference = |fields: Value| with(JobKind::Pipeline, json!({"preference": fields}));
    assert_eq!(preference(json!({"learning_rate": 0})), named(F::Invalid, "config.preference.learning_rate"));
    assert_eq!(preference(json!({"loss": "ppo"})), named(F::Invalid, "config.preference.loss"));
    assert_eq!(preference(json!({"dataset": "d"})), named(F::Unknown, "config.preference.dataset"));
    assert_eq!(preference(json!({"lora": null})), named(F::Invalid, "config.preference.lora"));
    assert_eq!(preference(json!(3)), named(F::Invalid, "config.preference"));
}

#[test]
fn full_fine_tuning_is_asked_for_with_null() {
    let config = JobConfig::parse(JobKind::Sft, json!({"dataset": "d", "lora": null})).unwrap();
    let StageConfigs::Sft(sft) = config.stages else { panic!() };
    assert_eq!(sft.plan.method, Method::Full);
}

#[test]
fn a_warm_up_by_ratio_is_not_overruled_by_the_default_number_of_steps() {
    for (kind, config, field) in [
        (JobKind::Sft, json!({"dataset": "d", "warmup_ratio": 0.1}), "/warmup_steps"),
        (JobKind::Pipeline, json!({"dataset": "d", "sft": {"warmup_ratio": 0.1}}), "/sft/warmup_steps"),
    ] {
        assert_eq!(JobConfig::parse(kind, config).unwrap().json.pointer(field), Some(&Value::Null));
    }
    let both = json!({"dataset": "d", "warmup_ratio": 0.1, "warmup_steps": 7});
    assert_eq!(JobConfig::parse(JobKind::Sft, both).unwrap().json["warmup_steps"], json!(7));
}
