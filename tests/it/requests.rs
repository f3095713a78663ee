//! What is refused before any resource sees it: paths, methods, bodies.

use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, Setup, assert_refused, refusal};

#[tokio::test]
async fn an_unknown_path_is_a_404() {
    let server = Server::start().await;
    for path in ["/v1/nothing", "/v2", "/v1/score/x", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "/js/../../Cargo.toml"] {
        assert_refused(&refusal(server.get(path).await).await, 404, "route_not_found", None);
    }
    let long = refusal(server.get(&format!("/{}", "x".repeat(4000))).await).await;
    assert!(long.message.len() < 400, "{}", long.message.len());
}

#[tokio::test]
async fn a_known_path_with_another_method_is_a_405_that_lists_the_methods() {
    let server = Server::start().await;
    for (method, path, allowed) in [
        (Method::GET, "/v1/score", "POST"),
        (Method::POST, "/v1/models", "GET,HEAD"),
        (Method::PATCH, "/v1/roles", "GET,HEAD,PUT"),
        (Method::POST, "/health", "GET,HEAD"),
        (Method::POST, "/index.html", "GET, HEAD"),
    ] {
        let response = server.request(method.clone(), path).send().await.unwrap();
        let mut listed: Vec<_> = response.headers()["allow"].to_str().unwrap().split(',').map(str::trim).collect();
        let mut allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
        listed.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(listed, allowed, "{method} {path}");
        assert_refused(&refusal(response).await, 405, "method_not_allowed", None);
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_400() {
    let server = Server::start().await;
    for path in ["/v1/score", "/tokenize", "/detokenize", "/v1/adapters"] {
        for body in ["", "{", "{\"prompt\": }", "[1,", "{} {}", "nonsense", "{\"id\": 5, }"] {
            assert_refused(&refusal(server.post_raw(path, body).await).await, 400, "malformed_json", None);
        }
        for body in ["[]", "[\"a\", null]", "5", "null", "\"a\""] {
            assert_refused(&refusal(server.post_raw(path, body).await).await, 422, "invalid_value", None);
        }
    }
    let deep = format!("{{\"messages\": {}", "[".repeat(100_000));
    assert_refused(&refusal(server.post_raw("/v1/score", deep).await).await, 400, "malformed_json", None);
    let infinite = server.post_raw("/v1/score", "{\"prompt\": \"a\", \"response\": \"b\", \"beta\": 1e999}").await;
    assert_eq!(refusal(infinite).await.status, 400);
    let not_utf8 = server.post_raw("/v1/score", b"{\"prompt\": \"\xff\"}".to_vec()).await;
    assert_refused(&refusal(not_utf8).await, 400, "malformed_json", None);
}

#[tokio::test]
async fn a_body_of_another_content_type_is_a_400() {
    let server = Server::start().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let request = server.request(Method::POST, "/v1/score").header("content-type", content_type).body("{}");
        assert_refused(&refusal(request.send().await.unwrap()).await, 400, "unsupported_content_type", None);
    }
    let import = server.request(Method::POST, "/v1/traces/import").json(&json!({}));
    assert_refused(&refusal(import.send().await.unwrap()).await, 400, "unsupported_content_type", None);
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_whether_its_length_is_told_or_not() {
    let server = Server::with(Setup { max_body_bytes: Some(1000), ..Setup::default() }).await;
    let body = json!({"prompt": "x".repeat(2000), "response": "y"}).to_string();
    assert_refused(&refusal(server.post_raw("/v1/score", body.clone()).await).await, 413, "body_too_large", None);
    let chunks: Vec<_> = body.into_bytes().chunks(100).map(<[u8]>::to_vec).map(Ok::<_, std::io::Error>).collect();
    let streamed = server.post_raw("/v1/score", reqwest::Body::wrap_stream(stream::iter(chunks))).await;
    assert_refused(&refusal(streamed).await, 413, "body_too_large", None);
}

#[tokio::test]
async fn an_unknown_field_is_named_wherever_it_is() {
    let server = Server::start().await;
    let good = json!({"prompt": "a", "response": "b"});
    let with = |field: &str, value: Value| {
        let mut request = good.clone();
        request[field] = value;
        request
    };
    for (path, body, param) in [
        ("/v1/score", with("betta", json!(1)), "betta"),
        ("/v1/score", with("critical", json!({"rule": "lowest", "n": 3})), "critical.n"),
        ("/v1/score", json!({"trajectories": [good, with("x", json!(1))]}), "trajectories[1].x"),
        ("/v1/score", json!({"trajectories": [good], "beta": 1}), "beta"),
        ("/tokenize", json!({"prompt": "a", "truncate": true}), "truncate"),
        ("/detokenize", json!({"tokens": [1], "x": 1}), "x"),
        ("/v1/adapters", json!({"id": "a", "path": "b", "rank": 8}), "rank"),
    ] {
        assert_refused(&refusal(server.post(path, &body).await).await, 422, "unknown_field", Some(param));
    }
    let roles = json!({"positive": null, "negative": null, "base": "base"});
    assert_refused(&refusal(server.put("/v1/roles", &roles).await).await, 422, "unknown_field", Some("base"));
    let message = json!({"messages": [{"role": "user", "content": "a", "name": "b"}], "response": "c"});
    let error = refusal(server.post("/v1/score", &message).await).await;
    assert_refused(&error, 422, "unknown_field", Some("messages[0].name"));
}

#[tokio::test]
async fn an_error_quotes_little_of_what_was_sent() {
    let server = Server::start().await;
    let mut body = json!({"prompt": "a", "response": "b"});
    body["x".repeat(100_000).as_str()] = json!(1);
    let error = refusal(server.post("/v1/score", &body).await).await;
    assert_eq!((error.status, error.code.as_str()), (422, "unknown_field"));
    assert!(error.message.len() < 1000 && error.param.unwrap().len() < 500);
}

#[tokio::test]
async fn while_the_models_load_probes_answer_and_model_routes_ask_to_come_back() {
    let server = Server::with(Setup { loading: true, ..Setup::default() }).await;
    assert_eq!(server.get("/health").await.status(), 200);
    assert_eq!(server.get("/metrics").await.status(), 200);
    for path in ["/ready", "/v1/models", "/v1/roles", "/v1/traces", "/v1/traces/trace_x"] {
        assert_refused(&refusal(server.get(path).await).await, 503, "models_not_ready", None);
    }
    assert_refused(&refusal(server.score(json!({})).await).await, 503, "models_not_ready", None);
    let tokenize = server.post("/tokenize", &json!({"prompt": "a"})).await;
    assert_refused(&refusal(tokenize).await, 503, "models_not_ready", None);
}
