//! `POST /v1/chat/completions`: the answer's form, log probabilities and streams. What it shares with completions is
//! tested there.

use reqwest::Response;
use serde_json::{Value, json};

use crate::support::engine::MAX_CONTEXT;
use crate::support::{Server, events, ok};

async fn chat(server: &Server, changes: Value) -> Response {
    let mut request = json!({"model": "base", "messages": [{"role": "user", "content": "3 + 4?"}], "seed": 7});
    request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    server.post("/v1/chat/completions", &request).await
}

#[tokio::test]
async fn the_answer_has_openais_form() {
    let server = Server::start().await;
    let mut answer = ok(chat(&server, json!({"n": 2})).await).await;
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"), "{answer}");
    for field in ["id", "created"] {
        answer.as_object_mut().unwrap().shift_remove(field);
    }
    let content = |index: usize| answer["choices"][index]["message"]["content"].as_str().unwrap();
    let choice = |index: usize| {
        json!({
            "index": index, "message": {"role": "assistant", "content": content(index)}, "logprobs": null,
            "finish_reason": "stop"
        })
    };
    assert!(content(1).starts_with(" A: "), "{answer}");
    // The prompt is `<user>3 + 4?\n<assistant>`.
    let (prompt, drawn) = (24, content(0).len() + content(1).len() + 2);
    assert_eq!(
        answer,
        json!({
            "object": "chat.completion", "model": "base", "system_fingerprint": "fp_sha-of-base", "seed": 7,
            "choices": [choice(0), choice(1)],
            "usage": {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn,
                      "prompt_tokens_details": {"cached_tokens": 0}}
        })
    );
}

#[tokio::test]
async fn the_chat_goes_through_the_template() {
    let server = Server::start().await;
    let content = async |path: &str, body: Value| ok(server.post(path, &body).await).await["choices"][0].take();
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let messages = json!([{"role": "system", "content": "s"}, {"role": "user", "content": parts}]);
    let chat = content("/v1/chat/completions", json!({"messages": messages, "seed": 1})).await;
    let text = content("/v1/completions", json!({"prompt": "<system>s\n<user>ab\n<assistant>", "seed": 1})).await;
    assert_eq!(chat["message"]["content"], text["text"]);
}

#[tokio::test]
async fn the_limit_goes_by_two_names_and_is_the_context_by_default() {
    let server = Server::start().await;
    for limit in [
        json!({"max_tokens": 2}),
        json!({"max_completion_tokens": 2}),
        json!({"max_tokens": 2, "max_completion_tokens": 2}),
    ] {
        let answer = ok(chat(&server, limit).await).await;
        assert_eq!(answer["choices"][0]["message"]["content"], " A");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
    }
    // One token of the context is left.
    let long = "x".repeat(MAX_CONTEXT - 1 - "<user>\n<assistant>".len());
    let answer = ok(chat(&server, json!({"messages": [{"role": "user", "content": long}]})).await).await;
    assert_eq!(answer["usage"]["completion_tokens"], 1);
}

#[tokio::test]
async fn many_choices_with_logprobs_are_as_long_as_an_answer_holds() {
    let server = Server::start().await;
    ok(chat(&server, json!({"n": 1024, "logprobs": true, "top_logprobs": 20})).await).await;
    ok(chat(&server, json!({"n": 1024})).await).await;
    let limits: Vec<usize> = server.engine.requests.lock().unwrap().iter().map(|request| request.max_tokens).collect();
    // 1024 choices of 97 tokens with 20 likely ones each are 2 Mi of tokens; without them the context is the limit.
    assert_eq!(limits, [97, MAX_CONTEXT - "<user>3 + 4?\n<assistant>".len()]);
}

#[tokio::test]
async fn logprobs_have_openais_form() {
    let server = Server::start().await;
    let answer = ok(chat(&server, json!({"max_tokens": 1, "logprobs": true, "top_logprobs": 2})).await).await;
    let expected = json!({"content": [{
        "token": " ", "logprob": -0.5, "bytes": [32],
        "top_logprobs": [
            {"token": " ", "logprob": -0.5, "bytes": [32]}, {"token": "!", "logprob": -0.515625, "bytes": [33]}
        ]
    }]});
    assert_eq!(answer["choices"][0]["logprobs"], expected);
    let answer = ok(chat(&server, json!({"max_tokens": 1, "logprobs": true})).await).await;
    assert_eq!(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"], json!([]));
    let answer = ok(chat(&server, json!({"max_tokens": 1, "logprobs": false, "top_logprobs": 0})).await).await;
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
}

#[tokio::test]
async fn a_stream_begins_with_the_role_and_ends_with_the_reason() {
    let server = Server::start().await;
    let whole = ok(chat(&server, json!({"n": 2})).await).await;
    let changes = json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}});
    let chunks = events(chat(&server, changes).await).await;
    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    for index in 0..2 {
        let parts: Vec<&Value> =
            chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|part| part["index"] == index).collect();
        let (first, end) = (parts[0], parts[parts.len() - 1]);
        let role = json!({"role": "assistant", "content": ""});
        assert_eq!(*first, json!({"index": index, "delta": role, "logprobs": null, "finish_reason": null}));
        assert_eq!(*end, json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": "stop"}));
        let content: String = parts.iter().filter_map(|part| part["delta"]["content"].as_str()).collect();
        assert_eq!(content, whole["choices"][index]["message"]["content"].as_str().unwrap());
    }
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
}

#[tokio::test]
async fn a_streams_logprobs_are_the_wholes() {
    let server = Server::start().await;
    let changes = |stream: bool| json!({"logprobs": true, "top_logprobs": 1, "stream": stream});
    let whole = ok(chat(&server, changes(false)).await).await["choices"][0]["logprobs"]["content"].take();
    let chunks = events(chat(&server, changes(true)).await).await;
    let told =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array()).flatten().cloned();
    assert_eq!(told.collect::<Value>(), whole);
}

#[tokio::test]
async fn what_clients_send_by_default_is_taken() {
    let server = Server::start().await;
    let idle = json!({
        "presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1, "logit_bias": null, "tools": [],
        "tool_choice": "none", "parallel_tool_calls": true, "response_format": {"type": "text"}, "store": false,
        "metadata": {}, "user": "someone", "n": null, "top_p": 1.0, "stream_options": null, "stop": null,
    });
    ok(chat(&server, idle).await).await;
    // A message as it was answered may be sent back.
    let message = ok(chat(&server, json!({})).await).await["choices"][0]["message"].take();
    let messages = json!([{"role": "user", "content": "3 + 4?"}, message, {"role": "user", "content": "Sure?"}]);
    ok(chat(&server, json!({"messages": messages})).await).await;
}
