//! The use cases: score trajectories, roll out from their tokens, search them, complete prompts, keep and find traces, manage
//! models and roles.
//!
//! This room puts the engine, the store and the domain's rules together. It knows neither HTTP nor tensors.

mod admission;
mod completions;
mod error;
mod export;
mod follow;
mod ids;
mod import;
mod models;
mod rollouts;
mod runs;
mod score;
mod search;
mod source;
mod text;
mod traces;

#[cfg(test)]
mod fixture;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use completions::{
    Choice, CompletionEvent, CompletionInput, CompletionRun, CompletionToken, CompletionUsage, LikelyToken,
    MAX_CHOICES, MAX_LOGPROBS, MAX_PROMPTS, MAX_SAMPLES, Piece, TokenLimit, collect,
};
pub use error::{AnalysisError, RecordKind};
pub use export::{Export, ExportFormat};
pub use import::{ImportError, ImportReport, MAX_IMPORT_ERRORS, MAX_IMPORT_LINE};
pub use rollouts::{RolloutEvent, RolloutEvents, RolloutInput};
pub use runs::{RunEvent, RunEvents, Runs};
pub use score::{MAX_BETA, MAX_TOP, MAX_WATCHED, ScoreInput};
pub use search::{SearchEvent, SearchEvents, SearchInput, SearchSoFar, SearchSummary};
pub use source::RolloutSource;
pub use text::{TokenizeInput, Tokenized};

pub(crate) use admission::{Place, placed};
pub(crate) use follow::{Look, Source, follow};
pub(crate) use ids::Ids;
pub(crate) use models::check_adapter_id;

pub use crate::engine::text::{ChatMessage, PromptInput, ResponseInput};
pub use crate::engine::{EngineError, GenerationState, QueueState};
pub use crate::store::{
    Page, RunFilter, RunPage, StoreError, TraceFilter, TraceOrder, TracePage, TraceQuery, TraceSort,
};

use crate::engine::Engine;
use crate::store::Store;

/// The use cases over one engine and one store. Cheap to clone.
#[derive(Clone)]
pub struct Analysis {
    engine: Arc<dyn Engine>,
    store: Store,
    /// The folder that adapters may be loaded from; `None` forbids loading.
    adapters: Option<PathBuf>,
    ids: Arc<ids::Ids>,
}

impl Analysis {
    /// `adapters_dir` is the only folder that adapters are loaded from while serving; `None` forbids loading.
    pub fn new(engine: Arc<dyn Engine>, store: Store, adapters_dir: Option<PathBuf>) -> Self {
        Analysis { engine, store, adapters: adapters_dir, ids: Arc::default() }
    }

    /// Fails unless the store answers. The models are loaded before there is an `Analysis`.
    pub async fn ready(&self) -> Result<(), AnalysisError> {
        Ok(self.store.ping().await?)
    }

    /// How full the engine's queue is.
    pub fn queue(&self) -> QueueState {
        self.engine.queue()
    }

    /// What the engine is drawing, and what that holds.
    pub fn generating(&self) -> GenerationState {
        self.engine.generating()
    }
}

/// Runs what would hold up other requests on a thread of its own.
async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AnalysisError> + Send + 'static,
) -> Result<T, AnalysisError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(AnalysisError::Internal(error.to_string())))
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
