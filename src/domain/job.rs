//! Offline jobs: what kinds there are, the states that they go through, and the record of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::invariants::is_id;
use super::model::ModelRef;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Draws responses to problems and grades them.
    Sample,
    /// Picks training sets from graded responses.
    Select,
    /// Fine-tunes on responses.
    Sft,
    /// Scores the rejected responses of pairs by equation (3).
    Contrast,
    /// Trains on pairs.
    Preference,
    /// Measures greedy accuracy.
    Evaluate,
    /// All of these in their order.
    Pipeline,
}

impl JobKind {
    pub const ALL: [JobKind; 7] = [
        JobKind::Sample,
        JobKind::Select,
        JobKind::Sft,
        JobKind::Contrast,
        JobKind::Preference,
        JobKind::Evaluate,
        JobKind::Pipeline,
    ];

    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            JobKind::Sample => "sample",
            JobKind::Select => "select",
            JobKind::Sft => "sft",
            JobKind::Contrast => "contrast",
            JobKind::Preference => "preference",
            JobKind::Evaluate => "evaluate",
            JobKind::Pipeline => "pipeline",
        }
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its data sets are being checked.
    ValidatingFiles,
    /// It waits for its turn.
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobState {
    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            JobState::ValidatingFiles => "validating_files",
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to the job by itself.
    pub fn is_over(self) -> bool {
        match self {
            JobState::Succeeded | JobState::Failed | JobState::Cancelled => true,
            JobState::ValidatingFiles | JobState::Queued | JobState::Running => false,
        }
    }

    /// Whether a job may go from this state to `next`. A job that failed or was cancelled may be resumed: it is checked
    /// and queued again.
    pub fn may_become(self, next: JobState) -> bool {
        use self::JobState as S;
        match self {
            S::ValidatingFiles => matches!(next, S::Queued | S::Failed | S::Cancelled),
            S::Queued => matches!(next, S::Running | S::Cancelled),
            S::Running => matches!(next, S::Succeeded | S::Failed | S::Cancelled),
            S::Failed | S::Cancelled => next == S::ValidatingFiles,
            S::Succeeded => false,
        }
    }
}

/// What is known of a job, beside its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRecord {
    pub id: String,
    pub kind: JobKind,
    pub name: Option<String>,
    pub state: JobState,
    pub seed: u64,
    pub base_model: ModelRef,
    pub dataset: DatasetRef,
    pub eval_dataset: Option<DatasetRef>,
    /// The stage that it is in, or was in last.
    pub stage: Option<JobStage>,
    /// Of the stage.
    pub step: Progress,
    /// Unix seconds.
    pub created: i64,
    /// When it first ran.
    pub started: Option<i64>,
    pub finished: Option<i64>,
    /// Time spent running, over all attempts.
    pub elapsed_seconds: f64,
    /// What the stage still takes, going by its speed so far.
    pub remaining_seconds: Option<f64>,
    /// The latest value of each metric.
    pub metrics: BTreeMap<String, f64>,
    /// Rows that are not used, by the reason.
    pub dropped: BTreeMap<String, u64>,
    /// Time that training stood still for requests to be served.
    pub yielded_seconds: f64,
    pub error: Option<JobFailure>,
    /// How often in a row the process that ran it ended, and left nothing new behind.
    #[serde(default)]
    pub interruptions: u32,
}

/// A data set as a job found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetRef {
    pub name: String,
    pub sha256: String,
    pub rows: u64,
}

/// A stage of a job; a job that is no pipeline has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobStage {
    pub name: String,
    /// From 0.
    pub index: usize,
    pub total: usize,
}

/// Steps done of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFailure {
    /// For programs; stable.
    pub code: String,
    /// For people.
    pub message: String,
}

impl JobRecord {
    /// Whether the job can be queued again, to go on from what it has done.
    pub fn resumable(&self) -> bool {
        self.state.may_become(JobState::ValidatingFiles)
    }
}

/// Whether a text has the form of a job's id.
pub fn is_job_id(id: &str) -> bool {
    is_id("job_", id)
}

#[cfg(test)]
mod tests {
    use super::JobState as S;

    #[test]
    fn a_job_goes_forward_and_comes_back_only_by_a_resume() {
        let all = [S::ValidatingFiles, S::Queued, S::Running, S::Succeeded, S::Failed, S::Cancelled];
        let from = |state: S| all.into_iter().filter(|next| state.may_become(*next)).collect::<Vec<_>>();
        assert_eq!(from(S::ValidatingFiles), [S::Queued, S::Failed, S::Cancelled]);
        assert_eq!(from(S::Queued), [S::Running, S::Cancelled]);
        assert_eq!(from(S::Running), [S::Succeeded, S::Failed, S::Cancelled]);
        assert_eq!(from(S::Failed), [S::ValidatingFiles]);
        assert_eq!(from(S::Cancelled), [S::ValidatingFiles]);
        assert_eq!(from(S::Succeeded), []);
        assert!(all.into_iter().filter(|state| state.is_over()).eq([S::Succeeded, S::Failed, S::Cancelled]));
    }
}
