//! `/v1/traces`: list, get, delete, export and import of stored analyses.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::dto_summary::TraceSummaryDto;
use super::dto_trace::{TraceDto, VerdictStatusDto};
use super::error::{ApiError, CommonErrors, ErrorBody};
use super::extract::{PathPart, Query, Ready};
use super::models::Deleted;
use super::upload::{bounded, broken_off, require_json_lines};
use crate::analysis::{
    AnalysisError, Export, ExportFormat, ImportReport, Page, TraceFilter, TraceOrder, TracePage, TraceQuery, TraceSort,
};

/// Longest import. It is read as a stream, so this bounds time and disk, not memory.
const MAX_IMPORT_BYTES: usize = 1 << 30;

/// Which traces to list; every filter that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The verdict's status.
    verdict: Option<VerdictStatusDto>,
    /// A model's name, in any role.
    model: Option<String>,
    /// A text in the prompt or the response, upper and lower case alike.
    q: Option<String>,
    /// Whether there is a critical token.
    has_critical: Option<bool>,
    /// One of the trace's labels.
    tag: Option<String>,
    /// Unix seconds: made then or later.
    created_after: Option<i64>,
    /// Unix seconds: made before then.
    created_before: Option<i64>,
    /// What to order by. Equals come newest first, and traces without scores last.
    #[serde(default)]
    #[param(inline)]
    sort: SortName,
    #[param(inline)]
    #[serde(default)]
    order: OrderName,
    /// How many of the first ones to leave out; not with a cursor.
    offset: Option<usize>,
    /// Longest page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SortName {
    #[default]
    Created,
    /// The lowest s_t of the trace.
    MinScore,
    CriticalCount,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OrderName {
    #[default]
    Desc,
    Asc,
}

/// A page of traces.
#[derive(Serialize, ToSchema)]
pub(super) struct TraceList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<TraceSummaryDto>,
    /// Traces that pass the filters, on all pages.
    total: u64,
    has_more: bool,
    /// For `cursor`; null on the last page.
    next_cursor: Option<String>,
}

/// The kind of file that an export makes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `jsonl` can be imported again, `csv` has a row a token, `html` is one self-contained page.
    #[serde(default)]
    #[param(inline)]
    format: FormatName,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    #[default]
    Jsonl,
    Csv,
    Html,
}

/// What an import did.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportReport)]
pub(super) struct ImportAnswer {
    /// Traces stored now.
    imported: usize,
    /// Traces that were stored already, exactly so.
    unchanged: usize,
    /// The ids of both, in the order of the lines.
    ids: Vec<String>,
    /// Lines that were refused. After 100 of them the rest is not read, which the last one says.
    errors: Vec<ImportLineError>,
}

/// A line that was refused.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportLineError)]
struct ImportLineError {
    /// Counted from 1.
    line: usize,
    message: String,
}

/// List traces
#[utoipa::path(
    get, path = "/v1/traces", tag = "traces", security(("api_key" = [])), params(ListQuery),
    responses(
        (status = 200, description = "A page of traces, newest first unless asked otherwise", body = TraceList),
        (status = 422, description = "A filter is unknown or invalid", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn list_traces(
    Ready(analysis): Ready,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<TraceList>, ApiError> {
    let (query, page) = query.parts()?;
    let TracePage { summaries, total, has_more, next_cursor } = analysis.traces(query, page).await?;
    let data = summaries.into_iter().map(TraceSummaryDto::from).collect();
    Ok(axum::Json(TraceList { object: "list", data, total, has_more, next_cursor }))
}

/// Get a trace
#[utoipa::path(
    get, path = "/v1/traces/{id}", tag = "traces", security(("api_key" = [])),
    params(("id" = String, Path, description = "The trace's id")),
    responses(
        (status = 200, description = "The trace", body = TraceDto),
        (status = 404, description = "No trace has this id", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn get_trace(
    Ready(analysis): Ready,
    PathPart(id): PathPart,
) -> Result<axum::Json<TraceDto>, ApiError> {
    Ok(axum::Json(analysis.trace(&id).await?.into()))
}

/// Delete a trace
#[utoipa::path(
    delete, path = "/v1/traces/{id}", tag = "traces", security(("api_key" = [])),
    params(("id" = String, Path, description = "The trace's id")),
    responses(
        (status = 200, description = "The trace is gone", body = Deleted),
        (status = 404, description = "No trace has this id", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn delete_trace(
    Ready(analysis): Ready,
    PathPart(id): PathPart,
) -> Result<axum::Json<Deleted>, ApiError> {
    analysis.delete_trace(&id).await?;
    Ok(axum::Json(Deleted { id, object: "trace", deleted: true }))
}

/// Export a trace as a file
#[utoipa::path(
    get, path = "/v1/traces/{id}/export", tag = "traces", security(("api_key" = [])),
    params(("id" = String, Path, description = "The trace's id"), ExportQuery),
    responses(
        (status = 200, description = "The file, as an attachment", content(
            (String = "application/x-ndjson"), (String = "text/csv"), (String = "text/html")
        )),
        (status = 404, description = "No trace has this id", body = ErrorBody),
        (status = 422, description = "The format is unknown", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn export_trace(
    Ready(analysis): Ready,
    PathPart(id): PathPart,
    Query(query): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let Export { content_type, file_name, bytes } = analysis.export(&id, query.format.into()).await?;
    let disposition = format!("attachment; filename=\"{file_name}\"");
    let headers = [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, bytes).into_response())
}

/// Import exported traces
///
/// The body is read as it arrives, line by line. A wrong line is reported and does not stop the others.
#[utoipa::path(
    post, path = "/v1/traces/import", tag = "traces", security(("api_key" = [])),
    request_body(content = String, content_type = "application/x-ndjson", description = "Exported traces, one a line"),
    responses(
        (status = 200, description = "What was stored, and which lines were refused", body = ImportAnswer),
        (status = 400, description = "The upload broke off, or is sent as another content type", body = ErrorBody),
        (status = 413, description = "The upload is longer than 1 GiB", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn import_traces(
    Ready(analysis): Ready,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<ImportAnswer>, ApiError> {
    require_json_lines(&headers)?;
    match analysis.import(bounded(body, MAX_IMPORT_BYTES)).await {
        Ok(report) => Ok(axum::Json(report.into())),
        Err(AnalysisError::Upload(cause)) => Err(broken_off(cause)),
        Err(error) => Err(error.into()),
    }
}

impl ListQuery {
    fn parts(self) -> Result<(TraceQuery, Page), ApiError> {
        let Self { verdict, model, q, has_critical, tag, created_after, created_before, sort, order, .. } = self;
        if self.cursor.is_some() && self.offset.is_some() {
            let message = "offset does not go with cursor: each says where the page begins";
            return Err(ApiError::invalid("offset", "conflicting_fields", message));
        }
        let verdict = verdict.map(VerdictStatusDto::into);
        let filter = TraceFilter { verdict, model, q, has_critical, tag, created_after, created_before };
        let by = match sort {
            SortName::Created => TraceSort::Created,
            SortName::MinScore => TraceSort::MinScore,
            SortName::CriticalCount => TraceSort::CriticalCount,
        };
        let order = TraceOrder { by, ascending: order == OrderName::Asc };
        let page = Page { limit: self.limit.unwrap_or(Page::DEFAULT), cursor: self.cursor };
        Ok((TraceQuery { filter, order, offset: self.offset.unwrap_or_default() }, page))
    }
}

impl From<FormatName> for ExportFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Jsonl => Self::Jsonl,
            FormatName::Csv => Self::Csv,
            FormatName::Html => Self::Html,
        }
    }
}

impl From<ImportReport> for ImportAnswer {
    fn from(report: ImportReport) -> Self {
        let ImportReport { imported, unchanged, ids, errors } = report;
        let errors = errors.into_iter().map(|error| ImportLineError { line: error.line, message: error.message });
        Self { imported, unchanged, ids, errors: errors.collect() }
    }
}
