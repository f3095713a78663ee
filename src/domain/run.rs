//! Runs: rollouts and searches that go on by themselves, whoever looks.

use serde::{Deserialize, Serialize};

/// What a run draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    Rollouts,
    Search,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    Running,
    Succeeded,
    Failed,
    /// Somebody ended it. What was drawn until then is stored.
    Cancelled,
}

impl RunState {
    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
        }
    }
}

/// A run, and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// That of the rollouts or the search that it makes.
    pub id: String,
    pub kind: RunKind,
    pub trace_id: String,
    pub state: RunState,
    /// Unix seconds.
    pub created: i64,
    pub finished: Option<i64>,
    /// The model that draws, as the request named it.
    pub model: String,
    /// Where tokens are forced; `None` for a search.
    pub position: Option<usize>,
    /// How many rollouts each alternative gets, for each time it is drawn if it is drawn; at each position of a search at
    /// most so many.
    pub samples: usize,
    /// How many the response's own token gets; `None` for a search.
    pub original_samples: Option<usize>,
    pub error: Option<RunFailure>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFailure {
    pub code: String,
    /// Fit for the client.
    pub message: String,
}
