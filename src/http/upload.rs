//! Bodies that are read as they arrive: bounded in size and in silence, never whole in memory.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use futures::{Stream, StreamExt, stream};

use super::error::ApiError;
use super::extract::{content_type, require_content_type, too_large};

/// Longest silence within an upload.
const SILENCE: Duration = Duration::from_secs(60);

/// Why an upload is not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadFault {
    #[error("longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("silent for {} seconds", SILENCE.as_secs())]
    Silent,
    #[error("the connection broke")]
    Broken(#[source] axum::Error),
}

/// Refuses a body that is not sent as JSON lines.
pub(super) fn require_json_lines(headers: &HeaderMap) -> Result<(), ApiError> {
    require_content_type(headers, "application/x-ndjson", |subtype| {
        ["x-ndjson", "ndjson", "jsonl", "x-jsonlines"].contains(&subtype)
    })
}

/// Refuses a `PUT` that says it is something else than JSON lines. One that does not say, or has what curl or `fetch` says by itself, is
/// taken for them: no page of another site can send a `PUT` unasked, which is why a `POST` has to say what it is.
pub(super) fn refuse_other_than_json_lines(headers: &HeaderMap) -> Result<(), ApiError> {
    const UNTOLD: [&str; 4] = ["", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"];
    if UNTOLD.contains(&content_type(headers).as_str()) { Ok(()) } else { require_json_lines(headers) }
}

/// The body's chunks, up to the bound on their sum and on the wait for each.
pub(super) fn bounded(body: Body, limit: usize) -> impl Stream<Item = Result<Bytes, UploadFault>> + Send {
    stream::try_unfold((body.into_data_stream(), limit), move |(mut chunks, left)| async move {
        match tokio::time::timeout(SILENCE, chunks.next()).await {
            Err(_elapsed) => Err(UploadFault::Silent),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(UploadFault::Broken(error)),
            Ok(Some(Ok(chunk))) => match left.checked_sub(chunk.len()) {
                Some(left) => Ok(Some((chunk, (chunks, left)))),
                None => Err(UploadFault::TooLong { limit }),
            },
        }
    })
}

/// The answer for an upload that broke off, going by what broke it.
pub(super) fn broken_off(cause: Box<dyn std::error::Error + Send + Sync>) -> ApiError {
    match cause.downcast::<UploadFault>() {
        Ok(fault) => (*fault).into(),
        Err(_) => ApiError::upload_broke_off(),
    }
}

impl From<UploadFault> for ApiError {
    fn from(fault: UploadFault) -> Self {
        match fault {
            UploadFault::TooLong { limit } => too_large(limit),
            UploadFault::Silent => {
                Self::new(StatusCode::BAD_REQUEST, "body_timeout", "the upload stood still for too long")
            }
            UploadFault::Broken(_) => Self::upload_broke_off(),
        }
    }
}
