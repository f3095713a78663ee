//! The stages of jobs. Each reads one file, writes others, and goes on from what it has written when it is run again.

pub(super) mod contrast;
pub(super) mod draw;
mod evaluate;
mod lines;
mod sample;
mod select;
mod training;

pub(super) use lines::{write as write_bytes, write_all as write_lines};

use super::error::StageError;
use super::plan::{Stage, StageWork};
use super::work::Work;

/// Runs a stage to its end.
pub(super) async fn run(work: &mut Work, stage: &Stage) -> Result<(), StageError> {
    match &stage.work {
        StageWork::Sample(config) => sample::run(work, stage, config).await,
        StageWork::Select(config) => select::run(work, stage, config).await,
        StageWork::Sft(config) => training::fine_tune(work, stage, config).await,
        StageWork::Contrast(config) => contrast::run(work, stage, config).await,
        StageWork::Preference(config) => training::prefer(work, stage, config).await,
        StageWork::Evaluate(config) => evaluate::run(work, stage, config).await,
    }
}

/// Runs what would hold up other requests on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StageError> + Send + 'static,
) -> Result<T, StageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(StageError::internal(&error)))
}
