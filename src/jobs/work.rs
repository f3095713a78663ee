//! One job while it runs: its record, what it tells of itself, and the models that it borrows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::config::{ArtifactRef, ModelSource};
use super::dropped::DroppedFile;
use super::error::StageError;
use super::metrics;
use super::prepare::DroppedRow;
use super::trainer::Trainer;
use super::{Jobs, adapter_folder, unix_seconds};
use crate::domain::job::{JobRecord, JobStage, Progress};
use crate::domain::job_event::{JobEventBody, LogLevel, MetricPoint};
use crate::domain::model::{ModelInfo, ModelRef};
use crate::engine::{AdapterSource, Engine, EngineError};
use crate::store::{JobFolder, Lease};

/// Between two progress events, and two writings of the record.
const QUIET: Duration = Duration::from_secs(1);

/// A job that this process holds.
pub(super) struct Work {
    jobs: Jobs,
    pub(super) record: JobRecord,
    folder: JobFolder,
    lease: Lease,
    cancel: CancellationToken,
    /// When this attempt began, and what earlier ones took.
    began: Instant,
    elapsed_before: f64,
    /// When the stage's steps began, and at which.
    stage_began: Instant,
    first_step: u64,
    told: Option<Instant>,
}

/// A model that a stage uses.
pub(super) struct Borrowed {
    reference: ModelRef,
    /// Loaded for the stage, and unloaded after it.
    ours: bool,
}

impl Borrowed {
    /// As it was when the stage began: whatever answers for another is refused.
    pub(super) fn reference(&self) -> &ModelRef {
        &self.reference
    }
}

impl Work {
    pub(super) fn new(jobs: Jobs, record: JobRecord, cancel: CancellationToken) -> Self {
        let (folder, lease) = (jobs.store().job_folder(&record.id), jobs.lease().clone());
        let now = Instant::now();
        let elapsed_before = record.elapsed_seconds;
        Self {
            jobs,
            record,
            folder,
            lease,
            cancel,
            began: now,
            elapsed_before,
            stage_began: now,
            first_step: 0,
            told: None,
        }
    }

    pub(super) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Removes what a stage that is done would have gone on from: some times as much as its result.
    pub(super) async fn clear_checkpoint(&self, stage: &str) {
        let folder = self.checkpoint(stage);
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %folder.display(), "a checkpoint was not removed");
            }
            Ok(()) | Err(_) => {}
        }
    }

    pub(super) fn engine(&self) -> Arc<dyn Engine> {
        self.jobs.engine().clone()
    }

    pub(super) fn trainer(&self) -> Arc<dyn Trainer> {
        self.jobs.trainer().clone()
    }

    pub(super) fn folder(&self) -> &JobFolder {
        &self.folder
    }

    pub(super) fn checkpoint(&self, stage: &str) -> PathBuf {
        self.folder.checkpoint(stage)
    }

    /// Cancelled when the job is, or the process ends.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Writes the record as it is now.
    pub(super) async fn save(&mut self) -> Result<(), StageError> {
        self.record.elapsed_seconds = self.elapsed_before + self.began.elapsed().as_secs_f64();
        Ok(self.jobs.store().save_job(&self.record, &self.lease).await?)
    }

    pub(super) async fn tell(&self, event: JobEventBody) -> Result<(), StageError> {
        self.jobs.store().append_job_event(&self.record.id, unix_seconds(), &event).await?;
        self.jobs.announce();
        Ok(())
    }

    pub(super) async fn log(&mut self, message: String) -> Result<(), StageError> {
        self.tell(JobEventBody::Log { level: LogLevel::Info, message }).await
    }

    pub(super) async fn warn(&mut self, message: String) -> Result<(), StageError> {
        self.tell(JobEventBody::Log { level: LogLevel::Warning, message }).await
    }

    /// Enters a stage.
    pub(super) async fn enter(&mut self, stage: JobStage) -> Result<(), StageError> {
        self.record.step = Progress::default();
        self.record.remaining_seconds = None;
        let message = format!("stage {} of {}: {}", stage.index + 1, stage.total, stage.name);
        self.record.stage = Some(stage);
        self.log(message).await?;
        self.begin_steps(0, 0).await
    }

    /// The stage has `done` of `total` steps behind it already.
    pub(super) async fn begin_steps(&mut self, done: u64, total: u64) -> Result<(), StageError> {
        self.stage_began = Instant::now();
        self.first_step = done;
        self.told = None;
        self.step(done, total).await
    }

    /// Notes how far the stage has come; tells it now and then, and at its end.
    pub(super) async fn step(&mut self, done: u64, total: u64) -> Result<(), StageError> {
        let step = Progress { done, total };
        if self.told.is_some() && self.record.step == step && done < total {
            return Ok(());
        }
        self.record.step = step;
        let ours = done.saturating_sub(self.first_step);
        self.record.remaining_seconds = (ours > 0)
            .then(|| self.stage_began.elapsed().as_secs_f64() / ours as f64 * total.saturating_sub(done) as f64);
        if self.told.is_some_and(|told| told.elapsed() < QUIET) && done < total {
            return Ok(());
        }
        self.told = Some(Instant::now());
        self.tell(JobEventBody::Progress { stage: self.stage_name(), step }).await?;
        self.save().await
    }

    pub(super) async fn metric<N: Into<String>>(
        &mut self,
        step: u64,
        epoch: Option<f64>,
        values: impl IntoIterator<Item = (N, f64)>,
    ) -> Result<(), StageError> {
        let stage = self.stage_name();
        let values: BTreeMap<String, f64> = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
        // Stages of a pipeline have metrics of the same name.
        let several = self.record.stage.as_ref().is_some_and(|stage| stage.total > 1);
        for (name, value) in &values {
            let name = if several { format!("{stage}/{name}") } else { name.clone() };
            self.record.metrics.insert(name, *value);
        }
        self.tell(JobEventBody::Metric(MetricPoint { stage, step, epoch, values })).await
    }

    pub(super) fn yielded(&mut self, seconds: f64) {
        self.record.yielded_seconds += seconds;
    }

    fn stage_name(&self) -> String {
        self.record.stage.as_ref().map(|stage| stage.name.clone()).unwrap_or_default()
    }

    /// Notes the rows that a stage leaves out, in the record and in an artifact. Those of an earlier attempt are replaced.
    pub(super) async fn set_dropped(&mut self, stage: &str, dropped: Vec<DroppedRow>) -> Result<(), StageError> {
        let file = DroppedFile::of(&self.folder);
        let stage = stage.to_owned();
        let count = dropped.len();
        let written = tokio::task::spawn_blocking(move || file.replace(&stage, dropped)).await;
        self.record.dropped = written.unwrap_or_else(|error| Err(StageError::internal(&error)))?;
        if count > 0 {
            self.warn(format!("{count} rows are not used; dropped.jsonl says which and why")).await?;
        }
        Ok(())
    }

    /// Writes the curves so far as an artifact.
    pub(super) async fn write_metrics(&self) -> Result<(), StageError> {
        let points = self.jobs.store().job_metrics(&self.record.id).await?;
        if points.is_empty() {
            return Ok(());
        }
        let path = self.folder.artifacts().join(metrics::FILE);
        let written = tokio::task::spawn_blocking(move || metrics::write(&path, points)).await;
        written.unwrap_or_else(|error| Err(StageError::internal(&error)))
    }

    /// The folder of an adapter that a job made.
    pub(super) fn adapter_folder(&self, artifact: &ArtifactRef) -> Result<PathBuf, StageError> {
        Ok(adapter_folder(self.jobs.store(), artifact)?)
    }

    /// Has a model at hand for a stage; `part` tells apart those of one job.
    pub(super) async fn borrow_model(&self, source: &ModelSource, part: &str) -> Result<Borrowed, StageError> {
        let artifact = match source {
            ModelSource::Loaded(name) => {
                let reference = named(&self.jobs.engine().models(), name)?;
                return Ok(Borrowed { reference, ours: false });
            }
            ModelSource::Artifact(artifact) => artifact,
        };
        // No adapter that a client loads can have a colon in its name.
        let id = format!("{}:{part}", self.record.id);
        let source = AdapterSource { id: id.clone(), path: self.adapter_folder(artifact)? };
        let engine = self.jobs.engine();
        let loaded = match engine.load_adapter(source.clone()).await {
            // Left behind by an attempt that was cut off in this very process.
            Err(EngineError::NameTaken { id: _ }) => {
                engine.unload_adapter(&id).await?;
                engine.load_adapter(source).await?
            }
            outcome => outcome?,
        };
        Ok(Borrowed { reference: loaded.reference(), ours: true })
    }

    pub(super) async fn return_model(&self, model: Borrowed) {
        if model.ours
            && let Err(error) = self.jobs.engine().unload_adapter(&model.reference.id).await
        {
            tracing::warn!(%error, id = %model.reference.id, "a job's adapter was not unloaded");
        }
    }
}

/// The model of an id, or the one that plays the role of that name.
fn named(models: &[ModelInfo], name: &str) -> Result<ModelRef, StageError> {
    let plays = |model: &&ModelInfo| model.roles.iter().any(|role| role.name() == name);
    let found = models.iter().find(|model| model.id == name).or_else(|| models.iter().find(plays));
    Ok(found.ok_or_else(|| EngineError::UnknownModel { id: name.to_owned() })?.reference())
}

/// Refuses an answer of another model than the stage began with.
pub(super) fn same_model(found: &ModelRef, begun_with: &ModelRef) -> Result<(), StageError> {
    match found == begun_with {
        true => Ok(()),
        false => {
            let message = format!("model {:?} was exchanged while the stage used it", begun_with.id);
            Err(StageError::failed("model_changed", message))
        }
    }
}
