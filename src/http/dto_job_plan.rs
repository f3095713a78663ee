//! A dry run's report on the wire.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::dto_jobs::{JobDataset, JobKindDto};
use super::dto_trace::ModelRefDto;
use crate::jobs::{DropReason, DroppedRow, DryRun, PlannedStage};

/// What a job would do.
#[derive(Serialize, ToSchema)]
#[schema(as = JobPlan)]
pub(super) struct JobPlanDto {
    #[schema(example = "job_plan")]
    object: &'static str,
    kind: JobKindDto,
    /// Complete: what the request left out is filled in.
    #[schema(value_type = Object)]
    config: Value,
    base_model: ModelRefDto,
    dataset: JobDataset,
    eval_dataset: Option<JobDataset>,
    stages: Vec<PlannedStageDto>,
    /// Every row that would not be used.
    dropped: Vec<DroppedRowDto>,
}

/// What a stage would do. The numbers are null where the stages before it make its rows.
#[derive(Serialize, ToSchema)]
#[schema(as = PlannedStage)]
struct PlannedStageDto {
    #[schema(example = "sft-positive")]
    name: &'static str,
    /// Rows that would be used.
    rows: Option<u64>,
    /// Optimizer steps of training; else rows.
    steps: Option<u64>,
    /// Tokens of these rows, each read once.
    tokens: Option<u64>,
}

/// A row that would not be used.
#[derive(Serialize, ToSchema)]
#[schema(as = DroppedRow)]
struct DroppedRowDto {
    stage: String,
    /// Of the data set, counted from 1.
    line: usize,
    reason: DropReasonDto,
    detail: String,
}

/// Why a row would not be used.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DropReason)]
enum DropReasonDto {
    PromptTooLong,
    TooLong,
    NotTokenizable,
    WeightsMismatch,
    OtherVerdict,
    NoVerdict,
}

impl From<DryRun> for JobPlanDto {
    fn from(run: DryRun) -> Self {
        let DryRun { kind, config, base_model, dataset, eval_dataset, stages, dropped } = run;
        Self {
            object: "job_plan",
            kind: kind.into(),
            config,
            base_model: base_model.into(),
            dataset: dataset.into(),
            eval_dataset: eval_dataset.map(JobDataset::from),
            stages: stages.into_iter().map(PlannedStageDto::from).collect(),
            dropped: dropped.into_iter().map(DroppedRowDto::from).collect(),
        }
    }
}

impl From<PlannedStage> for PlannedStageDto {
    fn from(PlannedStage { name, rows, steps, tokens }: PlannedStage) -> Self {
        Self { name, rows, steps, tokens }
    }
}

impl From<DroppedRow> for DroppedRowDto {
    fn from(DroppedRow { stage, line, reason, detail }: DroppedRow) -> Self {
        let reason = match reason {
            DropReason::PromptTooLong => DropReasonDto::PromptTooLong,
            DropReason::TooLong => DropReasonDto::TooLong,
            DropReason::NotTokenizable => DropReasonDto::NotTokenizable,
            DropReason::WeightsMismatch => DropReasonDto::WeightsMismatch,
            DropReason::OtherVerdict => DropReasonDto::OtherVerdict,
            DropReason::NoVerdict => DropReasonDto::NoVerdict,
        };
        Self { stage, line, reason, detail }
    }
}
