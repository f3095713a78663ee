//! `POST /v1/score`: the request's checks, the answer's form, batches, overload and clients that leave.

use std::sync::atomic::Ordering::SeqCst;

use linchpin::domain::model::Role;
use linchpin::engine::EngineError;
use serde_json::{Value, json};

use crate::support::engine::MAX_CONTEXT;
use crate::support::{Server, assert_refused, ok, refusal, trajectory, until};

#[tokio::test]
async fn the_answer_has_the_contracts_form() {
    let server = Server::start().await;
    let changes = json!({"answer": "7", "top_logprobs": 2, "token_ids": [65], "tags": ["try"], "critical": {"rule": "lowest", "k": 2}});
    let trace = ok(server.score(changes).await).await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&trace),
        [
            "id",
            "object",
            "created",
            "beta",
            "normalizer",
            "models",
            "prompt",
            "response",
            "tokens",
            "rule",
            "critical",
            "verdict",
            "tags",
            "usage",
            "timing"
        ]
    );
    assert!(trace["id"].as_str().unwrap().starts_with("trace_"));
    assert_eq!(
        (&trace["object"], &trace["normalizer"], &trace["beta"]),
        (&json!("trace"), &json!("exact"), &json!(1.0))
    );
    assert_eq!(trace["models"]["positive"], json!({"id": "pos", "sha256": "sha-of-pos"}));
    assert_eq!(trace["response"], json!({"text": " It is 8.", "straddles_boundary": false}));
    assert_eq!(trace["rule"], json!({"rule": "lowest", "k": 2}));
    assert_eq!(trace["critical"].as_array().unwrap().len(), 2);
    assert_eq!(trace["verdict"], json!({"status": "wrong", "extracted": "8", "reference": "7", "span": [7, 8]}));
    assert_eq!(trace["usage"], json!({"prompt_tokens": 24, "response_tokens": 9}));
    assert_eq!(trace["timing"], json!({"queue_ms": 0.25, "compute_ms": 1.5}));
    let token = &trace["tokens"][1];
    assert_eq!(
        keys(token),
        ["position", "id", "text", "start", "end", "logprob", "rank", "entropy", "score", "critical", "top"]
    );
    assert_eq!(
        (&token["id"], &token["text"], &token["start"], &token["end"]),
        (&json!(73), &json!("I"), &json!(1), &json!(2))
    );
    assert_eq!(token["logprob"], json!({"base": -1.140625, "positive": -0.5703125, "negative": -2.28125}));
    assert_eq!(token["top"].as_array().unwrap().len(), 3);
    assert_eq!(keys(&token["top"][0]), ["id", "text", "base", "positive", "negative", "score"]);
}

#[tokio::test]
async fn defaults_are_the_contracts() {
    let server = Server::start().await;
    let trace = ok(server.score(json!({})).await).await;
    assert_eq!(trace["rule"], json!({"rule": "threshold", "value": 0.05}));
    assert_eq!((&trace["verdict"], &trace["tokens"][0]["top"]), (&Value::Null, &json!([])));
    let id = trace["id"].as_str().unwrap();
    assert_eq!(ok(server.get(&format!("/v1/traces/{id}")).await).await, trace, "saved by default");

    let unsaved = ok(server.score(json!({"save": false})).await).await;
    let path = format!("/v1/traces/{}", unsaved["id"].as_str().unwrap());
    assert_refused(&refusal(server.get(&path).await).await, 404, "trace_not_found", None);
}

#[tokio::test]
async fn prompt_and_response_come_in_every_form() {
    let server = Server::start().await;
    for changes in [
        json!({"prompt": null, "prompt_token_ids": [81, 58]}),
        json!({"response": null, "response_token_ids": [32, 55]}),
        json!({"prompt": null, "messages": [{"role": "user", "content": "3 + 4?"}]}),
        json!({"prompt": null, "messages": [{"role": "user", "content": [{"type": "text", "text": "3 "}, {"type": "text", "text": "+ 4?"}]}]}),
    ] {
        ok(server.score(changes).await).await;
    }
    let parts = json!({"prompt": null, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]});
    assert_eq!(ok(server.score(parts).await).await["prompt"]["text"], "<user>ab\n<assistant>");
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let server = Server::start().await;
    for (changes, code, param) in [
        (json!({"prompt": null}), "missing_field", "prompt"),
        (json!({"response": null}), "missing_field", "response"),
        (json!({"prompt_token_ids": [1]}), "conflicting_fields", "prompt_token_ids"),
        (json!({"messages": [{"role": "user", "content": "a"}]}), "conflicting_fields", "messages"),
        (json!({"response_token_ids": [1]}), "conflicting_fields", "response_token_ids"),
        (json!({"response": ""}), "empty_response", "response"),
        (json!({"response": null, "response_token_ids": []}), "empty_response", "response_token_ids"),
        (json!({"prompt": null, "messages": []}), "out_of_range", "messages"),
        (json!({"prompt": null, "messages": [{"role": "", "content": "a"}]}), "out_of_range", "messages[0].role"),
        (json!({"prompt": null, "messages": [{"role": "user"}]}), "missing_field", "messages[0].content"),
        (json!({"prompt": null, "messages": [{"role": "user", "content": 5}]}), "invalid_value", "messages[0].content"),
        (json!({"prompt": 5}), "invalid_value", "prompt"),
        (json!({"beta": -0.1}), "out_of_range", "beta"),
        (json!({"beta": 10.5}), "out_of_range", "beta"),
        (json!({"beta": "1"}), "invalid_value", "beta"),
        (json!({"critical": {"value": 0.1}}), "missing_field", "critical.rule"),
        (json!({"critical": {"rule": "lowest_k"}}), "invalid_value", "critical.rule"),
        (json!({"critical": {"rule": "threshold", "value": 1.5}}), "out_of_range", "critical.value"),
        (json!({"critical": {"rule": "threshold", "value": "x"}}), "invalid_value", "critical.value"),
        (json!({"critical": {"rule": "threshold", "k": 1}}), "conflicting_fields", "critical.k"),
        (json!({"critical": {"rule": "quantile"}}), "missing_field", "critical.value"),
        (json!({"critical": {"rule": "quantile", "value": -0.5}}), "out_of_range", "critical.value"),
        (json!({"critical": {"rule": "lowest"}}), "missing_field", "critical.k"),
        (json!({"critical": {"rule": "lowest", "k": 0}}), "out_of_range", "critical.k"),
        (json!({"critical": {"rule": "lowest", "k": -1}}), "invalid_value", "critical.k"),
        (json!({"critical": {"rule": "lowest", "k": 1, "value": 0.1}}), "conflicting_fields", "critical.value"),
        (json!({"top_logprobs": 101}), "out_of_range", "top_logprobs"),
        (json!({"top_logprobs": -1}), "invalid_value", "top_logprobs"),
        (json!({"token_ids": vec![1; 257]}), "too_many", "token_ids"),
        (json!({"token_ids": [1, 256]}), "invalid_value", "token_ids[1]"),
        (json!({"token_ids": [1, -1]}), "invalid_value", "token_ids[1]"),
        (json!({"token_ids": [4294967296u64]}), "invalid_value", "token_ids[0]"),
        (json!({"answer": ""}), "out_of_range", "answer"),
        (json!({"answer": 5}), "invalid_value", "answer"),
        (json!({"tags": ["a", ""]}), "invalid_value", "tags[1]"),
        (json!({"tags": ["a", "a"]}), "invalid_value", "tags[1]"),
        (json!({"tags": vec!["t"; 33]}), "invalid_value", "tags"),
        (json!({"save": "yes"}), "invalid_value", "save"),
    ] {
        let error = refusal(server.score(changes.clone()).await).await;
        assert_eq!(
            (error.status, error.code.as_str(), error.param.as_deref()),
            (422, code, Some(param)),
            "{changes}: {error:?}"
        );
    }
}

#[tokio::test]
async fn what_the_engine_refuses_is_told_as_it_is() {
    let server = Server::start().await;
    let long = refusal(server.score(json!({"response": "x".repeat(MAX_CONTEXT)})).await).await;
    assert_refused(&long, 422, "context_length_exceeded", None);
    assert!(long.message.contains("512"), "{}", long.message);
    let ids = json!({"prompt": null, "prompt_token_ids": [1, 256]});
    assert_eq!(refusal(server.score(ids).await).await.status, 422);
    let no_prefix = refusal(server.score(json!({"prompt": ""})).await).await;
    assert!(no_prefix.status == 422 && no_prefix.message.contains("prompt"), "{no_prefix:?}");

    for (error, status, code) in [
        (EngineError::ShuttingDown, 503, "shutting_down"),
        (EngineError::NonFinite { role: Role::Positive, position: 3 }, 500, "non_finite_logits"),
        (EngineError::Internal("CUDA error at secret.cu:12".to_owned()), 500, "internal_error"),
    ] {
        *server.engine.fails.lock().unwrap() = Some(error);
        let error = refusal(server.score(json!({})).await).await;
        assert_refused(&error, status, code, None);
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_full_queue_is_a_429_with_retry_after() {
    let server = Server::start().await;
    server.engine.full.store(true, SeqCst);
    assert_refused(&refusal(server.score(json!({})).await).await, 429, "queue_full", None);
    let batch = json!({"trajectories": [trajectory(json!({}))]});
    let response = server.post("/v1/score", &batch).await;
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    assert_refused(&refusal(response).await, 429, "queue_full", None);
    server.engine.full.store(false, SeqCst);
    ok(server.score(json!({})).await).await;
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing_and_the_server_goes_on() {
    let server = Server::start().await;
    server.engine.panics.store(true, SeqCst);
    let error = refusal(server.score(json!({})).await).await;
    assert_refused(&error, 500, "internal_error", None);
    assert!(!error.message.contains("secret"), "{}", error.message);
    server.engine.panics.store(false, SeqCst);
    ok(server.score(json!({})).await).await;
}

#[tokio::test]
async fn a_batch_answers_in_order_and_each_item_for_itself() {
    let server = Server::start().await;
    let batch = json!({"trajectories": [
        trajectory(json!({"response": " one"})),
        trajectory(json!({"beta": 11})),
        trajectory(json!({"response": "x".repeat(MAX_CONTEXT)})),
        trajectory(json!({"response": " four", "token_ids": [999]})),
        trajectory(json!({"response": " five"})),
    ]});
    let answer = ok(server.post("/v1/score", &batch).await).await;
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 5);
    assert_eq!(data[0]["response"]["text"], " one");
    assert_eq!(data[1]["error"]["param"], "trajectories[1].beta");
    assert_eq!(data[2]["error"]["code"], "context_length_exceeded");
    assert_eq!(data[2]["error"]["param"], "trajectories[2]");
    assert_eq!(data[3]["error"]["param"], "trajectories[3].token_ids[0]");
    assert_eq!(data[4]["response"]["text"], " five");
}

#[tokio::test]
async fn a_batch_has_a_size() {
    let server = Server::start().await;
    for count in [0, 257] {
        let batch = json!({"trajectories": vec![trajectory(json!({})); count]});
        let error = refusal(server.post("/v1/score", &batch).await).await;
        assert_refused(&error, 422, "invalid_batch_size", Some("trajectories"));
    }
    let wrong = json!({"trajectories": [trajectory(json!({})), trajectory(json!({"beta": "x"}))]});
    let error = refusal(server.post("/v1/score", &wrong).await).await;
    assert_refused(&error, 422, "invalid_value", Some("trajectories[1].beta"));
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let server = Server::start().await;
    let held = server.engine.hold().await;
    let request = server.request(reqwest::Method::POST, "/v1/score").json(&trajectory(json!({})));
    let client = tokio::spawn(request.send());
    until(|| server.engine.waiting.load(SeqCst) == 1).await;
    client.abort();
    until(|| server.engine.waiting.load(SeqCst) == 0).await;
    drop(held);
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("linchpin_http_requests_total{method=\"POST\",route=\"/v1/score\",status=\"cancelled\"} 1"),
        "{metrics}"
    );
}
