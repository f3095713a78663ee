//! What can happen to a run, and how it is stored.

use serde::{Deserialize, Serialize};

use super::Runs;
use crate::analysis::{AnalysisError, RolloutEvent, SearchEvent, SearchSoFar, SearchSummary};
use crate::domain::rollout::{Rollout, RolloutSet};
use crate::domain::run::{RunFailure, RunKind, RunRecord, RunState};
use crate::domain::search::PositionOutcome;
use crate::store::StoreError;

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    Rollouts(RolloutEvent),
    Search(SearchEvent),
    /// It is over, or goes on in another process.
    State {
        state: RunState,
        error: Option<RunFailure>,
    },
}

/// An event as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stored {
    /// Rollouts but for the rollouts themselves.
    Summary(Box<RolloutSet>),
    Rollout(Box<Rollout>),
    Round(Box<SearchSummary>),
    Position(PositionOutcome),
    /// The record is stored, and not here a second time.
    Done,
    State {
        state: RunState,
        error: Option<RunFailure>,
    },
}

/// What an earlier process has drawn, from its events.
#[derive(Default)]
pub(super) struct SoFar {
    pub(super) rollouts: Option<RolloutSet>,
    pub(super) search: Option<SearchSoFar>,
}

impl From<&RunEvent> for Stored {
    fn from(event: &RunEvent) -> Self {
        match event {
            RunEvent::Rollouts(RolloutEvent::Summary(set)) => Stored::Summary(set.clone()),
            RunEvent::Rollouts(RolloutEvent::Rollout(rollout)) => Stored::Rollout(rollout.clone()),
            RunEvent::Search(SearchEvent::Summary(summary)) => Stored::Round(Box::new(summary.clone())),
            RunEvent::Search(SearchEvent::Position(outcome)) => Stored::Position(*outcome),
            RunEvent::Rollouts(RolloutEvent::Done(_)) | RunEvent::Search(SearchEvent::Done(_)) => Stored::Done,
            RunEvent::State { state, error } => Stored::State { state: *state, error: error.clone() },
        }
    }
}

/// An event's JSON.
pub(super) fn written(event: &RunEvent) -> Result<String, AnalysisError> {
    serde_json::to_string(&Stored::from(event)).map_err(|error| AnalysisError::Internal(error.to_string()))
}

fn read(id: &str, body: &str) -> Result<Stored, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged { id: id.to_owned(), reason: error.to_string() })
}

impl Runs {
    /// A stored event as it happened.
    pub(super) async fn told(&self, run: &RunRecord, body: &str) -> Result<RunEvent, AnalysisError> {
        let analysis = &self.0.analysis;
        Ok(match read(&run.id, body)? {
            Stored::Summary(set) => RunEvent::Rollouts(RolloutEvent::Summary(set)),
            Stored::Rollout(rollout) => RunEvent::Rollouts(RolloutEvent::Rollout(rollout)),
            Stored::Round(summary) => RunEvent::Search(SearchEvent::Summary(*summary)),
            Stored::Position(outcome) => RunEvent::Search(SearchEvent::Position(outcome)),
            Stored::State { state, error } => RunEvent::State { state, error },
            Stored::Done => match run.kind {
                RunKind::Rollouts => {
                    RunEvent::Rollouts(RolloutEvent::Done(Box::new(analysis.stored_rollouts(&run.id).await?)))
                }
                RunKind::Search => {
                    RunEvent::Search(SearchEvent::Done(Box::new(analysis.stored_search(&run.id).await?)))
                }
            },
        })
    }

    /// What the events of a run say was drawn.
    pub(super) async fn so_far(&self, id: &str) -> Result<SoFar, AnalysisError> {
        let mut so_far = SoFar::default();
        let mut rollouts = Vec::new();
        for (_, body) in self.0.analysis.store.run_events(id, 0, usize::MAX).await? {
            match read(id, &body)? {
                Stored::Summary(set) => so_far.rollouts = Some(*set),
                Stored::Rollout(rollout) => rollouts.push(*rollout),
                Stored::Round(summary) => so_far.search = Some(summary.so_far),
                Stored::Position(_) | Stored::Done | Stored::State { .. } => {}
            }
        }
        if let Some(set) = &mut so_far.rollouts {
            set.take_up(rollouts);
        }
        Ok(so_far)
    }
}
