//! `POST /v1/searches`, answered whole or as events, and `GET /v1/searches/{id}`.
//!
//! The handler, or the stream that it answers with, is the work itself: when the client goes away it is dropped, and
//! with it what the engine still had to draw.

use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::dto_runs::Run;
use super::dto_search_request::SearchRequest;
use super::dto_searches::{SearchDto, SearchEventDto};
use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, PathPart, Ready, ReadyRuns};
use super::runs::{accepted, not_both};
use super::sse;
use crate::analysis::SearchInput;

/// Search for the critical token
///
/// Lets the model complete the response from after its tokens, grades the completions, and finds the first token after
/// which none is right and hope never comes back. With `stream` the answer is server-sent events, each a `SearchEvent`,
/// and `[DONE]`. With `background` it is a run, which goes on by itself.
#[utoipa::path(
    post, path = "/v1/searches", tag = "searches", security(("api_key" = [])),
    request_body = SearchRequest,
    responses(
        (status = 200, description = "The search, or its events as they happen", content(
            (SearchDto = "application/json"), (SearchEventDto = "text/event-stream")
        )),
        (status = 202, description = "The run in the background, which `Location` names", body = Run,
         headers(("location" = String, description = "The run's path"))),
        (status = 404, description = "No trace or no model has this name", body = ErrorBody),
        (status = 429, description = "The queue is full; ask again after `Retry-After` seconds", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn search(
    Ready(analysis): Ready,
    ReadyRuns(runs): ReadyRuns,
    Json(request): Json<SearchRequest>,
) -> Result<Response, ApiError> {
    let (stream, background) = (request.stream, request.background);
    not_both(stream, background)?;
    let input = SearchInput::try_from(request)?;
    if background {
        return Ok(accepted(runs.search(input).await?));
    }
    if !stream {
        return Ok(axum::Json(SearchDto::from(analysis.finished_search(input).await?)).into_response());
    }
    let events = analysis.search(input).await?;
    Ok(sse::events(events.map(|event| event.map(SearchEventDto::from).map_err(ApiError::from))))
}

/// Get a stored search
#[utoipa::path(
    get, path = "/v1/searches/{id}", tag = "searches", security(("api_key" = [])),
    params(("id" = String, Path, description = "The search's id")),
    responses(
        (status = 200, description = "The search", body = SearchDto),
        (status = 404, description = "No stored search has this id", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn get_search(
    Ready(analysis): Ready,
    PathPart(id): PathPart,
) -> Result<axum::Json<SearchDto>, ApiError> {
    Ok(axum::Json(analysis.stored_search(&id).await?.into()))
}
