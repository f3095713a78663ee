//! `POST /v1/score`: one trajectory, or a batch.
//!
//! The handler awaits the engine itself and detaches nothing: when the client goes away, its future is dropped, and
//! with it the place in the queue or the running work.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::dto_score::{ScoreBatch, ScoreBody};
use super::dto_trace::TraceDto;
use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{JsonBytes, Ready};
use super::state::AppState;
use crate::analysis::{Analysis, AnalysisError, ScoreInput};
use crate::domain::trace::Trace;

/// The trace of one trajectory, or the results of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ScoreAnswer {
    One(Box<TraceDto>),
    Many(BatchAnswer),
}

/// The results of a batch, in the order of its trajectories.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    data: Vec<BatchItem>,
}

/// A trajectory's trace, or why it has none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchItem {
    Trace(Box<TraceDto>),
    Error(ErrorBody),
}

/// Score a trajectory
///
/// Gives every token of a response the three models' log probabilities, its contrastive score s_t and the critical flag.
/// With `trajectories` it scores a batch; each item is answered by a trace or by an error of its own.
#[utoipa::path(
    post, path = "/v1/score", tag = "score", security(("api_key" = [])),
    request_body = ScoreBody,
    responses(
        (status = 200, description = "The trace, or a batch's results in order", body = ScoreAnswer),
        (status = 429, description = "The queue is full; ask again after `Retry-After` seconds", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn score(
    State(state): State<AppState>,
    Ready(analysis): Ready,
    JsonBytes(bytes): JsonBytes,
) -> Result<axum::Json<ScoreAnswer>, ApiError> {
    let answer = match ScoreBody::parse(&bytes)? {
        ScoreBody::One(request) => {
            let outcome = analysis.score((*request).try_into()?).await;
            ScoreAnswer::One(Box::new(counted(&state, outcome)?.into()))
        }
        ScoreBody::Many(batch) => ScoreAnswer::Many(score_batch(&state, &analysis, batch).await?),
    };
    Ok(axum::Json(answer))
}

/// Scores the valid items of a batch in one go and puts every outcome at its item's place.
async fn score_batch(state: &AppState, analysis: &Analysis, batch: ScoreBatch) -> Result<BatchAnswer, ApiError> {
    let mut refused: Vec<Option<ApiError>> = Vec::with_capacity(batch.trajectories.len());
    let mut inputs: Vec<ScoreInput> = Vec::with_capacity(batch.trajectories.len());
    for request in batch.trajectories {
        match request.try_into() {
            Ok(input) => {
                inputs.push(input);
                refused.push(None);
            }
            Err(error) => refused.push(Some(error)),
        }
    }
    let outcomes = match inputs.is_empty() {
        true => Vec::new(),
        false => analysis.score_batch(inputs).await.map_err(|error| counted_error(state, error))?,
    };
    let mut outcomes = outcomes.into_iter();
    let mut data = Vec::with_capacity(refused.len());
    for (index, refused) in refused.into_iter().enumerate() {
        let outcome = match refused {
            Some(error) => Err(error),
            None => match outcomes.next() {
                Some(outcome) => counted(state, outcome),
                None => Err(ApiError::internal(&"a batch has fewer results than trajectories")),
            },
        };
        data.push(match outcome {
            Ok(trace) => BatchItem::Trace(Box::new(trace.into())),
            Err(error) => BatchItem::Error(error.inside(&format!("trajectories[{index}]")).body()),
        });
    }
    Ok(BatchAnswer { data })
}

fn counted(state: &AppState, outcome: Result<Trace, AnalysisError>) -> Result<Trace, ApiError> {
    match outcome {
        Ok(trace) => {
            state.metrics().scored(&trace);
            Ok(trace)
        }
        Err(error) => Err(counted_error(state, error)),
    }
}

fn counted_error(state: &AppState, error: AnalysisError) -> ApiError {
    let error = ApiError::from(error);
    state.metrics().refused(error.code());
    error
}
