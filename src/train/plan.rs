//! What a run is to do: settings by TRL's and PEFT's names, with the published defaults.

use serde::{Deserialize, Serialize};

use super::TrainError;

/// Most examples of a batch, batches of a step, and steps.
pub const MAX_COUNT: usize = 1 << 24;
pub const MAX_RANK: usize = 4096;
pub const MAX_EPOCHS: f64 = 1e6;

/// Everything that decides a run's numbers, beside the base's weights and the examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingPlan {
    pub objective: Objective,
    pub method: Method,
    pub arguments: Arguments,
}

/// What is minimised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Mean negative log likelihood of the responses' tokens.
    Sft,
    Preference(Preference),
}

/// A preference loss and its constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    pub loss: PreferenceLoss,
    pub reduction: Reduction,
    /// `gamma` of equation (6), DPO's `beta`.
    pub beta: f64,
    /// RPO's factor of the chosen response's mean negative log likelihood.
    pub rpo_alpha: f64,
    /// TDPO's factor of the divergences.
    pub tdpo_alpha: f64,
    /// DPO's chance that a pair is labelled the wrong way round ("conservative DPO"); 0 to below 0.5.
    pub label_smoothing: f64,
}

/// The losses over pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreferenceLoss {
    /// Contrastive DPO, equations (4) to (6): the rejected tokens weighted by `1 - s_t`.
    Cdpo,
    Dpo,
    /// DPO with the chosen response's length-normalised negative log likelihood.
    Rpo,
    /// Token-level DPO (arXiv 2404.11999), the second form.
    Tdpo,
    /// DPO with the data's own weights on both sides.
    TokenWeighted,
}

/// Over what the log-sigmoid is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Over the sums of both responses, as equation (6) has it.
    Sequence,
    /// Position by position, `chosen[t]` with `rejected[t]`, averaged over the padded batch, as the published script does.
    Position,
}

/// Which weights are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Lora(LoraConfig),
    /// All of them. Small models only: gradients and two moments are kept in f32.
    Full,
}

/// A low-rank adapter, by PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    pub r: usize,
    pub lora_alpha: f64,
    /// Chance that an input of the adapter is left out, in training; 0 to below 1.
    pub lora_dropout: f64,
    /// Names such as `q_proj`, or `all-linear`.
    pub target_modules: Vec<String>,
}

/// The optimizer's settings, by transformers' names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arguments {
    pub learning_rate: f64,
    pub num_train_epochs: f64,
    /// Ends the run after so many steps, whatever the epochs.
    pub max_steps: Option<usize>,
    pub per_device_train_batch_size: usize,
    pub gradient_accumulation_steps: usize,
    /// Steps in which the learning rate rises; goes before `warmup_ratio`.
    pub warmup_steps: Option<usize>,
    pub warmup_ratio: f64,
    pub lr_scheduler_type: SchedulerType,
    pub weight_decay: f64,
    /// Gradients of a larger norm are scaled down to it; 0 leaves them.
    pub max_grad_norm: f64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    pub logging_steps: usize,
    /// Steps between checkpoints.
    pub save_steps: usize,
    /// Keep each layer's input only, and compute the rest again for the gradients.
    pub gradient_checkpointing: bool,
    /// Put examples of like length together. Saves no work here, for nothing is ever padded; it evens out nothing but
    /// the memory of a step.
    pub group_by_length: bool,
    pub seed: u64,
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerType {
    Linear,
    Cosine,
    /// Not at all, and without a warm-up.
    Constant,
    ConstantWithWarmup,
}

impl Preference {
    /// The published cDPO.
    pub fn published(loss: PreferenceLoss) -> Self {
        Self { loss, reduction: Reduction::Sequence, beta: 0.1, rpo_alpha: 1.0, tdpo_alpha: 0.5, label_smoothing: 0.0 }
    }
}

impl LoraConfig {
    /// The positive and the negative model's.
    pub fn published_sft() -> Self {
        let target_modules = ["gate_proj", "up_proj", "down_proj"].map(str::to_owned).to_vec();
        Self { r: 8, lora_alpha: 16.0, lora_dropout: 0.1, target_modules }
    }

    /// cDPO's.
    pub fn published_preference() -> Self {
        Self { r: 16, lora_alpha: 32.0, lora_dropout: 0.0, target_modules: vec!["all-linear".to_owned()] }
    }
}

impl Arguments {
    /// The positive and the negative model's.
    pub fn published_sft() -> Self {
        Self {
            learning_rate: 3e-4,
            num_train_epochs: 1.0,
            max_steps: None,
            per_device_train_batch_size: 6,
            gradient_accumulation_steps: 1,
            warmup_steps: Some(100),
            warmup_ratio: 0.0,
            lr_scheduler_type: SchedulerType::Cosine,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            logging_steps: 10,
            save_steps: 100,
            gradient_checkpointing: false,
            group_by_length: false,
            seed: 42,
        }
    }

    /// cDPO's.
    pub fn published_preference() -> Self {
        Self {
            learning_rate: 4e-5,
            num_train_epochs: 3.0,
            per_device_train_batch_size: 2,
            gradient_accumulation_steps: 4,
            warmup_steps: None,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            ..Self::published_sft()
        }
    }

    /// Optimizer steps over `examples`: whole batches and a last smaller one in each epoch, as transformers counts.
    pub fn steps(&self, examples: usize) -> usize {
        let in_epoch = self.steps_per_epoch(examples);
        let steps = (self.num_train_epochs * in_epoch as f64).ceil() as usize;
        self.max_steps.unwrap_or(steps)
    }

    /// Examples of one optimizer step.
    pub fn effective_batch(&self) -> usize {
        self.per_device_train_batch_size * self.gradient_accumulation_steps
    }

    /// Optimizer steps in one reading of `examples`.
    pub fn steps_per_epoch(&self, examples: usize) -> usize {
        examples.div_ceil(self.effective_batch()).max(1)
    }

    /// Steps of rising learning rate in a run of `total` steps.
    pub fn warmup(&self, total: usize) -> usize {
        self.warmup_steps.unwrap_or((self.warmup_ratio * total as f64).ceil() as usize)
    }

    /// The factor of the learning rate in step `step` (from 0) of `total`, as transformers' schedules have it.
    pub fn schedule(&self, step: usize, total: usize) -> f64 {
        let warmup = match self.lr_scheduler_type {
            SchedulerType::Constant => 0,
            SchedulerType::Linear | SchedulerType::Cosine | SchedulerType::ConstantWithWarmup => self.warmup(total),
        };
        if step < warmup {
            return step as f64 / warmup.max(1) as f64;
        }
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self.lr_scheduler_type {
            SchedulerType::Constant | SchedulerType::ConstantWithWarmup => 1.0,
            SchedulerType::Linear => (1.0 - progress).max(0.0),
            SchedulerType::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
        }
    }
}

impl TrainingPlan {
    /// Refuses values that no run can use, naming the field.
    pub fn check(&self) -> Result<(), TrainError> {
        let arguments = &self.arguments;
        let positive = |param, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(TrainError::invalid(param, format!("must be a positive number, not {value}"))),
        };
        let fraction = |param, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(TrainError::invalid(param, format!("must be at least 0 and below 1, not {value}"))),
        };
        let not_negative = |param, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(TrainError::invalid(param, format!("must be a number of at least 0, not {value}"))),
        };
        let count = |param, value: usize| match (1..=MAX_COUNT).contains(&value) {
            true => Ok(()),
            false => Err(TrainError::invalid(param, format!("must be between 1 and {MAX_COUNT}, not {value}"))),
        };
        positive("learning_rate", arguments.learning_rate)?;
        positive("num_train_epochs", arguments.num_train_epochs)?;
        if arguments.num_train_epochs > MAX_EPOCHS {
            return Err(TrainError::invalid("num_train_epochs", format!("must be at most {MAX_EPOCHS}")));
        }
        arguments.max_steps.map_or(Ok(()), |steps| count("max_steps", steps))?;
        count("per_device_train_batch_size", arguments.per_device_train_batch_size)?;
        count("gradient_accumulation_steps", arguments.gradient_accumulation_steps)?;
        fraction("warmup_ratio", arguments.warmup_ratio)?;
        not_negative("weight_decay", arguments.weight_decay)?;
        not_negative("max_grad_norm", arguments.max_grad_norm)?;
        fraction("adam_beta1", arguments.adam_beta1)?;
        fraction("adam_beta2", arguments.adam_beta2)?;
        positive("adam_epsilon", arguments.adam_epsilon)?;
        count("logging_steps", arguments.logging_steps)?;
        count("save_steps", arguments.save_steps)?;
        if let Method::Lora(lora) = &self.method {
            if !(1..=MAX_RANK).contains(&lora.r) {
                return Err(TrainError::invalid("lora.r", format!("must be between 1 and {MAX_RANK}, not {}", lora.r)));
            }
            positive("lora.lora_alpha", lora.lora_alpha)?;
            fraction("lora.lora_dropout", lora.lora_dropout)?;
        }
        if let Objective::Preference(preference) = &self.objective {
            positive("beta", preference.beta)?;
            not_negative("rpo_alpha", preference.rpo_alpha)?;
            not_negative("tdpo_alpha", preference.tdpo_alpha)?;
            if !(0.0..0.5).contains(&preference.label_smoothing) {
                return Err(TrainError::invalid("label_smoothing", "must be at least 0 and below 0.5"));
            }
            let sequence_only = match preference.loss {
                PreferenceLoss::Rpo | PreferenceLoss::Tdpo => true,
                PreferenceLoss::Cdpo | PreferenceLoss::Dpo | PreferenceLoss::TokenWeighted => false,
            };
            if preference.reduction == Reduction::Position && sequence_only {
                return Err(TrainError::invalid("reduction", "`position` goes with cdpo, dpo and token_weighted only"));
            }
        }
        Ok(())
    }
}
