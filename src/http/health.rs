//! `/health`, `/ready` and `/metrics`: what orchestrators and monitors ask.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, CommonErrors, ErrorBody};
use super::extract::Ready;
use super::state::AppState;

/// The content type of Prometheus' text form.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// That the process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    version: &'static str,
}

/// That the models are loaded and the store answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    #[schema(example = "ready")]
    status: &'static str,
}

/// Alive
#[utoipa::path(
    get, path = "/health", tag = "service",
    responses((status = 200, description = "The process answers", body = Health))
)]
pub(super) async fn health() -> axum::Json<Health> {
    axum::Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Ready
#[utoipa::path(
    get, path = "/ready", tag = "service",
    responses(
        (status = 200, description = "The models are loaded and the store is reachable", body = Readiness),
        (status = 503, description = "Not yet, or not any more", body = ErrorBody),
    )
)]
pub(super) async fn ready(Ready(analysis): Ready) -> Result<axum::Json<Readiness>, ApiError> {
    analysis.ready().await.map_err(|cause| ApiError::not_ready(&cause))?;
    Ok(axum::Json(Readiness { status: "ready" }))
}

/// Prometheus metrics
#[utoipa::path(
    get, path = "/metrics", tag = "service", security(("api_key" = [])),
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain"), CommonErrors)
)]
pub(super) async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    if let Some(analysis) = state.analysis() {
        let queue = analysis.queue();
        state.metrics().queue(queue.waiting, queue.capacity);
        state.metrics().generating(analysis.generating());
    }
    ([(header::CONTENT_TYPE, PROMETHEUS)], state.metrics().render())
}
