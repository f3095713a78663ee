//! Extractors whose refusals have the contract's form: JSON bodies, query strings, path parts, and the use cases.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::{ApiError, shortened};
use super::state::AppState;
use crate::analysis::{Analysis, Runs};
use crate::jobs::Jobs;

/// Time for a client to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The use cases, or `models_not_ready` while the models are loading.
pub(super) struct Ready(pub(super) Analysis);

impl FromRequestParts<AppState> for Ready {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        state.analysis().cloned().map(Self).ok_or_else(ApiError::models_not_ready)
    }
}

/// The use cases of runs in the background, or `models_not_ready` while the models are loading.
pub(super) struct ReadyRuns(pub(super) Runs);

impl FromRequestParts<AppState> for ReadyRuns {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        state.runs().cloned().map(Self).ok_or_else(ApiError::models_not_ready)
    }
}

/// The use cases of offline jobs, or `models_not_ready` while the models are loading.
pub(super) struct ReadyJobs(pub(super) Jobs);

impl FromRequestParts<AppState> for ReadyJobs {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        state.jobs().cloned().map(Self).ok_or_else(ApiError::models_not_ready)
    }
}

/// A JSON body as it was sent, its size and content type checked.
pub(super) struct JsonBytes(pub(super) Bytes);

impl FromRequest<AppState> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        require_content_type(request.headers(), "application/json", |subtype| {
            subtype == "json" || subtype.ends_with("+json")
        })?;
        match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(rejection)) => Err(body_error(rejection, state.max_body_bytes())),
            Err(_elapsed) => {
                Err(ApiError::new(StatusCode::BAD_REQUEST, "body_timeout", "the body did not arrive in time"))
            }
        }
    }
}

/// A JSON body as `T`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        parse_json(&bytes).map(Self)
    }
}

/// A query string as `T`.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        match serde_path_to_error::deserialize(pairs) {
            Ok(value) => Ok(Self(value)),
            Err(error) => {
                let path = error.path().to_string();
                Err(invalid_field(path, &error.into_inner().to_string()))
            }
        }
    }
}

/// The one variable part of a path.
pub(super) struct PathPart(pub(super) String);

impl FromRequestParts<AppState> for PathPart {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match axum::extract::Path::<String>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(part)) => Ok(Self(part)),
            Err(_) => {
                Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed_path", "the path is not percent-encoded UTF-8"))
            }
        }
    }
}

/// Two variable parts of a path; the last may have slashes in it.
pub(super) struct PathParts(pub(super) String, pub(super) String);

impl FromRequestParts<AppState> for PathParts {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path((first, second))) => Ok(Self(first, second)),
            Err(_) => {
                Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed_path", "the path is not percent-encoded UTF-8"))
            }
        }
    }
}

/// Reads a JSON object: 400 when it is not JSON at all, 422 with the field's name when it is not a `T`.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // The whole body first: reading it as a `T` would stop at the first field that is wrong, JSON or not.
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| json_error(String::new(), &error))?;
    // serde reads an array as the fields of a struct in their order, which nobody means.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        let message = "the body must be a JSON object";
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", message));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        json_error(path, &error.into_inner())
    })
}

fn json_error(path: String, error: &serde_json::Error) -> ApiError {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => invalid_field(path, &error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => {
            ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not JSON: {error}"))
        }
    }
}

/// serde's refusals as codes. Its texts are not an interface, so an unknown wording still gets a code and the path.
fn invalid_field(path: String, message: &str) -> ApiError {
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let (code, field) = if message.starts_with("unknown field") {
        ("unknown_field", Some(quoted))
    } else if message.starts_with("missing field") {
        ("missing_field", Some(quoted))
    } else if message.starts_with("duplicate field") {
        ("duplicate_field", Some(quoted))
    } else {
        ("invalid_value", None)
    };
    let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, shortened_message(message));
    // The path ends before a field that is missing, and may or may not include one that is unknown.
    let path = if path == "." || path == "?" { String::new() } else { path };
    let last = path.rsplit('.').next().unwrap_or_default();
    match field {
        Some(field) if last == field => error.at(shortened(&path)),
        Some(field) if path.is_empty() => error.at(shortened(field)),
        Some(field) => error.at(shortened(&format!("{path}.{field}"))),
        None if path.is_empty() => error,
        None => error.at(shortened(&path)),
    }
}

/// A message may quote the client's own text of any length.
fn shortened_message(message: &str) -> String {
    const LONGEST: usize = 400;
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

fn body_error(rejection: BytesRejection, limit: usize) -> ApiError {
    if let BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) = rejection {
        return too_large(limit);
    }
    // The connection broke: nobody reads this answer.
    ApiError::new(StatusCode::BAD_REQUEST, "incomplete_body", rejection.body_text())
}

pub(super) fn too_large(limit: usize) -> ApiError {
    let message = format!("the body is longer than the limit of {limit} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

/// A request's content type without its parameters, in lower case; empty if there is none.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Refuses a body of another kind than `expected`. A browser cannot send these kinds across origins without asking
/// first, so the check also keeps other sites' forms out.
pub(super) fn require_content_type(
    headers: &HeaderMap,
    expected: &'static str,
    accepts: impl Fn(&str) -> bool,
) -> Result<(), ApiError> {
    match content_type(headers).strip_prefix("application/") {
        Some(subtype) if accepts(subtype) => Ok(()),
        Some(_) | None => {
            let message = format!("the body must be sent with `Content-Type: {expected}`");
            Err(ApiError::new(StatusCode::BAD_REQUEST, "unsupported_content_type", message))
        }
    }
}
