//! `sft` and `preference`: a training run on a thread of its own, watched from here.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::blocking;
use crate::jobs::config::{ArtifactRef, PreferenceConfig, SftConfig};
use crate::jobs::error::StageError;
use crate::jobs::plan::Stage;
use crate::jobs::prepare::{self, Prepared};
use crate::jobs::trainer::TrainingWork;
use crate::jobs::work::Work;
use crate::train::{Observer, Outcome, StepMetrics, TrainError, TrainingPlan};

/// What a run may be ahead of what is written of it.
const AHEAD: usize = 64;

pub(super) async fn fine_tune(work: &mut Work, stage: &Stage, config: &SftConfig) -> Result<(), StageError> {
    let (engine, input, settings, name) = (work.engine(), stage.input.clone(), config.clone(), stage.name);
    let end = work.cancelled();
    let prepared = blocking(move || prepare::completions(engine.text(), &input, &settings, name, &end)).await?;
    train(work, stage, prepared, &config.plan, config.start_adapter.as_ref()).await
}

pub(super) async fn prefer(work: &mut Work, stage: &Stage, config: &PreferenceConfig) -> Result<(), StageError> {
    let (engine, input, settings, name) = (work.engine(), stage.input.clone(), config.clone(), stage.name);
    let end = work.cancelled();
    let prepared = blocking(move || prepare::pairs(engine.text(), &input, &settings, name, &end)).await?;
    train(work, stage, prepared, &config.plan, config.start_adapter.as_ref()).await
}

async fn train(
    work: &mut Work,
    stage: &Stage,
    prepared: Prepared,
    plan: &TrainingPlan,
    start: Option<&ArtifactRef>,
) -> Result<(), StageError> {
    let Prepared { examples, dropped } = prepared;
    let left_out = dropped.len();
    work.set_dropped(stage.name, dropped).await?;
    if examples.is_empty() {
        let message = format!("there is no row to train on ({left_out} were dropped; see dropped.jsonl)");
        return Err(StageError::failed("no_rows", message));
    }
    let total = plan.arguments.steps(examples.len()) as u64;
    work.begin_steps(0, total).await?;
    work.log(format!("training on {} rows for {total} steps; {left_out} rows dropped", examples.len())).await?;
    let training = TrainingWork {
        plan: plan.clone(),
        examples,
        folder: work.checkpoint(stage.name),
        output: stage.output.clone(),
        start_adapter: start.map(|start| work.adapter_folder(start)).transpose()?,
    };
    for folder in [&training.folder, &training.output] {
        tokio::fs::create_dir_all(folder).await.map_err(StageError::io(folder))?;
    }
    let (told, listen) = mpsc::channel(AHEAD);
    let (finished, outcome) = oneshot::channel();
    // Ends the run alone: what is wrong with writing of it must be told, and is no cancellation of the job.
    let end = work.cancelled().child_token();
    let watching = Watching { told, end: end.clone() };
    let trainer = work.trainer();
    std::thread::Builder::new()
        .name("train".to_owned())
        .spawn(move || {
            let mut watching = watching;
            let run = AssertUnwindSafe(|| trainer.train(&training, &mut watching));
            let outcome =
                catch_unwind(run).unwrap_or_else(|_| Err(TrainError::Internal("training panicked".to_owned())));
            drop(watching);
            // Nobody listens any more where the process ends.
            let _ = finished.send(outcome);
        })
        .map_err(|error| StageError::internal(&error))?;
    let written = listen_to(work, listen, total).await;
    if written.is_err() {
        end.cancel();
    }
    let outcome = outcome.await.map_err(|_| StageError::internal(&"the training thread ended without a word"));
    written?;
    let Outcome { steps, resumed_from } = outcome??;
    let from = resumed_from.map_or(String::new(), |step| format!(", going on from step {step}"));
    work.log(format!("trained for {steps} steps{from}")).await?;
    work.step(total, total).await
}

/// Writes what a run tells until it ends.
async fn listen_to(work: &mut Work, mut listen: mpsc::Receiver<Told>, total: u64) -> Result<(), StageError> {
    let mut first = true;
    while let Some(told) = listen.recv().await {
        match told {
            Told::Step(done, total) if first => {
                // A run that goes on from a checkpoint begins there.
                first = false;
                work.begin_steps(done, total).await?;
            }
            Told::Step(done, total) => work.step(done, total).await?,
            Told::Logged(StepMetrics { step, epoch, values }, written) => {
                work.metric(step as u64, Some(epoch), values).await?;
                work.step(step as u64, total).await?;
                // A run that is over waits for nothing.
                let _ = written.send(());
            }
            Told::Resumed(step) => work.begin_steps(step, total).await?,
            Told::Saved(step) => {
                work.record.interruptions = 0;
                work.save().await?;
                work.log(format!("checkpoint of step {step}")).await?;
            }
            Told::Kept => {
                work.record.interruptions = 0;
                work.save().await?;
            }
            Told::Yielded(seconds) => work.yielded(seconds),
        }
    }
    Ok(())
}

/// What a run tells of itself.
enum Told {
    Step(u64, u64),
    /// Metrics, and whom to tell that they are written.
    Logged(StepMetrics, oneshot::Sender<()>),
    Resumed(u64),
    Saved(usize),
    Kept,
    Yielded(f64),
}

/// The run's side of the channel.
struct Watching {
    told: mpsc::Sender<Told>,
    end: CancellationToken,
}

impl Watching {
    /// Waits while the other side is behind. Once that is gone, so is whoever the run is for.
    fn tell(&self, told: Told) {
        if self.told.blocking_send(told).is_err() {
            self.end.cancel();
        }
    }
}

impl Observer for Watching {
    fn resumed(&mut self, step: usize) {
        self.tell(Told::Resumed(step as u64));
    }

    fn before_pass(&mut self, step: usize, total: usize) -> ControlFlow<()> {
        if !self.end.is_cancelled() {
            self.tell(Told::Step(step as u64, total as u64));
        }
        if self.end.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn logged(&mut self, metrics: StepMetrics) {
        // The checkpoint comes after this: metrics that it has behind it must not be lost with the process.
        let (written, wait) = oneshot::channel();
        self.tell(Told::Logged(metrics, written));
        let _ = wait.blocking_recv();
    }

    fn saved(&mut self, step: usize) {
        self.tell(Told::Saved(step));
    }

    fn kept(&mut self) {
        self.tell(Told::Kept);
    }

    fn yielded(&mut self, seconds: f64) {
        self.tell(Told::Yielded(seconds));
    }
}
