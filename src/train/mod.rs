//! Training: supervised fine-tuning and preference optimisation of a model of the llama family, with LoRA or in full.
//!
//! A run is a function of its [`TrainingPlan`], its [`Examples`], the base's weights and nothing else: batches come in an
//! order drawn from the seed, dropout is counter-based, and every sum is in a fixed order. So a run that was cut off goes on
//! from its last checkpoint to the same losses, and to the same weights on the CPU.
//!
//! Every loss is a function of the log probabilities that the policy gives to the tokens of the examples' responses (and,
//! for one, of its divergence from the reference), so `loss` is plain arithmetic on the host, and a `learner` is what
//! computes those numbers and carries their gradients back to the weights: `cpu`, written for speed, or `tensor`, in
//! candle, which runs on GPUs and is the slow twin that the other is tested against.
//!
//! This room is blocking and owns no thread; it knows nothing of jobs, of the database or of HTTP.

mod base;
mod batch;
mod checkpoint;
mod cpu;
mod error;
mod example;
mod layout;
mod learner;
mod loss;
mod metrics;
mod optimizer;
mod order;
mod output;
mod parameters;
mod plan;
mod references;
mod tensor;
mod trainer;
#[cfg(test)]
mod twin;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

pub use base::{Base, BaseOptions};
pub use error::TrainError;
pub use example::{Completion, Examples, Pair};
pub use parameters::{Parameter, Parameters};
pub use plan::{
    Arguments, LoraConfig, MAX_COUNT, MAX_EPOCHS, MAX_RANK, Method, Objective, Preference, PreferenceLoss, Reduction,
    SchedulerType, TrainingPlan,
};

use self::trainer::Trainer;
use crate::engine::local::checkpoint::hex;

/// The most that a run is ahead of its last checkpoint, however far apart `save_steps` puts them.
const UNSAVED: Duration = Duration::from_secs(120);

/// What a run reads and writes.
pub struct Run<'a> {
    pub plan: &'a TrainingPlan,
    pub examples: &'a Examples,
    /// Where checkpoints are kept; made if it is missing. A run goes on from the one that it finds there.
    pub folder: &'a Path,
    /// Where the trained adapter (or model) is written at the end.
    pub output: &'a Path,
    /// Asked between layers to let requests go first.
    pub pace: Arc<dyn Pace>,
}

/// Who decides when training lets others compute.
pub trait Pace: Send + Sync {
    /// Returns once training may go on.
    fn rest(&self);

    /// How long all rests were together.
    fn rested(&self) -> Duration;
}

/// Training that has the machine to itself.
pub struct FullSpeed;

impl Pace for FullSpeed {
    fn rest(&self) {}

    fn rested(&self) -> Duration {
        Duration::ZERO
    }
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
pub trait Observer: Send {
    /// The run goes on after this many steps: what was told of later ones is told again.
    fn resumed(&mut self, _step: usize) {}
    /// Asked before each pass through the model, of which a step has one or several, `step` being the steps done; breaking
    /// ends the run with [`TrainError::Cancelled`], a checkpoint of those steps being kept.
    fn before_pass(&mut self, step: usize, total: usize) -> ControlFlow<()>;
    /// Every `logging_steps` steps, and after the last.
    fn logged(&mut self, metrics: StepMetrics);
    /// A checkpoint of this many steps is safe on disk.
    fn saved(&mut self, step: usize);
    /// A part of what comes before the steps is safe on disk.
    fn kept(&mut self) {}
    /// The run stood still for requests to be served.
    fn yielded(&mut self, seconds: f64);
}

/// Trains, blocking, until the last step or a cancellation.
///
/// # Errors
/// See [`TrainError`]; whatever it is, the last checkpoint stays.
pub fn train(base: &Base, run: Run<'_>, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    let Run { plan, examples, folder, output, pace } = run;
    output::check(&plan.method, &base.origin())?;
    std::fs::create_dir_all(folder).map_err(TrainError::disk(folder))?;
    let mut trainer = Trainer::new(base, plan, examples, pace.clone())?;
    let fingerprint = fingerprint(base, plan, examples)?;
    let resumed_from = trainer.resume(folder, &fingerprint)?.then_some(trainer.step);
    if let Some(step) = resumed_from {
        observer.resumed(step);
    }
    let (first, total) = (trainer.step, trainer.total_steps());
    let mut rested = pace.rested();
    while !trainer.prepare(Some(folder), &mut || go_on(observer, first, total))? {
        observer.kept();
    }
    let mut last_checkpoint = resumed_from;
    let mut saved = Instant::now();
    while trainer.step < total {
        let (rows, began, rested_before) = (trainer.rows_of_step(trainer.step), Instant::now(), pace.rested());
        let done = trainer.step;
        let step = match trainer.advance(&rows, total, &mut || go_on(observer, done, total)) {
            Ok(step) => step,
            Err(TrainError::Cancelled) => {
                observer.yielded((pace.rested() - rested).as_secs_f64());
                trainer.save(folder, &fingerprint)?;
                observer.saved(trainer.step);
                return Err(TrainError::Cancelled);
            }
            Err(error) => return Err(with_checkpoint(error, last_checkpoint)),
        };
        trainer.took(began.elapsed().saturating_sub(pace.rested() - rested_before).as_secs_f64());
        if pace.rested() > rested {
            observer.yielded((pace.rested() - rested).as_secs_f64());
            rested = pace.rested();
        }
        let last = trainer.step == total;
        if trainer.step.is_multiple_of(plan.arguments.logging_steps) || last {
            observer.logged(trainer.report(step));
        }
        if trainer.step.is_multiple_of(plan.arguments.save_steps) || last || saved.elapsed() > UNSAVED {
            trainer.save(folder, &fingerprint)?;
            saved = Instant::now();
            last_checkpoint = Some(trainer.step);
            observer.saved(trainer.step);
        }
    }
    output::save(output, &plan.method, &base.origin(), &trainer.parameters)?;
    Ok(Outcome { steps: total, resumed_from })
}

fn go_on(observer: &mut dyn Observer, step: usize, total: usize) -> Result<(), TrainError> {
    match observer.before_pass(step, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Cancelled),
    }
}

/// What a step over all examples as one batch computes, for checking it against other software.
pub struct Inspection<'a> {
    trainer: Trainer<'a>,
    rows: Vec<usize>,
    total: usize,
    output: (&'a Base, &'a TrainingPlan),
}

impl<'a> Inspection<'a> {
    /// `total` is the number of steps that the schedule is laid out for.
    ///
    /// # Errors
    /// As [`train`].
    pub fn new(
        base: &'a Base,
        plan: &'a TrainingPlan,
        examples: &'a Examples,
        total: usize,
    ) -> Result<Self, TrainError> {
        let mut trainer = Trainer::new(base, plan, examples, Arc::new(FullSpeed))?;
        while !trainer.prepare(None, &mut || Ok(()))? {}
        Ok(Self { trainer, rows: (0..examples.len()).collect(), total, output: (base, plan) })
    }

    /// Loss and gradients of the batch, nothing being changed.
    ///
    /// # Errors
    /// As [`train`].
    pub fn gradients(&mut self) -> Result<StepMetrics, TrainError> {
        let grad_norm = self.trainer.gradients(&self.rows, &mut || Ok(()))?;
        Ok(self.trainer.report(trainer::Step { grad_norm, learning_rate: 0.0 }))
    }

    /// One optimizer step on the batch.
    ///
    /// # Errors
    /// As [`train`].
    pub fn step(&mut self) -> Result<StepMetrics, TrainError> {
        let step = self.trainer.advance(&self.rows, self.total, &mut || Ok(()))?;
        Ok(self.trainer.report(step))
    }

    /// What is trained, with the gradients of the last batch.
    pub fn parameters(&self) -> &Parameters {
        &self.trainer.parameters
    }

    /// Writes the adapter or the model as it is now.
    ///
    /// # Errors
    /// [`TrainError::Disk`].
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let (base, plan) = self.output;
        output::save(folder, &plan.method, &base.origin(), &self.trainer.parameters)
    }
}

impl Parameters {
    /// Writes the values, or the gradients, as one safetensors file.
    ///
    /// # Errors
    /// [`TrainError::Disk`].
    pub fn write(&self, path: &Path, gradients: bool) -> Result<(), TrainError> {
        let part = |p: &Parameter| checkpoint::bytes(if gradients { &p.gradient } else { &p.values });
        let tensors: Vec<_> = self.0.iter().map(|p| (p.name.clone(), p.shape.clone(), part(p))).collect();
        checkpoint::write(path, &tensors, std::collections::HashMap::new())
    }
}

/// Tells a divergence which checkpoint is left.
fn with_checkpoint(mut error: TrainError, last: Option<usize>) -> TrainError {
    if let TrainError::Diverged { last_checkpoint, .. } = &mut error {
        *last_checkpoint = last;
    }
    error
}

/// Which run a checkpoint is of: everything that its numbers depend on.
fn fingerprint(base: &Base, plan: &TrainingPlan, examples: &Examples) -> Result<String, TrainError> {
    let mut plan = plan.clone();
    // How often a run tells of itself changes nothing of what it computes; nor does what it keeps of that, on a CPU to the bit.
    let Arguments { logging_steps, save_steps, gradient_checkpointing, .. } = &mut plan.arguments;
    (*logging_steps, *save_steps, *gradient_checkpointing) = (0, 0, false);
    let plan = serde_json::to_string(&plan).map_err(|error| TrainError::Internal(error.to_string()))?;
    let mut hash = Sha256::new().chain_update(base.fingerprint()).chain_update(plan);
    match examples {
        Examples::Completions(rows) => rows.iter().for_each(|row| update(&mut hash, row, None)),
        Examples::Pairs(pairs) => pairs.iter().for_each(|pair| {
            update(&mut hash, &pair.chosen, pair.chosen_weights.as_deref());
            update(&mut hash, &pair.rejected, pair.rejected_weights.as_deref());
        }),
    }
    Ok(hex(&hash.finalize()))
}

fn update(hash: &mut Sha256, completion: &Completion, weights: Option<&[f32]>) {
    hash.update((completion.token_ids.len() as u64).to_le_bytes());
    hash.update((completion.response_start as u64).to_le_bytes());
    completion.token_ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    hash.update([u8::from(weights.is_some())]);
    weights.unwrap_or(&[]).iter().for_each(|weight| hash.update(weight.to_le_bytes()));
}
