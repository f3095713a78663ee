//! `linchpin gradients`: loss and gradients of one batch, or a few steps on it, for checking training against other
//! software. The batch comes as token ids, so that nothing depends on a tokenizer.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use linchpin::engine::local::{DeviceChoice, DtypeChoice};
use linchpin::train::{
    Arguments, Base, BaseOptions, Completion, Examples, Inspection, LoraConfig, Method, Objective, Pair, Preference,
    PreferenceLoss, Reduction, SchedulerType, StepMetrics, TrainingPlan,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lines::{Line, Lines};

#[derive(clap::Args)]
pub(super) struct GradientsArgs {
    /// Base model: a Hugging Face folder, a GGUF file or a Hub id
    #[arg(long, value_name = "PATH")]
    model: String,
    /// What to train and how: {"kind": "sft" | "preference", "config": {...}}
    #[arg(long, value_name = "FILE.json")]
    config: PathBuf,
    /// The batch: rows of token ids
    #[arg(long, value_name = "FILE.jsonl")]
    data: PathBuf,
    /// Write the gradients, or with --steps the parameters, to this file
    #[arg(long, value_name = "FILE.safetensors")]
    output: PathBuf,
    /// PEFT adapter that training starts from
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Take so many optimizer steps on the batch
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Write the adapter or the model as it is at the end to this folder
    #[arg(long, value_name = "DIR")]
    save_adapter: Option<PathBuf>,
    /// Device: auto, cpu, or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Weights' type: auto, f32, bf16 or f16
    #[arg(long, default_value = "auto")]
    dtype: DtypeChoice,
    /// CPU threads [default: the machine's]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// The file of `--config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: Kind,
    config: Config,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Sft,
    Preference,
}

/// TRL's and PEFT's names; what is left out is as published.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    full: bool,
    lora: Option<LoraConfig>,
    loss: Option<PreferenceLoss>,
    reduction: Option<Reduction>,
    beta: Option<f64>,
    rpo_alpha: Option<f64>,
    tdpo_alpha: Option<f64>,
    label_smoothing: Option<f64>,
    learning_rate: Option<f64>,
    weight_decay: Option<f64>,
    max_grad_norm: Option<f64>,
    lr_scheduler_type: Option<SchedulerType>,
    warmup_steps: Option<usize>,
    adam_beta1: Option<f64>,
    adam_beta2: Option<f64>,
    adam_epsilon: Option<f64>,
    per_device_train_batch_size: Option<usize>,
    gradient_checkpointing: Option<bool>,
    seed: Option<u64>,
}

/// A row of the batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    prompt_token_ids: Vec<u32>,
    response_token_ids: Option<Vec<u32>>,
    chosen_token_ids: Option<Vec<u32>>,
    rejected_token_ids: Option<Vec<u32>>,
    chosen_weights: Option<Vec<f32>>,
    rejected_weights: Option<Vec<f32>>,
}

pub(super) fn run(args: GradientsArgs) -> anyhow::Result<ExitCode> {
    let settings: Settings = {
        let file = File::open(&args.config).with_context(|| format!("{} cannot be read", args.config.display()))?;
        serde_json::from_reader(BufReader::new(file)).with_context(|| args.config.display().to_string())?
    };
    let examples = examples(&args.data, settings.kind)?;
    let plan = settings.config.plan(settings.kind, examples.len());
    let options =
        BaseOptions { dtype: args.dtype, device: args.device, threads: args.threads, start_adapter: args.adapter };
    let base = Base::open(&args.model, options)?;
    let mut inspection = Inspection::new(&base, &plan, &examples, args.steps.unwrap_or(1))?;
    match args.steps {
        None => print(&inspection.gradients()?, None)?,
        Some(steps) => {
            for _ in 0..steps {
                let began = Instant::now();
                let metrics = inspection.step()?;
                print(&metrics, Some(began.elapsed().as_secs_f64()))?;
            }
        }
    }
    inspection.parameters().write(&args.output, args.steps.is_none())?;
    if let Some(folder) = args.save_adapter {
        inspection.save(&folder)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(metrics: &StepMetrics, seconds: Option<f64>) -> anyhow::Result<()> {
    let mut line: Map<String, Value> =
        metrics.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    line.insert("step".to_owned(), json!(metrics.step));
    if let Some(seconds) = seconds {
        line.insert("seconds".to_owned(), json!(seconds));
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", Value::Object(line)).and_then(|()| stdout.flush()).context("stdout cannot be written")
}

fn examples(path: &Path, kind: Kind) -> anyhow::Result<Examples> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut completions, mut pairs) = (Vec::new(), Vec::new());
    for line in Lines::new(BufReader::new(file)) {
        let (number, line) = line.with_context(|| format!("{} cannot be read", path.display()))?;
        let Line::Whole(text) = line else { bail!("line {number} is too long") };
        let row: Row = serde_json::from_slice(&text).with_context(|| format!("line {number}"))?;
        let prompt = row.prompt_token_ids;
        let completion = |response: Option<Vec<u32>>, field: &str| {
            let response = response.with_context(|| format!("line {number} has no {field}"))?;
            Ok::<_, anyhow::Error>(Completion {
                response_start: prompt.len(),
                token_ids: [prompt.clone(), response].concat(),
            })
        };
        match kind {
            Kind::Sft => completions.push(completion(row.response_token_ids, "response_token_ids")?),
            Kind::Preference => pairs.push(Pair {
                chosen: completion(row.chosen_token_ids, "chosen_token_ids")?,
                rejected: completion(row.rejected_token_ids, "rejected_token_ids")?,
                chosen_weights: row.chosen_weights,
                rejected_weights: row.rejected_weights,
            }),
        }
    }
    Ok(match kind {
        Kind::Sft => Examples::Completions(completions),
        Kind::Preference => Examples::Pairs(pairs),
    })
}

impl Config {
    fn plan(self, kind: Kind, rows: usize) -> TrainingPlan {
        let (mut arguments, lora) = match kind {
            Kind::Sft => (Arguments::published_sft(), LoraConfig::published_sft()),
            Kind::Preference => (Arguments::published_preference(), LoraConfig::published_preference()),
        };
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(value) = from {
                *to = value;
            }
        }
        set(&mut arguments.learning_rate, self.learning_rate);
        set(&mut arguments.weight_decay, self.weight_decay);
        set(&mut arguments.max_grad_norm, self.max_grad_norm);
        set(&mut arguments.lr_scheduler_type, self.lr_scheduler_type);
        set(&mut arguments.adam_beta1, self.adam_beta1);
        set(&mut arguments.adam_beta2, self.adam_beta2);
        set(&mut arguments.adam_epsilon, self.adam_epsilon);
        set(&mut arguments.gradient_checkpointing, self.gradient_checkpointing);
        set(&mut arguments.seed, self.seed);
        arguments.warmup_steps = Some(self.warmup_steps.unwrap_or(0));
        // The whole file is one batch.
        arguments.per_device_train_batch_size = self.per_device_train_batch_size.unwrap_or(rows.max(1));
        arguments.gradient_accumulation_steps = rows.div_ceil(arguments.per_device_train_batch_size).max(1);
        let objective = match kind {
            Kind::Sft => Objective::Sft,
            Kind::Preference => {
                let mut preference = Preference::published(self.loss.unwrap_or(PreferenceLoss::Cdpo));
                set(&mut preference.reduction, self.reduction);
                set(&mut preference.beta, self.beta);
                set(&mut preference.rpo_alpha, self.rpo_alpha);
                set(&mut preference.tdpo_alpha, self.tdpo_alpha);
                set(&mut preference.label_smoothing, self.label_smoothing);
                Objective::Preference(preference)
            }
        };
        let method = if self.full { Method::Full } else { Method::Lora(self.lora.unwrap_or(lora)) };
        TrainingPlan { objective, method, arguments }
    }
}
