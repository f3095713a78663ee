//! The web page: the files of `static/`, embedded into the binary, and the answer for a path that nothing serves.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::error::ApiError;

#[derive(Embed)]
#[folder = "static/"]
#[exclude = ".*"]
#[exclude = "*/.*"]
struct Assets;

/// Everything comes from this server, and no inline script or style runs.
const PAGE_CSP: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Serves an embedded file, `index.html` at `/`; any other path is a 404 in the API's form.
pub(super) async fn page_or_not_found(request: Request) -> Response {
    let path = request.uri().path();
    let name = match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    let Some(file) = embedded(name) else {
        return ApiError::no_such_route(request.method(), path).into_response();
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = ApiError::method_not_allowed(request.method(), path).into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    serve(name, file, request.headers())
}

/// Debug builds read the files from the source tree, where a name could climb out of it.
fn embedded(name: &str) -> Option<EmbeddedFile> {
    let plain = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')) && !name.contains('\\');
    if plain { Assets::get(name) } else { None }
}

fn serve(name: &str, file: EmbeddedFile, request: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", hex_prefix(&file.metadata.sha256_hash()));
    let fresh = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| known == "*" || known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    // Names carry no hash, so a browser asks each time and is told in a few bytes that its copy is still good.
    let headers = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::CONTENT_SECURITY_POLICY, PAGE_CSP.to_owned()),
    ];
    if fresh {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, content_type(name))], file.data).into_response()
}

fn content_type(name: &str) -> String {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    match guess.type_() == mime_guess::mime::TEXT || guess.subtype() == mime_guess::mime::JAVASCRIPT {
        true => format!("{guess}; charset=utf-8"),
        false => guess.to_string(),
    }
}

/// 128 bits are plenty to tell versions of a file apart.
fn hex_prefix(hash: &[u8; 32]) -> String {
    hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
