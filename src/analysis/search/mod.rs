//! Search a wrong response for its critical token by rollouts, definition (1).
//!
//! What to draw next is [`crate::domain::search`]'s choice. This file checks a request; [`subject`] finds what is known of
//! the trajectory before anything is drawn, and [`run`] draws, grades and stores.

mod run;
mod subject;

use futures::StreamExt;
use futures::stream::BoxStream;

use serde::{Deserialize, Serialize};

use super::runs::Conduct;
use super::{Analysis, AnalysisError, RecordKind, RolloutSource};
use crate::domain::model::ModelRef;
use crate::domain::rollout::PlanError;
use crate::domain::search::{DrawnAfter, PositionOutcome, SearchProgress, SearchRecord, SearchSettings, SearchUsage};

/// A request for a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchInput {
    pub source: RolloutSource,
    /// The reference answer; `None` takes the trace's.
    pub answer: Option<String>,
    /// The model that rollouts are drawn from: its id, or the name of a role.
    pub model: String,
    pub settings: SearchSettings,
    /// Whether `max_tokens` is lowered to what the model's context leaves: a default should not be refused.
    pub fit_context: bool,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSummary {
    /// The round that begins, from 1 on.
    pub round: usize,
    /// The positions that it draws after.
    pub drawing: Vec<usize>,
    pub progress: SearchProgress,
    /// What another process needs to go on from here.
    pub so_far: SearchSoFar,
}

/// A search between two rounds: all that was drawn, and what that cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSoFar {
    /// The model that drew.
    pub model: ModelRef,
    pub drawn: Vec<DrawnAfter>,
    pub usage: SearchUsage,
}

/// Events of one search; dropping them stops the engine's work, and nothing is stored then. An error is the last.
pub type SearchEvents = BoxStream<'static, Result<SearchEvent, AnalysisError>>;

impl Analysis {
    /// Begins a search. What can be refused is refused here, before any event.
    pub async fn search(&self, input: SearchInput) -> Result<SearchEvents, AnalysisError> {
        self.conducted_search(input, Conduct::default()).await
    }

    /// As [`Analysis::search`], under somebody's conduct.
    pub(super) async fn conducted_search(
        &self,
        input: SearchInput,
        conduct: Conduct<SearchSoFar>,
    ) -> Result<SearchEvents, AnalysisError> {
        let SearchInput { source, answer, model, mut settings, fit_context, save } = input;
        settings.check().map_err(|PlanError { field, message }| AnalysisError::invalid(field, message))?;
        let model = self.model_named(&model)?.reference();
        let located = self.located(source, answer).await?;
        if fit_context {
            let longest = located.prompt.len() + located.response.len();
            settings.sampling.max_tokens = self.fitting(&model, longest, settings.sampling.max_tokens);
        }
        let subject = self.subject(located, &model, &settings, conduct.place).await?;
        run::begin(self.clone(), run::Order { subject, model, settings, save }, conduct).await
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
