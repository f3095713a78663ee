//! What can go wrong with jobs: refusals of a request, and the failures of a stage.

use std::path::Path;

use crate::analysis::AnalysisError;
use crate::domain::job::{JobFailure, JobState};
use crate::engine::EngineError;
use crate::store::StoreError;
use crate::train::TrainError;

/// A use case's refusal or failure.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// A field of a job's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request is well-formed and cannot be served as it is.
    #[error("{message}")]
    Invalid {
        /// The field at fault.
        param: String,
        message: String,
    },
    /// A line of an upload; the text begins with it: `line 17: …`.
    #[error("line {line}: {message}")]
    Line { line: usize, message: String },
    #[error("there is no {what} {id:?}")]
    NotFound { what: Missing, id: String },
    #[error("job {id:?} is {}: it cannot be {wanted}", .state.name())]
    Conflict { id: String, state: JobState, wanted: &'static str },
    /// An upload broke off; nothing of it is kept. The source is the transport's own error.
    #[error("the upload broke off: {0}")]
    Upload(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect of ours; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

/// What a request named that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Dataset,
    Job,
    Artifact,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Missing::Dataset => "data set",
            Missing::Job => "job",
            Missing::Artifact => "artifact",
        })
    }
}

impl JobsError {
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        JobsError::Invalid { param: param.into(), message: message.into() }
    }
}

/// What is wrong with a field of a job's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    pub fault: ConfigFault,
    /// Such as `config.preference.learning_rate`.
    pub param: String,
    pub message: String,
}

/// The class of what is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigFault {
    Unknown,
    Missing,
    Invalid,
}

impl ConfigError {
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { fault: ConfigFault::Invalid, param: param.into(), message: message.into() }
    }
}

/// Why a stage ended before it was done.
#[derive(Debug)]
pub(super) enum StageError {
    /// Somebody asked for it, or the process ends.
    Cancelled,
    Failed(JobFailure),
}

impl StageError {
    pub(super) fn failed(code: &str, message: impl Into<String>) -> Self {
        StageError::Failed(JobFailure { code: code.to_owned(), message: message.into() })
    }

    /// A file that cannot be written or read. The record has its name, and the log where it is.
    fn file(path: &Path, reason: &dyn std::fmt::Display, full: bool) -> Self {
        tracing::error!(path = %path.display(), %reason, "a job's file cannot be written or read");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::disk(full, format!("{name} cannot be written or read: {reason}"))
    }

    /// What a disk that is full says, in whichever layer.
    fn disk(full: bool, message: String) -> Self {
        match full {
            true => {
                Self::failed("disk_full", format!("the disk is full: {message}; resume the job once there is room"))
            }
            false => Self::failed("disk_failed", message),
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| StoreError::Disk { path, source }.into()
    }
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        match error {
            // Another worker goes on with the job: there is nothing left to do here.
            StoreError::LeaseLost { id: _ } => StageError::Cancelled,
            StoreError::Disk { path, source } => {
                Self::file(&path, &source, source.kind() == std::io::ErrorKind::StorageFull)
            }
            StoreError::Unusable { path: _, reason: _ }
            | StoreError::Newer { path: _, found: _, known: _ }
            | StoreError::Exists { id: _ }
            | StoreError::RolloutsExist { id: _ }
            | StoreError::SearchExists { id: _ }
            | StoreError::TraceGone { id: _ }
            | StoreError::BadCursor
            | StoreError::BadLimit { limit: _, max: _ }
            | StoreError::Damaged { id: _, reason: _ }
            | StoreError::Database(_)
            | StoreError::Internal(_) => {
                let text = error.to_string();
                Self::disk(text.contains("disk is full"), text)
            }
        }
    }
}

impl From<EngineError> for StageError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Cancelled | EngineError::ShuttingDown => StageError::Cancelled,
            EngineError::Internal(cause) => Self::internal(&cause),
            error @ (EngineError::Overloaded { capacity: _ }
            | EngineError::TooLong { tokens: _, max: _ }
            | EngineError::ContextExceeded { tokens: _, max_tokens: _, max: _ }
            | EngineError::CacheTooSmall { tokens: _, max_tokens: _, needed_mib: _, budget_mib: _ }
            | EngineError::UnknownToken { id: _, vocab: _ }
            | EngineError::UnknownModel { id: _ }
            | EngineError::NameTaken { id: _ }
            | EngineError::AdapterInUse { id: _, role: _ }
            | EngineError::NotAnAdapter { id: _ }
            | EngineError::Load(_)
            | EngineError::Text(_)
            | EngineError::NonFinite { role: _, position: _ }
            | EngineError::NonFiniteDraw { model: _, tokens: _ }) => Self::failed("engine_failed", error.to_string()),
        }
    }
}

impl From<TrainError> for StageError {
    fn from(error: TrainError) -> Self {
        let text = error.to_string();
        match error {
            TrainError::Cancelled => StageError::Cancelled,
            TrainError::Diverged { step: _, rows: _, what: _, last_checkpoint: _ } => Self::failed("diverged", text),
            TrainError::NoExamples => Self::failed("no_rows", text),
            TrainError::Invalid { param, message } => Self::failed("invalid_value", format!("{param}: {message}")),
            TrainError::Checkpoint { path, reason: _ } => {
                tracing::error!(path = %path.display(), "a job's checkpoint cannot be used");
                Self::failed("checkpoint_mismatch", text)
            }
            // The layer below has the system's text only; ENOSPC reads so on every Unix.
            TrainError::Disk { path, reason } => Self::file(&path, &reason, reason.contains("No space left")),
            TrainError::Engine(error) => error.into(),
            TrainError::Internal(cause) => Self::internal(&cause),
        }
    }
}

impl StageError {
    /// A defect of ours: the log has its cause, the record does not.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a job failed");
        Self::failed("internal_error", "an internal error occurred; the server's log has its cause")
    }
}

impl From<JobsError> for StageError {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Store(error) => error.into(),
            JobsError::Engine(error) => error.into(),
            JobsError::Internal(cause) => Self::internal(&cause),
            error @ (JobsError::Config(_)
            | JobsError::Invalid { param: _, message: _ }
            | JobsError::Line { line: _, message: _ }
            | JobsError::NotFound { what: _, id: _ }
            | JobsError::Conflict { id: _, state: _, wanted: _ }
            | JobsError::Upload(_)
            | JobsError::Analysis(_)) => Self::failed("invalid_value", error.to_string()),
        }
    }
}
