//! Headers that keep browsers safe, and the refusal of foreign host names on a server without keys.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::state::AppState;

/// An API answer is data: nothing in it may run, and no page may frame it.
const API_CSP: &str = "default-src 'none'; frame-ancestors 'none'";

/// Adds the headers that every answer carries; a resource that has set its own keeps it.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    default_header(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default_header(headers, header::REFERRER_POLICY, "no-referrer");
    default_header(headers, header::CONTENT_SECURITY_POLICY, API_CSP);
    default_header(headers, header::CACHE_CONTROL, "no-store");
    response
}

fn default_header(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}

/// Without keys, anybody who reaches the port may call, and a page on the web can reach a loopback port by giving its
/// own host name the address 127.0.0.1 (DNS rebinding). Such a request carries the foreign name, so it is refused.
pub(super) async fn require_local_host(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if state.keys().is_empty() && !request.headers().get(header::HOST).is_none_or(is_local) {
        return ApiError::foreign_host().into_response();
    }
    next.run(request).await
}

fn is_local(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_local_and_others_are_not() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "[::1]"] {
            assert!(is_local(&HeaderValue::from_static(host)), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]:80"] {
            assert!(!is_local(&HeaderValue::from_static(host)), "{host}");
        }
    }
}
