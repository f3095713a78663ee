//! `POST /v1/rollouts`, answered whole or as events, and `GET /v1/rollouts/{id}`.
//!
//! The handler, or the stream that it answers with, is the work itself: when the client goes away it is dropped, and
//! with it what the engine still had to draw.

use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::dto_rollout_request::RolloutsRequest;
use super::dto_rollouts::{RolloutEventDto, RolloutsDto};
use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, PathPart, Ready};
use super::sse;
use crate::analysis::{AnalysisError, EngineError, RolloutInput};

/// Roll out from a token and from others in its place
///
/// Forces each alternative where the response has its own token, lets the model complete the response from there, and
/// grades the completions. With `stream` the answer is server-sent events, each a `RolloutEvent`, and `[DONE]`.
#[utoipa::path(
    post, path = "/v1/rollouts", tag = "rollouts", security(("api_key" = [])),
    request_body = RolloutsRequest,
    responses(
        (status = 200, description = "The rollouts, or their events as they happen", content(
            (RolloutsDto = "application/json"), (RolloutEventDto = "text/event-stream")
        )),
        (status = 404, description = "No trace or no model has this name", body = ErrorBody),
        (status = 429, description = "The queue is full; ask again after `Retry-After` seconds", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn roll_out(
    Ready(analysis): Ready,
    Json(request): Json<RolloutsRequest>,
) -> Result<Response, ApiError> {
    let names = Names { model: request.model.clone(), asked: request.alternatives.model.clone() };
    let stream = request.stream;
    let input = RolloutInput::try_from(request)?;
    if !stream {
        let set = analysis.finished_rollouts(input).await.map_err(|error| names.refusal(error))?;
        return Ok(axum::Json(RolloutsDto::from(set)).into_response());
    }
    let events = analysis.rollouts(input).await.map_err(|error| names.refusal(error))?;
    Ok(sse::events(events.map(move |event| match event {
        Ok(event) => Ok(RolloutEventDto::from(event)),
        Err(error) => Err(names.refusal(error)),
    })))
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

/// The models that a request names, to say which name is at fault.
struct Names {
    model: String,
    /// The one that is asked for its likeliest tokens.
    asked: Option<String>,
}

impl Names {
    /// The error under this request's names for its fields.
    fn refusal(&self, error: AnalysisError) -> ApiError {
        let param = match &error {
            AnalysisError::Engine(
                EngineError::ContextExceeded { tokens: _, max_tokens: _, max: _ }
                | EngineError::CacheTooSmall { tokens: _, max_tokens: _, needed_mib: _, budget_mib: _ },
            ) => Some("sampling.max_tokens"),
            AnalysisError::Engine(EngineError::UnknownModel { id })
                if *id != self.model && self.asked.as_ref() == Some(id) =>
            {
                Some("alternatives.model")
            }
            AnalysisError::Engine(_)
            | AnalysisError::Store(_)
            | AnalysisError::Invalid { .. }
            | AnalysisError::NotFound { .. }
            | AnalysisError::Upload(_)
            | AnalysisError::Internal(_) => None,
        };
        let error = ApiError::from(error);
        match param {
            Some(param) => error.at(param),
            None => error,
        }
    }
}
