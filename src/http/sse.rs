//! Server-sent events as the contract has them: `data: {json}`, a comment every 15 s, `data: [DONE]` at the end.
//!
//! The stream is the work itself: when the client goes away it is dropped, and with it what the engine still had to do.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;

use super::error::ApiError;

/// What a client that comes back has seen last.
const LAST_EVENT_ID: &str = "last-event-id";
/// Between two comments that keep proxies from closing a quiet connection.
const PING: Duration = Duration::from_secs(15);

/// Answers with the items of `items`, one event each. An error is sent as an event of the contract's error shape, and is
/// the last before `[DONE]`.
pub(super) fn events<T: Serialize + Send + 'static>(
    items: impl Stream<Item = Result<T, ApiError>> + Send + 'static,
) -> Response {
    let mut failed = false;
    let events = items
        .take_while(move |item| {
            let go_on = !failed;
            failed = item.is_err();
            std::future::ready(go_on)
        })
        .map(|item| match item {
            Ok(item) => data(&item),
            Err(error) => data(&error.body()),
        })
        .chain(stream::once(std::future::ready(Event::default().data("[DONE]"))))
        .map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(PING).text("ping")).into_response()
}

/// As [`events`], each item with the id that a client may come back with in `Last-Event-ID`.
pub(super) fn numbered<T: Serialize + Send + 'static>(
    items: impl Stream<Item = Result<(i64, T), ApiError>> + Send + 'static,
) -> Response {
    let events = items
        .map(|item| match item {
            Ok((id, item)) => data(&item).id(id.to_string()),
            Err(error) => data(&error.body()),
        })
        .chain(stream::once(std::future::ready(Event::default().data("[DONE]"))))
        .map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(PING).text("ping")).into_response()
}

/// The number of the last event that a client has seen, from its `Last-Event-ID`; 0 without one.
pub(super) fn last_seen(headers: &HeaderMap) -> Result<i64, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(0) };
    let number = value.to_str().ok().and_then(|value| value.trim().parse().ok()).filter(|number| *number >= 0);
    let message = "Last-Event-ID must be the id of an event";
    number.ok_or_else(|| ApiError::invalid("Last-Event-ID", "invalid_value", message))
}

fn data<T: Serialize>(item: &T) -> Event {
    Event::default().json_data(item).unwrap_or_else(|error| {
        let body = ApiError::internal(&error).body();
        Event::default().data(serde_json::to_string(&body).unwrap_or_default())
    })
}
