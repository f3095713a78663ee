//! The HTTP room: routes, request and response shapes, errors as statuses.
//!
//! A request passes `observe` (id, span, metrics, panics), then `auth`, then one resource file, which turns its JSON
//! into a domain type with `TryFrom`, calls one use case of [`crate::analysis`] or [`crate::jobs`], and turns the result back. This room
//! knows nothing of engines, tensors or the database.

mod auth;
mod completions;
mod datasets;
mod docs;
mod dto_chat;
mod dto_completions;
mod dto_drawing;
mod dto_job_config;
mod dto_job_plan;
mod dto_jobs;
mod dto_rollout_request;
mod dto_rollouts;
mod dto_runs;
mod dto_score;
mod dto_search_request;
mod dto_searches;
mod dto_summary;
mod dto_trace;
mod error;
mod extract;
mod health;
mod idle;
mod job_files;
mod jobs;
mod metrics;
mod models;
mod observe;
mod page;
mod rollouts;
mod runs;
mod score;
mod searches;
mod security;
mod server;
mod sse;
mod state;
mod text;
mod traces;
mod upload;
mod verify;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::ApiKeys;
pub use dto_score::parse_trajectory;
pub use error::ApiError;
pub use server::{ServerLimits, serve};
pub use state::{AppState, HttpOptions};

/// Routes that answer without a key: probes only.
fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health::health)).routes(routes!(health::ready))
}

/// Routes that need a key when one is configured.
fn keyed_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(score::score))
        .routes(routes!(completions::complete))
        .routes(routes!(completions::chat))
        .routes(routes!(rollouts::roll_out))
        .routes(routes!(rollouts::get_rollouts))
        .routes(routes!(searches::search))
        .routes(routes!(searches::get_search))
        .routes(routes!(runs::list_runs))
        .routes(routes!(runs::get_run))
        .routes(routes!(runs::cancel_run))
        .routes(routes!(runs::run_events))
        .routes(routes!(verify::verify))
        .routes(routes!(models::list_models))
        .routes(routes!(models::load_adapter))
        .routes(routes!(models::unload_adapter))
        .routes(routes!(models::get_roles, models::set_roles))
        .routes(routes!(text::tokenize))
        .routes(routes!(text::detokenize))
        .routes(routes!(traces::list_traces))
        .routes(routes!(traces::import_traces))
        .routes(routes!(traces::get_trace, traces::delete_trace))
        .routes(routes!(traces::export_trace))
        .routes(routes!(datasets::list_datasets))
        .routes(routes!(datasets::put_dataset, datasets::get_dataset, datasets::delete_dataset))
        .routes(routes!(datasets::append_rows, datasets::list_rows))
        .routes(routes!(jobs::submit_job, jobs::list_jobs))
        .routes(routes!(jobs::get_job))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(jobs::resume_job))
        .routes(routes!(jobs::job_events))
        .routes(routes!(job_files::job_metrics))
        .routes(routes!(job_files::list_artifacts))
        .routes(routes!(job_files::get_artifact))
        .routes(routes!(health::metrics))
}

/// The OpenAPI description of every route; the same for every build of a version.
pub fn openapi() -> OpenApi {
    let mut routes = OpenApiRouter::with_openapi(docs::ApiDoc::openapi()).merge(open_routes()).merge(keyed_routes());
    docs::described(routes.to_openapi())
}

/// The whole service: API, documentation and web page.
pub fn router(state: AppState) -> Router {
    let keyed = keyed_routes().route_layer(middleware::from_fn_with_state(state.clone(), auth::require_key));
    let (api, description) =
        OpenApiRouter::with_openapi(docs::ApiDoc::openapi()).merge(open_routes()).merge(keyed).split_for_parts();
    api.merge(docs::router(docs::described(description)))
        .fallback(page::page_or_not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(state.max_body_bytes()))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn(security::headers))
        .layer(middleware::from_fn_with_state(state.clone(), security::require_local_host))
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}
