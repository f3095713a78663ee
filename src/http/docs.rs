//! The OpenAPI document's frame and Swagger UI, served from the binary without a network.

use axum::Router;
use axum::http::{HeaderValue, header};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::dto_job_config::JobConfigs;
use super::error::{ErrorBody, ErrorDetail};
use super::state::AppState;

/// Swagger UI sets style attributes and draws `data:` images; scripts still come from this server alone.
const DOCS_CSP: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Title, tags and the key scheme; the paths are added by the router.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Linchpin",
        description = "Scores reasoning trajectories token by token with a base, a positive and a negative model, and \
                       flags the tokens that turn a solution wrong (arXiv 2411.19943).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "score", description = "Contrastive scores of a trajectory's tokens"),
        (name = "completions", description = "Completions and chats in OpenAI's form"),
        (name = "rollouts", description = "What comes of other tokens in a response token's place"),
        (name = "searches", description = "Rollout-based search for the critical token"),
        (name = "runs", description = "Rollouts and searches that go on in the background"),
        (name = "verify", description = "Grading of responses against reference answers"),
        (name = "models", description = "The loaded models, adapters and their roles"),
        (name = "text", description = "The model's tokenizer"),
        (name = "traces", description = "Stored analyses"),
        (name = "datasets", description = "Problems, trajectories and preferences that jobs read"),
        (name = "jobs", description = "Offline jobs: sample, select, train, evaluate"),
        (name = "service", description = "Probes and metrics")
    ),
    components(schemas(ErrorBody, ErrorDetail)),
    modifiers(&BearerKey, &JobConfigs)
)]
pub(super) struct ApiDoc;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// Names the parts of paths as OpenAPI does: what has slashes in it is a parameter like others there.
pub(super) fn described(mut description: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let paths = std::mem::take(&mut description.paths.paths);
    description.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    description
}

/// `/docs` and `/openapi.json`. Both are open: they say nothing that the source does not, and a browser cannot send a
/// key with a page load.
pub(super) fn router(description: utoipa::openapi::OpenApi) -> Router<AppState> {
    // "none" keeps Swagger UI from asking an outside validator.
    let config = Config::from("/openapi.json").validator_url("none").persist_authorization(true);
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", description).config(config))
        .layer(SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(DOCS_CSP)))
}
