//! Keys and host names: who may call what.

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, Setup, assert_refused, ok, refusal};

async fn keyed() -> Server {
    Server::with(Setup { keys: vec!["first", "second"], ..Setup::default() }).await
}

#[tokio::test]
async fn every_data_route_needs_a_key() {
    let server = keyed().await;
    let routes = [
        (Method::POST, "/v1/score"),
        (Method::GET, "/v1/models"),
        (Method::POST, "/v1/adapters"),
        (Method::DELETE, "/v1/adapters/pos"),
        (Method::GET, "/v1/roles"),
        (Method::PUT, "/v1/roles"),
        (Method::GET, "/v1/traces"),
        (Method::GET, "/v1/traces/trace_x"),
        (Method::DELETE, "/v1/traces/trace_x"),
        (Method::GET, "/v1/traces/trace_x/export"),
        (Method::POST, "/v1/traces/import"),
        (Method::POST, "/tokenize"),
        (Method::POST, "/detokenize"),
        (Method::GET, "/metrics"),
    ];
    for (method, path) in routes {
        let response = server.request(method.clone(), path).send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer", "{method} {path}");
        assert_refused(&refusal(response).await, 401, "missing_api_key", None);
    }
}

#[tokio::test]
async fn probes_pages_and_documentation_are_open() {
    let server = keyed().await;
    for path in ["/health", "/ready", "/", "/openapi.json", "/docs/"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn any_configured_key_opens_and_another_does_not() {
    let server = keyed().await;
    for key in ["first", "second"] {
        let response = server.request(Method::GET, "/v1/models").bearer_auth(key).send().await.unwrap();
        assert_eq!(response.status(), 200, "{key}");
    }
    for key in ["third", "firs", "first second"] {
        let response = server.request(Method::GET, "/v1/models").bearer_auth(key).send().await.unwrap();
        assert_refused(&refusal(response).await, 401, "invalid_api_key", None);
    }
    let basic = server.request(Method::GET, "/v1/models").basic_auth("first", Some("first")).send().await.unwrap();
    assert_refused(&refusal(basic).await, 401, "missing_api_key", None);
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_the_body_is_looked_at() {
    let server = keyed().await;
    let request = server.request(Method::POST, "/v1/score").bearer_auth("third").json(&json!({"nonsense": 1}));
    assert_refused(&refusal(request.send().await.unwrap()).await, 401, "invalid_api_key", None);
}

#[tokio::test]
async fn without_keys_only_loopback_names_are_served() {
    let server = Server::start().await;
    let foreign = server.request(Method::GET, "/v1/models").header("host", "evil.example:80").send().await.unwrap();
    assert_refused(&refusal(foreign).await, 401, "host_not_allowed", None);
    let local = server.request(Method::GET, "/v1/models").header("host", "localhost:80").send().await.unwrap();
    ok(local).await;

    let keyed = keyed().await;
    let named = keyed.request(Method::GET, "/v1/models").header("host", "gpu.example").bearer_auth("first");
    ok(named.send().await.unwrap()).await;
}
