//! Bearer keys, compared by hash. Knows no route: the router says which ones need a key.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::error::ApiError;
use super::state::AppState;

/// The SHA-256 hashes of the keys that may call. The keys themselves are never held.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    pub fn new(hashes: Vec<[u8; 32]>) -> Self {
        Self(hashes)
    }

    /// No key is configured: everybody may call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at every hash whatever the outcome, so that the time taken tells nothing of the keys.
    fn accepts(&self, key: &str) -> bool {
        let given = Sha256::digest(key.as_bytes());
        self.0.iter().fold(Choice::from(0), |found, hash| found | hash.as_slice().ct_eq(given.as_slice())).into()
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({} keys)", self.0.len())
    }
}

/// Lets a request through with a configured key, or when none is configured.
pub(super) async fn require_key(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if state.keys().is_empty() {
        return next.run(request).await;
    }
    match bearer(request.headers()) {
        Some(key) if state.keys().accepts(key) => next.run(request).await,
        Some(_) => ApiError::invalid_key().into_response(),
        None => ApiError::missing_key().into_response(),
    }
}

/// The key of `Authorization: Bearer KEY`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_by_its_hash_only() {
        let keys = ApiKeys::new(vec![Sha256::digest(b"one").into(), Sha256::digest(b"two").into()]);
        assert!(keys.accepts("one") && keys.accepts("two"));
        assert!(!keys.accepts("three") && !keys.accepts(""));
        assert!(!ApiKeys::default().accepts(""));
    }

    #[test]
    fn the_scheme_must_be_bearer() {
        let key_of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(key_of("Bearer k").as_deref(), Some("k"));
        assert_eq!(key_of("bearer  k ").as_deref(), Some("k"));
        assert_eq!(key_of("Basic k"), None);
        assert_eq!(key_of("Bearer "), None);
        assert_eq!(key_of("k"), None);
    }
}
