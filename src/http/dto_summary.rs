//! A row of the list of traces, as the API shows it.

use serde::Serialize;
use utoipa::ToSchema;

use super::dto_trace::{PerModelRef, UsageDto, VerdictStatusDto};
use crate::domain::summary::TraceSummary;

/// What a list shows of a trace.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TraceSummary)]
pub(super) struct TraceSummaryDto {
    #[schema(example = "trace_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    id: String,
    /// Unix seconds.
    created: i64,
    models: PerModelRef,
    /// Begins at the prompt's last question.
    prompt_excerpt: String,
    response_excerpt: String,
    /// Null without a reference answer.
    verdict: Option<VerdictStatusDto>,
    critical_count: usize,
    /// The first critical positions.
    critical: Vec<usize>,
    /// The lowest s_t; null without scores.
    min_score: Option<f64>,
    /// s_t along the response in equal stretches, of each the lowest; empty without scores.
    sparkline: Vec<Option<f64>>,
    tags: Vec<String>,
    usage: UsageDto,
}

impl From<TraceSummary> for TraceSummaryDto {
    fn from(summary: TraceSummary) -> Self {
        let TraceSummary {
            id,
            created,
            models,
            prompt_excerpt,
            response_excerpt,
            verdict,
            critical_count,
            critical,
            min_score,
            sparkline,
            tags,
            usage,
        } = summary;
        Self {
            id,
            created,
            models: models.into(),
            prompt_excerpt,
            response_excerpt,
            verdict: verdict.map(VerdictStatusDto::from),
            critical_count,
            critical,
            min_score,
            sparkline,
            tags,
            usage: usage.into(),
        }
    }
}
