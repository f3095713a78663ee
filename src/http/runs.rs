//! `/v1/runs`: rollouts and searches in the background. They are begun by `POST /v1/rollouts` and `POST /v1/searches`.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

use super::dto_runs::{Run, RunEventDto, RunList, RunStateDto};
use super::error::{ApiError, CommonErrors, ErrorBody};
use super::extract::{PathPart, Query, ReadyRuns};
use super::sse;
use crate::analysis::{Page, RunFilter};
use crate::domain::run::RunRecord;

/// Which runs to list; every filter that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunQuery {
    /// The trace that they draw from.
    trace_id: Option<String>,
    state: Option<RunStateDto>,
    /// Longest page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The answer to what begins a run.
pub(super) fn accepted(run: RunRecord) -> Response {
    let location = [(header::LOCATION, format!("/v1/runs/{}", run.id))];
    (StatusCode::ACCEPTED, location, axum::Json(Run::from(run))).into_response()
}

/// A run is answered at once, and a stream is not.
pub(super) fn not_both(stream: bool, background: bool) -> Result<(), ApiError> {
    match stream && background {
        true => Err(ApiError::invalid("background", "conflicting_fields", "background does not go with stream")),
        false => Ok(()),
    }
}

/// List the runs
#[utoipa::path(
    get, path = "/v1/runs", tag = "runs", security(("api_key" = [])), params(RunQuery),
    responses(
        (status = 200, description = "A page of runs, newest first", body = RunList),
        (status = 422, description = "A filter is unknown or invalid", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn list_runs(
    ReadyRuns(runs): ReadyRuns,
    Query(RunQuery { trace_id, state, limit, cursor }): Query<RunQuery>,
) -> Result<axum::Json<RunList>, ApiError> {
    let filter = RunFilter { trace_id, state: state.map(RunStateDto::into) };
    let page = Page { limit: limit.unwrap_or(Page::DEFAULT), cursor };
    Ok(axum::Json(runs.list(&filter, &page).await?.into()))
}

/// Get a run
#[utoipa::path(
    get, path = "/v1/runs/{id}", tag = "runs", security(("api_key" = [])),
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The run", body = Run),
        (status = 404, description = "No run has this id", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn get_run(ReadyRuns(runs): ReadyRuns, PathPart(id): PathPart) -> Result<axum::Json<Run>, ApiError> {
    Ok(axum::Json(runs.get(&id).await?.into()))
}

/// Cancel a run
///
/// It ends within a step of drawing: its events tell when. What was drawn until then is stored.
#[utoipa::path(
    post, path = "/v1/runs/{id}/cancel", tag = "runs", security(("api_key" = [])),
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The run as it is now", body = Run),
        (status = 404, description = "No run has this id", body = ErrorBody),
        (status = 409, description = "The run is over", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn cancel_run(
    ReadyRuns(runs): ReadyRuns,
    PathPart(id): PathPart,
) -> Result<axum::Json<Run>, ApiError> {
    Ok(axum::Json(runs.cancel(&id).await?.into()))
}

/// Follow a run
///
/// Server-sent events: those that happened, then those that happen, and `[DONE]` when the run is over. With the
/// `Last-Event-ID` header, only those after it. Once a run is over, its end alone is told.
#[utoipa::path(
    get, path = "/v1/runs/{id}/events", tag = "runs", security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "The run's id"),
        ("last-event-id" = Option<i64>, Header, description = "The `id` of the last event that was seen")
    ),
    responses(
        (status = 200, description = "The run's events", content((RunEventDto = "text/event-stream"))),
        (status = 404, description = "No run has this id", body = ErrorBody),
        (status = 422, description = "`Last-Event-ID` is no event's", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn run_events(
    ReadyRuns(runs): ReadyRuns,
    PathPart(id): PathPart,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let events = runs.events(&id, sse::last_seen(&headers)?).await?;
    let events = events.map(|event| event.map(|(seq, event)| (seq, RunEventDto::from(event))).map_err(ApiError::from));
    Ok(sse::numbered(events))
}
