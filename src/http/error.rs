//! The only place where a layer's error becomes a status and a code. Every match is exhaustive without a `_` arm, so a
//! new error cannot turn into a 500 by neglect.

use std::any::Any;

use axum::extract::OriginalUri;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::analysis::{AnalysisError, EngineError, RecordKind, StoreError};
use crate::jobs::{ConfigError, ConfigFault, JobsError, Missing};

/// Seconds after which an overloaded or starting server may be asked again.
const RETRY_AFTER: &str = "1";

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// For people; its wording may change.
    pub message: String,
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// The request's field that is at fault, such as `critical.value` or `trajectories[3].beta`.
    pub param: Option<String>,
    /// For programs; stable.
    #[schema(example = "unknown_field")]
    pub code: &'static str,
}

/// The class of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names on the wire end so")]
pub enum ErrorKind {
    InvalidRequestError,
    AuthenticationError,
    NotFoundError,
    ConflictError,
    OverloadedError,
    InternalError,
}

/// An error on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    detail: ErrorDetail,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let detail = ErrorDetail { message: message.into(), kind: kind_of(status), param: None, code };
        Self { status, detail }
    }

    /// 422: the request is well-formed, and `param` cannot be served as it is.
    pub(super) fn invalid(param: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message).at(param)
    }

    /// Names the field at fault.
    pub(super) fn at(mut self, param: impl Into<String>) -> Self {
        self.detail.param = Some(param.into());
        self
    }

    /// Puts the field at fault inside an outer one: `beta` becomes `trajectories[3].beta`.
    pub(super) fn inside(mut self, outer: &str) -> Self {
        let inner = self.detail.param.take();
        self.detail.param = Some(inner.map_or(outer.to_owned(), |inner| format!("{outer}.{inner}")));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &'static str {
        self.detail.code
    }

    /// The JSON that the client gets.
    pub fn body(self) -> ErrorBody {
        ErrorBody { error: self.detail }
    }

    /// For files of trajectories: a line beyond `limit` bytes.
    pub fn line_too_long(limit: usize) -> Self {
        let message = format!("the line is longer than the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "line_too_long", message)
    }

    pub(super) fn missing_key() -> Self {
        let message = "this server needs a key: send it as `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, "missing_api_key", message)
    }

    pub(super) fn invalid_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", "the key is not one of this server's")
    }

    pub(super) fn foreign_host() -> Self {
        let message = "without a configured key this server answers only to loopback names such as localhost and \
                       127.0.0.1 in the Host header; configure a key to serve under another name";
        Self::new(StatusCode::UNAUTHORIZED, "host_not_allowed", message)
    }

    pub(super) fn no_such_route(method: &Method, path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "route_not_found", format!("there is no {method} {}", shortened(path)))
    }

    pub(super) fn method_not_allowed(method: &Method, path: &str) -> Self {
        let message = format!("{} does not answer to {method}", shortened(path));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(super) fn upload_broke_off() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "incomplete_body", "the upload broke off")
    }

    pub(super) fn models_not_ready() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "models_not_ready", "the models are still being loaded")
    }

    /// 503: the models are loaded, and something else that every request needs does not answer.
    pub(super) fn not_ready(cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%cause, "not ready");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "the store of traces does not answer")
    }

    pub(super) fn model_not_found(id: &str) -> Self {
        let message = format!("no model or adapter is called {:?}", shortened(id));
        Self::new(StatusCode::NOT_FOUND, "model_not_found", message).at("model")
    }

    /// 500. `cause` goes to the log and not to the client.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        let message = "an internal error occurred; the server's log has its cause under this answer's x-request-id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }
}

impl From<AnalysisError> for ApiError {
    fn from(error: AnalysisError) -> Self {
        let text = error.to_string();
        match error {
            AnalysisError::Engine(error) => error.into(),
            AnalysisError::Refused { param, error } => Self::from(error).at(param),
            AnalysisError::Store(error) => error.into(),
            AnalysisError::Invalid { param, message } => Self::invalid(param, "invalid_value", message),
            AnalysisError::NotFound { kind, id: _ } => {
                let code = match kind {
                    RecordKind::Trace => "trace_not_found",
                    RecordKind::Rollouts => "rollouts_not_found",
                    RecordKind::Search => "search_not_found",
                    RecordKind::Run => "run_not_found",
                };
                Self::new(StatusCode::NOT_FOUND, code, shortened(&text))
            }
            AnalysisError::RunOver { id: _, state: _ } => Self::new(StatusCode::CONFLICT, "run_state", text),
            AnalysisError::Upload(_) => Self::upload_broke_off(),
            AnalysisError::Internal(cause) => Self::internal(&cause),
        }
    }
}

impl From<JobsError> for ApiError {
    fn from(error: JobsError) -> Self {
        let text = error.to_string();
        match error {
            JobsError::Config(ConfigError { fault, param, message }) => {
                let code = match fault {
                    ConfigFault::Unknown => "unknown_field",
                    ConfigFault::Missing => "missing_field",
                    ConfigFault::Invalid => "invalid_value",
                };
                Self::invalid(shortened(&param), code, message)
            }
            JobsError::Invalid { param, message } => Self::invalid(param, "invalid_value", message),
            JobsError::Line { line: _, message: _ } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_line", text)
            }
            JobsError::NotFound { what, id: _ } => {
                let code = match what {
                    Missing::Dataset => "dataset_not_found",
                    Missing::Job => "job_not_found",
                    Missing::Artifact => "artifact_not_found",
                };
                Self::new(StatusCode::NOT_FOUND, code, shortened(&text))
            }
            JobsError::Conflict { id: _, state: _, wanted: _ } => Self::new(StatusCode::CONFLICT, "job_state", text),
            JobsError::Upload(_) => Self::upload_broke_off(),
            JobsError::Analysis(error) => error.into(),
            JobsError::Engine(error) => error.into(),
            JobsError::Store(error) => error.into(),
            JobsError::Internal(cause) => Self::internal(&cause),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        use StatusCode as S;
        let text = error.to_string();
        match error {
            EngineError::Overloaded { capacity: _ } => Self::new(S::TOO_MANY_REQUESTS, "queue_full", text),
            EngineError::ShuttingDown => Self::new(S::SERVICE_UNAVAILABLE, "shutting_down", text),
            EngineError::TooLong { tokens: _, max: _ } => {
                Self::new(S::UNPROCESSABLE_ENTITY, "context_length_exceeded", text)
            }
            EngineError::ContextExceeded { tokens: _, max_tokens: _, max: _ } => {
                Self::new(S::UNPROCESSABLE_ENTITY, "context_length_exceeded", text).at("max_tokens")
            }
            EngineError::CacheTooSmall { tokens: _, max_tokens: _, needed_mib: _, budget_mib: _ } => {
                Self::new(S::UNPROCESSABLE_ENTITY, "cache_budget_exceeded", text).at("max_tokens")
            }
            EngineError::UnknownToken { id: _, vocab: _ } => {
                Self::new(S::UNPROCESSABLE_ENTITY, "token_out_of_vocabulary", text)
            }
            EngineError::UnknownModel { id } => Self::model_not_found(&id),
            EngineError::NameTaken { id: _ } => Self::new(S::CONFLICT, "name_taken", text).at("id"),
            EngineError::AdapterInUse { id: _, role: _ } => Self::new(S::CONFLICT, "adapter_in_use", text),
            EngineError::NotAnAdapter { id: _ } => Self::new(S::CONFLICT, "not_an_adapter", text),
            EngineError::Load(_) => Self::invalid("path", "adapter_not_loadable", text),
            EngineError::Text(_) => Self::new(S::UNPROCESSABLE_ENTITY, "text_not_tokenizable", text),
            // The weights are at fault and not the request; the text names them and nothing of the server's insides.
            EngineError::NonFinite { role: _, position: _ } | EngineError::NonFiniteDraw { model: _, tokens: _ } => {
                tracing::error!(cause = %text, "non-finite logits");
                Self::new(S::INTERNAL_SERVER_ERROR, "non_finite_logits", text)
            }
            EngineError::Cancelled => Self::new(S::SERVICE_UNAVAILABLE, "cancelled", text),
            EngineError::Internal(cause) => Self::internal(&cause),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Exists { id: _ } => Self::new(StatusCode::CONFLICT, "trace_exists", text),
            StoreError::RolloutsExist { id: _ } => Self::new(StatusCode::CONFLICT, "rollouts_exist", text),
            StoreError::SearchExists { id: _ } => Self::new(StatusCode::CONFLICT, "search_exists", text),
            StoreError::TraceGone { id: _ } => Self::new(StatusCode::NOT_FOUND, "trace_not_found", text),
            StoreError::Disk { path: _, source } if source.kind() == std::io::ErrorKind::StorageFull => {
                tracing::error!(cause = %text, "the disk is full");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "the server's disk is full")
            }
            StoreError::BadCursor => Self::invalid("cursor", "invalid_value", text),
            StoreError::BadLimit { limit: _, max: _ } => Self::invalid("limit", "out_of_range", text),
            StoreError::Disk { path: _, source: _ }
            | StoreError::LeaseLost { id: _ }
            | StoreError::Unusable { path: _, reason: _ }
            | StoreError::Newer { path: _, found: _, known: _ }
            | StoreError::Damaged { id: _, reason: _ }
            | StoreError::Database(_)
            | StoreError::Internal(_) => Self::internal(&text),
        }
    }
}

/// The contract's class of a status.
fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::AuthenticationError,
        404 => ErrorKind::NotFoundError,
        409 => ErrorKind::ConflictError,
        429 | 503 => ErrorKind::OverloadedError,
        400..=499 => ErrorKind::InvalidRequestError,
        _ => ErrorKind::InternalError,
    }
}

/// A client's own text inside a message stays short.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer for a route that exists under other methods; axum adds the `Allow` header.
pub(super) async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::method_not_allowed(&method, uri.path())
}

/// The answer for a handler that panicked: its message is for the log.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("a panic without a text");
    ApiError::internal(&text).into_response()
}

/// The errors that every route with a key has in common, for the API description.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "describes answers; the answers themselves are made by `ApiError`")]
pub(super) enum CommonErrors {
    #[response(status = 401, description = "No key, or not one of this server's")]
    Unauthorized(ErrorBody),
    #[response(status = 500, description = "A defect of the server; the text says nothing of its insides")]
    Internal(ErrorBody),
    #[response(status = 503, description = "The models are still being loaded, or the server is shutting down")]
    Unavailable(ErrorBody),
}

/// The errors of routes that read a JSON body.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "describes answers; the answers themselves are made by `ApiError`")]
pub(super) enum BodyErrors {
    #[response(status = 400, description = "The body is not JSON, or is sent as another content type")]
    Malformed(ErrorBody),
    #[response(status = 413, description = "The body is longer than the server's limit")]
    TooLarge(ErrorBody),
    #[response(status = 422, description = "Well-formed but invalid; `param` names the field")]
    Invalid(ErrorBody),
}
