//! Search a wrong response for its critical token by rollouts, definition (1).
//!
//! What to draw next is [`crate::domain::search`]'s choice. This file checks a request; [`subject`] finds what is known of
//! the trajectory before anything is drawn, and [`run`] draws, grades and stores.

mod run;
mod subject;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Analysis, AnalysisError, RecordKind, RolloutSource};
use crate::domain::rollout::PlanError;
use crate::domain::search::{PositionOutcome, SearchProgress, SearchRecord, SearchSettings};

/// A request for a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchInput {
    pub source: RolloutSource,
    /// The reference answer; `None` takes the trace's.
    pub answer: Option<String>,
    /// The model that rollouts are drawn from: its id, or the name of a role.
    pub model: String,
    pub settings: SearchSettings,
    /// Whether the search is stored with its trace. Without a trace it is not stored.
    pub save: bool,
}

/// What happens in a search: before each round a summary, positions as their samples are graded, and the whole at the
/// end.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchEvent {
    Summary(SearchSummary),
    /// How a position stands.
    Position(PositionOutcome),
    /// The whole search. It is stored by now.
    Done(Box<SearchRecord>),
}

/// How a search stands before a round.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSummary {
    /// The round that begins, from 1 on.
    pub round: usize,
    /// The positions that it draws after.
    pub drawing: Vec<usize>,
    pub progress: SearchProgress,
}

/// Events of one search; dropping them stops the engine's work, and nothing is stored then. An error is the last.
pub type SearchEvents = BoxStream<'static, Result<SearchEvent, AnalysisError>>;

impl Analysis {
    /// Begins a search. What can be refused is refused here, before any event.
    pub async fn search(&self, input: SearchInput) -> Result<SearchEvents, AnalysisError> {
        let SearchInput { source, answer, model, settings, save } = input;
        settings.check().map_err(|PlanError { field, message }| AnalysisError::invalid(field, message))?;
        let model = self.model_named(&model)?.reference();
        let located = self.located(source, answer).await?;
        let subject = self.subject(located, &model, &settings).await?;
        run::begin(self.clone(), run::Order { subject, model, settings, save }).await
    }

    /// Searches to the end.
    pub async fn finished_search(&self, input: SearchInput) -> Result<SearchRecord, AnalysisError> {
        let mut events = self.search(input).await?;
        while let Some(event) = events.next().await {
            if let SearchEvent::Done(search) = event? {
                return Ok(*search);
            }
        }
        Err(AnalysisError::Internal("a search ended without a result".to_owned()))
    }

    /// A stored search.
    pub async fn stored_search(&self, id: &str) -> Result<SearchRecord, AnalysisError> {
        let found = self.store.attachment(id).await?;
        found.ok_or_else(|| AnalysisError::NotFound { kind: RecordKind::Search, id: id.to_owned() })
    }
}
