//! Runs in the background on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dto_rollouts::RolloutEventDto;
use super::dto_searches::SearchEventDto;
use crate::analysis::{RunEvent, RunPage};
use crate::domain::run::{RunFailure, RunKind, RunRecord, RunState};

/// Rollouts or a search that go on by themselves.
#[derive(Serialize, ToSchema)]
pub(super) struct Run {
    /// That of the rollouts or the search that it makes: once it is over, they are found by it.
    #[schema(example = "roll_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    pub(super) id: String,
    #[schema(example = "run")]
    object: &'static str,
    kind: RunKindDto,
    trace_id: String,
    state: RunStateDto,
    /// Unix seconds.
    created: i64,
    finished: Option<i64>,
    /// The model that draws, as the request named it.
    model: String,
    /// Where tokens are forced; null for a search.
    position: Option<usize>,
    /// Rollouts of each alternative, for each time it is drawn if it is drawn; at each position of a search at most so many.
    samples: usize,
    /// Rollouts of the response's own token; null for a search.
    original_samples: Option<usize>,
    error: Option<RunErrorDto>,
}

/// What a run draws.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RunKind)]
enum RunKindDto {
    Rollouts,
    Search,
}

/// Where a run is. One that was cancelled has stored what was drawn until then.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RunState)]
pub(super) enum RunStateDto {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// Why a run failed.
#[derive(Serialize, ToSchema)]
#[schema(as = RunError)]
struct RunErrorDto {
    code: String,
    message: String,
}

/// A page of runs, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct RunList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<Run>,
    has_more: bool,
    /// For `cursor`; null on the last page.
    next_cursor: Option<String>,
}

/// Something that happened to a run: what the stream of rollouts or of a search tells, and the states of the run. After a
/// restart of the server an event may come a second time.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = RunEvent)]
pub(super) enum RunEventDto {
    Rollouts(Box<RolloutEventDto>),
    Search(Box<SearchEventDto>),
    State(RunStateEvent),
}

/// The run is in another state.
#[derive(Serialize, ToSchema)]
pub(super) struct RunStateEvent {
    #[schema(example = "state")]
    event: &'static str,
    state: RunStateDto,
    error: Option<RunErrorDto>,
}

impl From<RunRecord> for Run {
    fn from(run: RunRecord) -> Self {
        let RunRecord {
            id,
            kind,
            trace_id,
            state,
            created,
            finished,
            model,
            position,
            samples,
            original_samples,
            error,
        } = run;
        let kind = match kind {
            RunKind::Rollouts => RunKindDto::Rollouts,
            RunKind::Search => RunKindDto::Search,
        };
        let (state, error) = (state.into(), error.map(RunErrorDto::from));
        Self {
            id,
            object: "run",
            kind,
            trace_id,
            state,
            created,
            finished,
            model,
            position,
            samples,
            original_samples,
            error,
        }
    }
}

impl From<RunPage> for RunList {
    fn from(RunPage { runs, has_more, next_cursor }: RunPage) -> Self {
        Self { object: "list", data: runs.into_iter().map(Run::from).collect(), has_more, next_cursor }
    }
}

impl From<RunEvent> for RunEventDto {
    fn from(event: RunEvent) -> Self {
        match event {
            RunEvent::Rollouts(event) => Self::Rollouts(Box::new(event.into())),
            RunEvent::Search(event) => Self::Search(Box::new(event.into())),
            RunEvent::State { state, error } => {
                let (state, error) = (state.into(), error.map(RunErrorDto::from));
                Self::State(RunStateEvent { event: "state", state, error })
            }
        }
    }
}

impl From<RunFailure> for RunErrorDto {
    fn from(RunFailure { code, message }: RunFailure) -> Self {
        Self { code, message }
    }
}

impl From<RunState> for RunStateDto {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Running => Self::Running,
            RunState::Succeeded => Self::Succeeded,
            RunState::Failed => Self::Failed,
            RunState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<RunStateDto> for RunState {
    fn from(state: RunStateDto) -> Self {
        match state {
            RunStateDto::Running => Self::Running,
            RunStateDto::Succeeded => Self::Succeeded,
            RunStateDto::Failed => Self::Failed,
            RunStateDto::Cancelled => Self::Cancelled,
        }
    }
}
