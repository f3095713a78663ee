//! Stored traces: find, read, delete.

use super::{Analysis, AnalysisError, RecordKind};
use crate::domain::trace::Trace;
use crate::store::{Page, TracePage, TraceQuery};

/// Longest text to search for, in characters.
const MAX_QUERY: usize = 500;

impl Analysis {
    /// A page of the stored traces.
    pub async fn traces(&self, query: TraceQuery, page: Page) -> Result<TracePage, AnalysisError> {
        let filter = &query.filter;
        let named = [("q", &filter.q), ("model", &filter.model), ("tag", &filter.tag)];
        for (param, value) in named {
            if value.as_ref().is_some_and(|value| value.chars().count() > MAX_QUERY) {
                return Err(AnalysisError::invalid(param, format!("is longer than {MAX_QUERY} characters")));
            }
        }
        Ok(self.store.traces(&query, &page).await?)
    }

    /// A stored trace.
    pub async fn trace(&self, id: &str) -> Result<Trace, AnalysisError> {
        self.store.trace(id).await?.ok_or_else(|| no_trace(id))
    }

    /// A stored trace without its rollouts and searches, which may be far larger than it.
    pub(super) async fn trace_alone(&self, id: &str) -> Result<Trace, AnalysisError> {
        self.store.trace_alone(id).await?.ok_or_else(|| no_trace(id))
    }

    /// Removes a stored trace.
    pub async fn delete_trace(&self, id: &str) -> Result<(), AnalysisError> {
        if self.store.delete_trace(id).await? { Ok(()) } else { Err(no_trace(id)) }
    }
}

pub(super) fn no_trace(id: &str) -> AnalysisError {
    AnalysisError::NotFound { kind: RecordKind::Trace, id: id.to_owned() }
}
