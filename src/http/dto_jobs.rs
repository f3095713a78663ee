//! Jobs on the wire: the request, the record, and the events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::dto_trace::ModelRefDto;
use super::error::ApiError;
use crate::domain::job::{DatasetRef, JobFailure, JobKind, JobRecord, JobStage, JobState, Progress};
use crate::domain::job_event::{JobEvent, JobEventBody, LogLevel, MetricPoint};
use crate::jobs::{Artifact, JobInput, StoredJob};

/// A job to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRequest {
    kind: JobKindDto,
    /// For people, at most 200 characters.
    #[schema(example = "first try", max_length = 200)]
    name: Option<String>,
    /// Settings by TRL's and PEFT's names, those of the kind; what is left out is the published setting.
    #[schema(schema_with = super::dto_job_config::any)]
    config: Value,
    /// Only say what the job would do: every row that would be dropped, with the reason, and the complete settings.
    #[serde(default)]
    #[schema(default = false)]
    pub(super) dry_run: bool,
}

/// What a job does. `sample` and `evaluate` read problems, `select` and `sft` trajectories, `contrast` and `preference`
/// preferences; a `pipeline` reads problems and does all of it.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobKind)]
pub(super) enum JobKindDto {
    Sample,
    Select,
    Sft,
    Contrast,
    Preference,
    Evaluate,
    Pipeline,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobState)]
pub(super) enum JobStateDto {
    ValidatingFiles,
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// A job.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobDto {
    #[schema(example = "job_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    id: String,
    #[schema(example = "job")]
    object: &'static str,
    kind: JobKindDto,
    name: Option<String>,
    state: JobStateDto,
    /// Complete: what the request left out is filled in.
    #[schema(schema_with = super::dto_job_config::any)]
    config: Value,
    seed: u64,
    base_model: ModelRefDto,
    dataset: JobDataset,
    eval_dataset: Option<JobDataset>,
    /// The stage that it is in, or was in last.
    stage: Option<JobStageDto>,
    /// Of the stage.
    step: JobSteps,
    /// Unix seconds.
    created: i64,
    started: Option<i64>,
    finished: Option<i64>,
    /// Time spent running, over all attempts.
    elapsed_seconds: f64,
    /// What the stage still takes, going by its speed so far.
    remaining_seconds: Option<f64>,
    /// The latest value of each metric; in a pipeline by stage, such as `preference/loss`.
    metrics: BTreeMap<String, f64>,
    /// Rows that are not used, by the reason.
    dropped: BTreeMap<String, u64>,
    /// Time that training stood still for requests to be served.
    yielded_seconds: f64,
    error: Option<JobErrorDto>,
    artifacts: Vec<ArtifactDto>,
    /// Whether it can be resumed.
    resumable: bool,
}

/// A data set as the job found it.
#[derive(Serialize, ToSchema)]
pub(super) struct JobDataset {
    name: String,
    sha256: String,
    rows: u64,
}

/// A stage of a job; one that is no pipeline has one.
#[derive(Serialize, ToSchema)]
#[schema(as = JobStage)]
pub(super) struct JobStageDto {
    #[schema(example = "sft-positive")]
    name: String,
    /// From 0.
    index: usize,
    total: usize,
}

/// Steps done of all.
#[derive(Serialize, ToSchema)]
pub(super) struct JobSteps {
    done: u64,
    total: u64,
}

/// Why a job failed.
#[derive(Serialize, ToSchema)]
#[schema(as = JobError)]
pub(super) struct JobErrorDto {
    #[schema(example = "diverged")]
    code: String,
    message: String,
}

/// A file that a job made.
#[derive(Serialize, ToSchema)]
#[schema(as = Artifact)]
pub(super) struct ArtifactDto {
    #[schema(example = "adapter/adapter_model.safetensors")]
    name: String,
    bytes: u64,
}

/// A page of jobs, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct JobList {
    #[schema(example = "list")]
    pub(super) object: &'static str,
    pub(super) data: Vec<JobDto>,
    pub(super) has_more: bool,
    /// For `cursor`; null on the last page.
    pub(super) next_cursor: Option<String>,
}

/// Something that happened to a job. The event's id, for `Last-Event-ID`, is `seq`.
#[derive(Serialize, ToSchema)]
#[schema(as = JobEvent)]
pub(super) struct JobEventDto {
    /// From 1, without gaps.
    pub(super) seq: i64,
    /// Unix seconds.
    created: i64,
    #[serde(flatten)]
    body: JobEventBodyDto,
}

/// What happened.
#[derive(Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
#[schema(as = JobEventBody)]
enum JobEventBodyDto {
    /// The job is in another state.
    State { state: JobStateDto, error: Option<JobErrorDto> },
    /// A line of the log.
    Log { level: LogLevelDto, message: String },
    /// Metrics of a step, by TRL's names.
    Metric { stage: String, step: u64, epoch: Option<f64>, values: BTreeMap<String, f64> },
    /// How far a stage has come.
    Progress { stage: String, done: u64, total: u64 },
}

/// How much a line of the log matters.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LogLevel)]
enum LogLevelDto {
    Info,
    Warning,
}

impl From<JobRequest> for JobInput {
    fn from(request: JobRequest) -> Self {
        let JobRequest { kind, name, config, dry_run: _ } = request;
        JobInput { kind: kind.into(), name, config }
    }
}

impl JobDto {
    pub(super) fn new(job: StoredJob, artifacts: Vec<Artifact>) -> Result<Self, ApiError> {
        let resumable = job.record.resumable();
        let config = serde_json::from_str(&job.config).map_err(|error| ApiError::internal(&error))?;
        let JobRecord {
            id,
            kind,
            name,
            state,
            seed,
            base_model,
            dataset,
            eval_dataset,
            stage,
            step: Progress { done, total },
            created,
            started,
            finished,
            elapsed_seconds,
            remaining_seconds,
            metrics,
            dropped,
            yielded_seconds,
            error,
            interruptions: _,
        } = job.record;
        Ok(Self {
            id,
            object: "job",
            kind: kind.into(),
            name,
            state: state.into(),
            config,
            seed,
            base_model: base_model.into(),
            dataset: dataset.into(),
            eval_dataset: eval_dataset.map(JobDataset::from),
            stage: stage.map(|JobStage { name, index, total }| JobStageDto { name, index, total }),
            step: JobSteps { done, total },
            created,
            started,
            finished,
            elapsed_seconds,
            remaining_seconds,
            metrics,
            dropped,
            yielded_seconds,
            error: error.map(JobErrorDto::from),
            artifacts: artifacts.into_iter().map(ArtifactDto::from).collect(),
            resumable,
        })
    }
}

impl From<DatasetRef> for JobDataset {
    fn from(DatasetRef { name, sha256, rows }: DatasetRef) -> Self {
        Self { name, sha256, rows }
    }
}

impl From<JobFailure> for JobErrorDto {
    fn from(JobFailure { code, message }: JobFailure) -> Self {
        Self { code, message }
    }
}

impl From<Artifact> for ArtifactDto {
    fn from(Artifact { name, bytes }: Artifact) -> Self {
        Self { name, bytes }
    }
}

impl From<JobEvent> for JobEventDto {
    fn from(JobEvent { seq, created, body }: JobEvent) -> Self {
        let body = match body {
            JobEventBody::State { state, error } => {
                JobEventBodyDto::State { state: state.into(), error: error.map(JobErrorDto::from) }
            }
            JobEventBody::Log { level, message } => {
                let level = match level {
                    LogLevel::Info => LogLevelDto::Info,
                    LogLevel::Warning => LogLevelDto::Warning,
                };
                JobEventBodyDto::Log { level, message }
            }
            JobEventBody::Metric(MetricPoint { stage, step, epoch, values }) => {
                JobEventBodyDto::Metric { stage, step, epoch, values }
            }
            JobEventBody::Progress { stage, step: Progress { done, total } } => {
                JobEventBodyDto::Progress { stage, done, total }
            }
        };
        Self { seq, created, body }
    }
}

impl From<JobKindDto> for JobKind {
    fn from(kind: JobKindDto) -> Self {
        match kind {
            JobKindDto::Sample => JobKind::Sample,
            JobKindDto::Select => JobKind::Select,
            JobKindDto::Sft => JobKind::Sft,
            JobKindDto::Contrast => JobKind::Contrast,
            JobKindDto::Preference => JobKind::Preference,
            JobKindDto::Evaluate => JobKind::Evaluate,
            JobKindDto::Pipeline => JobKind::Pipeline,
        }
    }
}

impl From<JobKind> for JobKindDto {
    fn from(kind: JobKind) -> Self {
        match kind {
            JobKind::Sample => Self::Sample,
            JobKind::Select => Self::Select,
            JobKind::Sft => Self::Sft,
            JobKind::Contrast => Self::Contrast,
            JobKind::Preference => Self::Preference,
            JobKind::Evaluate => Self::Evaluate,
            JobKind::Pipeline => Self::Pipeline,
        }
    }
}

impl From<JobStateDto> for JobState {
    fn from(state: JobStateDto) -> Self {
        match state {
            JobStateDto::ValidatingFiles => JobState::ValidatingFiles,
            JobStateDto::Queued => JobState::Queued,
            JobStateDto::Running => JobState::Running,
            JobStateDto::Succeeded => JobState::Succeeded,
            JobStateDto::Failed => JobState::Failed,
            JobStateDto::Cancelled => JobState::Cancelled,
        }
    }
}

impl From<JobState> for JobStateDto {
    fn from(state: JobState) -> Self {
        match state {
            JobState::ValidatingFiles => Self::ValidatingFiles,
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}
