//! `/tokenize` and `/detokenize`, as vLLM's clients call them.

use serde_json::{Value, json};

use crate::support::engine::MAX_CONTEXT;
use crate::support::{Server, assert_refused, ok, refusal};

#[tokio::test]
async fn text_to_ids_and_back() {
    let server = Server::start().await;
    let answer = ok(server.post("/tokenize", &json!({"model": "base", "prompt": "Hi é"})).await).await;
    let ids = json!([72, 105, 32, 195, 169]);
    assert_eq!(answer, json!({"count": 5, "max_model_len": MAX_CONTEXT, "tokens": ids, "token_strs": null}));
    let back = ok(server.post("/detokenize", &json!({"model": "pos", "tokens": ids})).await).await;
    assert_eq!(back, json!({"prompt": "Hi é"}));
    let strings = ok(server.post("/tokenize", &json!({"prompt": "Hi", "return_token_strs": true})).await).await;
    assert_eq!(strings["token_strs"], json!(["H", "i"]));
    assert_eq!(ok(server.post("/tokenize", &json!({"prompt": ""})).await).await["count"], 0);
}

#[tokio::test]
async fn a_chat_goes_through_the_template() {
    let server = Server::start().await;
    let text_of = async |request: Value| {
        let ids = ok(server.post("/tokenize", &request).await).await["tokens"].clone();
        ok(server.post("/detokenize", &json!({"tokens": ids})).await).await["prompt"].clone()
    };
    let messages = json!([{"role": "user", "content": "3 + 4?"}]);
    assert_eq!(text_of(json!({"messages": messages})).await, "<user>3 + 4?\n<assistant>");
    let closed = json!({"messages": messages, "add_generation_prompt": false});
    assert_eq!(text_of(closed).await, "<user>3 + 4?\n");
}

#[tokio::test]
async fn bad_requests_name_their_field() {
    let server = Server::start().await;
    let messages = json!([{"role": "user", "content": "a"}]);
    for (body, code, param) in [
        (json!({}), "missing_field", "prompt"),
        (json!({"prompt": "a", "messages": messages}), "conflicting_fields", "messages"),
        (json!({"prompt": "a", "add_generation_prompt": true}), "conflicting_fields", "add_generation_prompt"),
        (json!({"messages": messages, "add_special_tokens": true}), "conflicting_fields", "add_special_tokens"),
        (json!({"messages": [{"role": "user", "content": null}]}), "invalid_value", "messages[0].content"),
        (json!({"prompt": ["a"]}), "invalid_value", "prompt"),
    ] {
        assert_refused(&refusal(server.post("/tokenize", &body).await).await, 422, code, Some(param));
    }
    for (body, code, param) in [
        (json!({}), "missing_field", "tokens"),
        (json!({"tokens": [1, 256]}), "invalid_value", "tokens[1]"),
        (json!({"tokens": [-1]}), "invalid_value", "tokens[0]"),
        (json!({"tokens": "abc"}), "invalid_value", "tokens"),
    ] {
        assert_refused(&refusal(server.post("/detokenize", &body).await).await, 422, code, Some(param));
    }
    for (path, body) in
        [("/tokenize", json!({"model": "who", "prompt": "a"})), ("/detokenize", json!({"model": "who", "tokens": [1]}))]
    {
        assert_refused(&refusal(server.post(path, &body).await).await, 404, "model_not_found", Some("model"));
    }
}
