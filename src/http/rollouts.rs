//! `POST /v1/rollouts`, answered whole or as events, and `GET /v1/rollouts/{id}`.
//!
//! The handler, or the stream that it answers with, is the work itself: when the client goes away it is dropped, and
//! with it what the engine still had to draw.

use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::dto_rollout_request::RolloutsRequest;
use super::dto_rollouts::{RolloutEventDto, RolloutsDto};
use super::dto_runs::Run;
use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, PathPart, Ready, ReadyRuns};
use super::runs::{accepted, not_both};
use super::sse;
use crate::analysis::RolloutInput;

/// Roll out from a token and from others in its place
///
/// Forces each alternative where the response has its own token, lets the model complete the response from there, and
/// grades the completions. With `stream` the answer is server-sent events, each a `RolloutEvent`, and `[DONE]`. With
/// `background` it is a run, which goes on by itself.
#[utoipa::path(
    post, path = "/v1/rollouts", tag = "rollouts", security(("api_key" = [])),
    request_body = RolloutsRequest,
    responses(
        (status = 200, description = "The rollouts, or their events as they happen", content(
            (RolloutsDto = "application/json"), (RolloutEventDto = "text/event-stream")
        )),
        (status = 202, description = "The run in the background, which `Location` names", body = Run,
         headers(("location" = String, description = "The run's path"))),
        (status = 404, description = "No trace or no model has this name", body = ErrorBody),
        (status = 429, description = "The queue is full; ask again after `Retry-After` seconds", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn roll_out(
    Ready(analysis): Ready,
    ReadyRuns(runs): ReadyRuns,
    Json(request): Json<RolloutsRequest>,
) -> Result<Response, ApiError> {
    let (stream, background) = (request.stream, request.background);
    not_both(stream, background)?;
    let input = RolloutInput::try_from(request)?;
    if background {
        return Ok(accepted(runs.roll_out(input).await?));
    }
    if !stream {
        return Ok(axum::Json(RolloutsDto::from(analysis.finished_rollouts(input).await?)).into_response());
    }
    let events = analysis.rollouts(input).await?;
    Ok(sse::events(events.map(|event| event.map(RolloutEventDto::from).map_err(ApiError::from))))
}

/// Get stored rollouts
#[utoipa::path(
    get, path = "/v1/rollouts/{id}", tag = "rollouts", security(("api_key" = [])),
    params(("id" = String, Path, description = "The rollouts' id")),
    responses(
        (status = 200, description = "The rollouts", body = RolloutsDto),
        (status = 404, description = "No stored rollouts have this id", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn get_rollouts(
    Ready(analysis): Ready,
    PathPart(id): PathPart,
) -> Result<axum::Json<RolloutsDto>, ApiError> {
    Ok(axum::Json(analysis.stored_rollouts(&id).await?.into()))
}
