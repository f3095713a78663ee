//! The outermost layer: a request id, a tracing span and the counters of every request, also of one whose client left.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use ulid::Ulid;

use super::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 64;

pub(super) async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = %id, method, route = %route);
    async move {
        let mut flight = Flight::begin(state, method, route);
        let mut response = next.run(request).await;
        flight.status = Some(response.status());
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
    .instrument(span)
    .await
}

/// The client's own id where it is short and plain, else a new one: it is written to the log.
fn request_id(request: &Request) -> String {
    let plain = |id: &str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()) {
        Some(id) if plain(id) => id.to_owned(),
        Some(_) | None => format!("req_{}", Ulid::generate().to_string().to_ascii_lowercase()),
    }
}

/// A bounded set of names: a client may invent methods.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    KNOWN.into_iter().find(|name| method == *name).unwrap_or("other")
}

/// Counts a request when it ends, whichever way: dropped without a status, its client went away.
struct Flight {
    state: AppState,
    method: &'static str,
    route: String,
    began: Instant,
    status: Option<StatusCode>,
}

impl Flight {
    fn begin(state: AppState, method: &'static str, route: String) -> Self {
        state.metrics().request_started();
        Self { state, method, route, began: Instant::now(), status: None }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let status = self.status.map_or("cancelled".to_owned(), |status| status.as_u16().to_string());
        tracing::info!(status, took_ms = took.as_secs_f64() * 1e3, "answered");
        let route = std::mem::take(&mut self.route);
        self.state.metrics().request_finished(self.method, route, status, took);
    }
}
