//! What completions and chats refuse, and the field that the refusal names.

use std::sync::atomic::Ordering::SeqCst;

use linchpin::engine::EngineError;
use serde_json::{Value, json};

use crate::support::engine::MAX_CONTEXT;
use crate::support::{Server, assert_refused, ok, refusal};

async fn assert_each(path: &str, good: &Value, cases: Vec<(Value, &str, &str)>) {
    let server = Server::start().await;
    for (changes, code, param) in cases {
        let mut request = good.clone();
        request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let error = refusal(server.post(path, &request).await).await;
        let found = (error.status, error.code.as_str(), error.param.as_deref());
        assert_eq!(found, (422, code, Some(param)), "{changes}: {error:?}");
    }
}

/// What both routes refuse.
fn drawing() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (json!({"n": 0}), "out_of_range", "n"),
        (json!({"n": 1025}), "out_of_range", "n"),
        (json!({"n": -1}), "invalid_value", "n"),
        (json!({"temperature": -0.1}), "out_of_range", "temperature"),
        (json!({"temperature": 100.5}), "out_of_range", "temperature"),
        (json!({"top_p": 0}), "out_of_range", "top_p"),
        (json!({"top_p": 1.1}), "out_of_range", "top_p"),
        (json!({"top_k": -2}), "out_of_range", "top_k"),
        (json!({"min_p": 1.1}), "out_of_range", "min_p"),
        (json!({"seed": 1.5}), "invalid_value", "seed"),
        (json!({"stop": vec!["a"; 17]}), "out_of_range", "stop"),
        (json!({"stop": ""}), "out_of_range", "stop"),
        (json!({"stop": ["a", ""]}), "out_of_range", "stop[1]"),
        (json!({"stop": "x".repeat(1025)}), "out_of_range", "stop"),
        (json!({"stop": 5}), "invalid_value", "stop"),
        (json!({"stream": "yes"}), "invalid_value", "stream"),
        (json!({"stream_options": {"include_usage": true}}), "conflicting_fields", "stream_options"),
        (json!({"stream": true, "stream_options": {"usage": true}}), "unknown_field", "stream_options.usage"),
        (json!({"presence_penalty": 0.5}), "invalid_value", "presence_penalty"),
        (json!({"frequency_penalty": -1}), "invalid_value", "frequency_penalty"),
        (json!({"repetition_penalty": 1.1}), "invalid_value", "repetition_penalty"),
        (json!({"logit_bias": {"50256": -100}}), "invalid_value", "logit_bias"),
        (json!({"max_tokens": 0}), "out_of_range", "max_tokens"),
        (json!({"max_tokens": -1}), "invalid_value", "max_tokens"),
        (json!({"max_tokens": MAX_CONTEXT}), "context_length_exceeded", "max_tokens"),
        (json!({"min_tokens": 1}), "unknown_field", "min_tokens"),
    ]
}

#[tokio::test]
async fn completions_name_the_field_at_fault() {
    let mut cases = drawing();
    cases.extend([
        (json!({"prompt": []}), "out_of_range", "prompt"),
        (json!({"prompt": vec!["a"; 257]}), "out_of_range", "prompt"),
        (json!({"prompt": vec!["a"; 200], "n": 10}), "out_of_range", "n"),
        (json!({"prompt": ""}), "invalid_value", "prompt"),
        (json!({"prompt": ["a", ""]}), "invalid_value", "prompt[1]"),
        (json!({"prompt": [[]]}), "invalid_value", "prompt"),
        (json!({"prompt": [65, 256]}), "invalid_value", "prompt[1]"),
        (json!({"prompt": [[65], [65, 256]]}), "invalid_value", "prompt[1][1]"),
        (json!({"prompt": null}), "invalid_value", "prompt"),
        (json!({"prompt": 5}), "invalid_value", "prompt"),
        (json!({"prompt": ["a", 5]}), "invalid_value", "prompt"),
        (json!({"prompt": "x".repeat(MAX_CONTEXT)}), "context_length_exceeded", "prompt"),
        (json!({"prompt": "x".repeat(MAX_CONTEXT), "max_tokens": 1}), "context_length_exceeded", "prompt"),
        (json!({"prompt": ["a", "x".repeat(MAX_CONTEXT)]}), "context_length_exceeded", "prompt[1]"),
        (
            json!({"prompt": ["a", "x".repeat(MAX_CONTEXT - 5)], "max_tokens": 6}),
            "context_length_exceeded",
            "max_tokens",
        ),
        (json!({"best_of": 2}), "unsupported_value", "best_of"),
        (json!({"logprobs": 21}), "out_of_range", "logprobs"),
        (json!({"logprobs": true}), "invalid_value", "logprobs"),
        (
            json!({"prompt": vec!["x".repeat(400); 100], "n": 10, "echo": true, "logprobs": 20}),
            "invalid_value",
            "logprobs",
        ),
        (json!({"suffix": "end"}), "invalid_value", "suffix"),
        (json!({"messages": []}), "unknown_field", "messages"),
    ]);
    assert_each("/v1/completions", &json!({"prompt": "3 + 4?"}), cases).await;
}

#[tokio::test]
async fn chats_name_the_field_at_fault() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let mut cases = drawing();
    cases.extend([
        (json!({"messages": []}), "out_of_range", "messages"),
        (json!({"messages": [{"role": "user"}]}), "missing_field", "messages[0].content"),
        (json!({"messages": [{"role": "", "content": "a"}]}), "out_of_range", "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": "a", "name": "b"}]}), "unknown_field", "messages[0].name"),
        (json!({"max_completion_tokens": 0}), "out_of_range", "max_completion_tokens"),
        (json!({"max_completion_tokens": MAX_CONTEXT}), "context_length_exceeded", "max_completion_tokens"),
        (
            json!({"max_tokens": MAX_CONTEXT, "max_completion_tokens": MAX_CONTEXT}),
            "context_length_exceeded",
            "max_completion_tokens",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x".repeat(MAX_CONTEXT)}]}),
            "context_length_exceeded",
            "messages",
        ),
        (
            json!({"n": 1024, "logprobs": true, "top_logprobs": 20, "max_completion_tokens": 98}),
            "invalid_value",
            "logprobs",
        ),
        (json!({"max_completion_tokens": 5, "max_tokens": 6}), "conflicting_fields", "max_tokens"),
        (json!({"top_logprobs": 1}), "conflicting_fields", "top_logprobs"),
        (json!({"logprobs": true, "top_logprobs": 21}), "out_of_range", "top_logprobs"),
        (json!({"logprobs": 1}), "invalid_value", "logprobs"),
        (json!({"tools": [tool]}), "invalid_value", "tools"),
        (json!({"tool_choice": "required"}), "invalid_value", "tool_choice"),
        (json!({"response_format": {"type": "json_object"}}), "invalid_value", "response_format"),
        (json!({"store": true}), "invalid_value", "store"),
        (json!({"metadata": {"a": "b"}}), "invalid_value", "metadata"),
        (json!({"prompt": "a"}), "unknown_field", "prompt"),
        (json!({"echo": true}), "unknown_field", "echo"),
        (json!({"functions": []}), "unknown_field", "functions"),
    ]);
    assert_each("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "3 + 4?"}]}), cases).await;
}

#[tokio::test]
async fn what_the_cache_cannot_hold_is_refused_before_anything_is_drawn() {
    let server = Server::start().await;
    server.engine.cache.store(200, SeqCst);
    let long = json!({"prompt": ["a", "x".repeat(190)], "max_tokens": 20});
    let error = refusal(server.post("/v1/completions", &long).await).await;
    assert_refused(&error, 422, "cache_budget_exceeded", Some("max_tokens"));
    let messages = json!([{"role": "user", "content": "3 + 4?"}]);
    let long = json!({"messages": messages, "max_completion_tokens": 200});
    let error = refusal(server.post("/v1/chat/completions", &long).await).await;
    assert_refused(&error, 422, "cache_budget_exceeded", Some("max_completion_tokens"));
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(200)}]});
    let error = refusal(server.post("/v1/chat/completions", &long).await).await;
    assert_refused(&error, 422, "cache_budget_exceeded", Some("messages"));
    assert!(server.engine.requests.lock().unwrap().is_empty());
    // A limit that nobody asked for gives way.
    ok(server.post("/v1/chat/completions", &json!({"messages": messages})).await).await;
    assert!((100..200).contains(&server.engine.requests.lock().unwrap()[0].max_tokens));
}

#[tokio::test]
async fn what_is_refused_is_refused_before_a_stream_begins() {
    let server = Server::start().await;
    let missing = refusal(server.post("/v1/completions", &json!({})).await).await;
    assert_refused(&missing, 422, "missing_field", Some("prompt"));
    for stream in [false, true] {
        let unknown = json!({"model": "who", "prompt": "a", "stream": stream});
        let error = refusal(server.post("/v1/completions", &unknown).await).await;
        assert_refused(&error, 404, "model_not_found", Some("model"));
        let long = json!({"prompt": ["a", "x".repeat(MAX_CONTEXT + 1)], "stream": stream});
        let error = refusal(server.post("/v1/completions", &long).await).await;
        assert_refused(&error, 422, "context_length_exceeded", Some("prompt[1]"));
        *server.engine.fails.lock().unwrap() = Some(EngineError::ShuttingDown);
        for echo in [false, true] {
            let body = json!({"prompt": "ab", "stream": stream, "echo": echo, "logprobs": 1});
            assert_refused(&refusal(server.post("/v1/completions", &body).await).await, 503, "shutting_down", None);
        }
        *server.engine.fails.lock().unwrap() = None;
    }
}
