//! `POST /v1/completions`: the answer's form, several prompts and samples, echoes, streams, and clients that leave.

use std::sync::atomic::Ordering::SeqCst;

use linchpin::engine::EngineError;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Server, assert_refused, events, ok, refusal, until};

/// A request that is fine, with the fields of `changes` on top.
fn request(changes: Value) -> Value {
    let mut request = json!({"model": "base", "prompt": "3 + 4?", "seed": 7});
    request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    request
}

async fn complete(server: &Server, changes: Value) -> Response {
    server.post("/v1/completions", &request(changes)).await
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().unwrap().iter().enumerate();
    choices
        .map(|(index, choice)| {
            assert_eq!(choice["index"], index, "{answer}");
            choice["text"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn the_answer_has_openais_form() {
    let server = Server::start().await;
    let mut answer = ok(complete(&server, json!({})).await).await;
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"), "{answer}");
    assert!(answer["created"].as_i64().unwrap() > 1_700_000_000);
    let text = texts(&answer).remove(0);
    assert!(text.starts_with(" A: "), "{text:?}");
    for field in ["id", "created"] {
        answer.as_object_mut().unwrap().shift_remove(field);
    }
    // The fake engine draws the text and a byte 0 that ends it.
    let drawn = text.len() + 1;
    assert_eq!(
        answer,
        json!({
            "object": "text_completion", "model": "base", "system_fingerprint": "fp_sha-of-base", "seed": 7,
            "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 6, "completion_tokens": drawn, "total_tokens": 6 + drawn,
                      "prompt_tokens_details": {"cached_tokens": 0}}
        })
    );
}

#[tokio::test]
async fn every_model_and_role_is_called_by_name() {
    let server = Server::start().await;
    for (name, model) in [("base", "base"), ("pos", "pos"), ("positive", "pos"), ("negative", "neg")] {
        let answer = ok(complete(&server, json!({"model": name})).await).await;
        assert_eq!(
            (&answer["model"], &answer["system_fingerprint"]),
            (&json!(model), &json!(format!("fp_sha-of-{model}")))
        );
        let echo = json!({"model": name, "echo": true, "max_tokens": 0, "logprobs": 0});
        assert_eq!(ok(complete(&server, echo).await).await["model"], model);
    }
    for nameless in [json!({"model": null}), json!({"model": "base"})] {
        assert_eq!(ok(complete(&server, nameless).await).await["model"], "base");
    }
}

#[tokio::test]
async fn a_seed_gives_the_same_choices_and_none_gives_others() {
    let server = Server::start().await;
    let draw = async |changes: Value| ok(complete(&server, changes).await).await;
    let eight = texts(&draw(json!({"n": 8})).await);
    assert_eq!(texts(&draw(json!({"n": 8})).await), eight);
    assert_eq!(texts(&draw(json!({"n": 3})).await), eight[..3], "fewer are the first of them");
    let chosen = draw(json!({"n": 8, "seed": null})).await;
    assert_ne!(chosen["seed"], draw(json!({"seed": null})).await["seed"]);
    assert_eq!(
        texts(&draw(json!({"n": 8, "seed": chosen["seed"]})).await),
        texts(&chosen),
        "the seed told is the one used"
    );
    assert_eq!(draw(json!({"seed": -1})).await["seed"], -1);
}

#[tokio::test]
async fn prompts_come_in_every_form_and_choices_in_their_order() {
    let server = Server::start().await;
    let draw = async |changes: Value| ok(complete(&server, changes).await).await;
    let text = texts(&draw(json!({"prompt": "ab"})).await);
    assert_eq!(texts(&draw(json!({"prompt": [97, 98]})).await), text);
    let (other, both) =
        (draw(json!({"prompt": "cd", "n": 2})).await, draw(json!({"prompt": ["ab", "cd"], "n": 2})).await);
    assert_eq!(texts(&both)[0], text[0]);
    assert_eq!(texts(&both)[2..], texts(&other));
    assert_eq!(texts(&draw(json!({"prompt": [[97, 98], [99, 100]], "n": 2})).await), texts(&both));
    assert_eq!(both["usage"]["prompt_tokens"], 4, "each prompt counts once");
    // A prompt given twice is drawn from twice.
    assert_eq!(texts(&draw(json!({"prompt": ["cd", "cd"]})).await), texts(&other));
}

#[tokio::test]
async fn many_prompts_go_through_a_few_lanes() {
    let server = Server::start().await;
    let prompts: Vec<String> = (0..100).map(|number| format!("prompt {number}")).collect();
    let held = server.engine.hold().await;
    let body = server.request(Method::POST, "/v1/completions").json(&request(json!({"prompt": prompts})));
    let client = tokio::spawn(body.send());
    until(|| server.engine.waiting.load(SeqCst) == 16).await;
    // The queue fills up meanwhile: what has begun goes on, and waits for room.
    server.engine.full.store(true, SeqCst);
    assert_refused(&refusal(complete(&server, json!({})).await).await, 429, "queue_full", None);
    drop(held);
    until(|| server.engine.waiting.load(SeqCst) == 0).await;
    server.engine.full.store(false, SeqCst);
    let answer = ok(client.await.unwrap().unwrap()).await;
    let alone = ok(complete(&server, json!({"prompt": "prompt 71"})).await).await;
    assert_eq!(texts(&answer).len(), 100);
    assert_eq!(texts(&answer)[71], texts(&alone)[0]);
}

#[tokio::test]
async fn a_role_means_the_same_model_for_every_prompt() {
    let server = Server::start().await;
    let prompts: Vec<String> = (0..20).map(|number| format!("prompt {number}")).collect();
    let held = server.engine.hold().await;
    let body = request(json!({"model": "positive", "prompt": prompts}));
    let client = tokio::spawn(server.request(Method::POST, "/v1/completions").json(&body).send());
    until(|| server.engine.waiting.load(SeqCst) == 16).await;
    ok(server.put("/v1/roles", &json!({"positive": "neg", "negative": "pos"})).await).await;
    drop(held);
    assert_eq!(ok(client.await.unwrap().unwrap()).await["model"], "pos");
    let requests = server.engine.requests.lock().unwrap();
    assert!(requests.len() == 20 && requests.iter().all(|request| request.model == "pos"));
}

#[tokio::test]
async fn stop_and_length_end_a_choice() {
    let server = Server::start().await;
    let choice = async |changes: Value| ok(complete(&server, changes).await).await["choices"][0].take();
    let stopped = choice(json!({"stop": ": "})).await;
    assert_eq!((&stopped["text"], &stopped["finish_reason"]), (&json!(" A"), &json!("stop")));
    assert_eq!(choice(json!({"stop": ["nowhere", "A"]})).await["text"], " ");
    let short = choice(json!({"max_tokens": 2})).await;
    assert_eq!((&short["text"], &short["finish_reason"]), (&json!(" A"), &json!("length")));
}

#[tokio::test]
async fn logprobs_have_openais_older_form() {
    let server = Server::start().await;
    let answer = ok(complete(&server, json!({"max_tokens": 3, "logprobs": 2})).await).await;
    let logprob = |id: u8| json!(-f32::from(id) / 64.0);
    assert_eq!(
        answer["choices"][0]["logprobs"],
        json!({
            "tokens": [" ", "A", ":"],
            "token_logprobs": [logprob(b' '), logprob(b'A'), logprob(b':')],
            "top_logprobs": [
                {" ": logprob(b' '), "!": logprob(b'!')},
                {"A": logprob(b'A'), "B": logprob(b'B')},
                {":": logprob(b':'), ";": logprob(b';')},
            ],
            "text_offset": [0, 1, 2]
        })
    );
    // With 0 the token itself is told.
    let answer = ok(complete(&server, json!({"max_tokens": 1, "logprobs": 0})).await).await;
    assert_eq!(answer["choices"][0]["logprobs"]["top_logprobs"], json!([{" ": logprob(b' ')}]));
    // What ends the choice is a token too, if no text.
    let answer = ok(complete(&server, json!({"logprobs": 0, "stop": "A"})).await).await;
    assert_eq!(answer["choices"][0]["logprobs"]["tokens"], json!([" ", "A"]));
}

#[tokio::test]
async fn an_echo_begins_with_the_prompt_and_its_logprobs() {
    let server = Server::start().await;
    let answer =
        ok(complete(&server, json!({"prompt": "é:", "echo": true, "max_tokens": 2, "logprobs": 1})).await).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "é: A");
    let logprob = |id: u8| json!(-f32::from(id) / 64.0);
    // The character of two bytes is two tokens, which read the same as the byte after the second does. The fake engine
    // holds the next byte to be likeliest in a scored text, and the drawn one among the drawn.
    assert_eq!(
        choice["logprobs"],
        json!({
            "tokens": ["\u{fffd}", "\u{fffd}", ":", " ", "A"],
            "token_logprobs": [null, logprob(0xa9), logprob(b':'), logprob(b' '), logprob(b'A')],
            "top_logprobs": [
                null,
                {"\u{fffd}": logprob(0xaa)},
                {";": logprob(b';'), ":": logprob(b':')},
                {" ": logprob(b' ')},
                {"A": logprob(b'A')},
            ],
            "text_offset": [0, 0, 1, 2, 3]
        })
    );
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(3), &json!(2)));
}

#[tokio::test]
async fn an_echo_may_draw_nothing() {
    let server = Server::start().await;
    let answer =
        ok(complete(&server, json!({"prompt": ["ab", "c"], "echo": true, "max_tokens": 0, "n": 2})).await).await;
    assert_eq!(texts(&answer), ["ab", "ab", "c", "c"]);
    assert_eq!(answer["choices"][3]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    // Of a prompt of one token nothing is known.
    let alone = json!({"prompt": "c", "echo": true, "max_tokens": 0, "logprobs": 3});
    let logprobs = ok(complete(&server, alone).await).await["choices"][0]["logprobs"].take();
    let expected = json!({"tokens": ["c"], "token_logprobs": [null], "top_logprobs": [null], "text_offset": [0]});
    assert_eq!(logprobs, expected);
}

#[tokio::test]
async fn what_clients_send_by_default_is_taken() {
    let server = Server::start().await;
    let idle = json!({
        "suffix": null, "presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "logit_bias": {},
        "user": "someone", "best_of": 1, "n": 1, "temperature": 0, "top_p": 1, "top_k": -1, "min_p": 0, "stop": [],
        "echo": false, "stream": false, "stream_options": null, "logprobs": null, "ignore_eos": false, "max_tokens": 16,
    });
    ok(complete(&server, idle).await).await;
    let nulls =
        ["suffix", "presence_penalty", "logit_bias", "user", "best_of", "n", "temperature", "top_p", "top_k", "stop"];
    ok(complete(&server, nulls.iter().map(|field| ((*field).to_owned(), Value::Null)).collect()).await).await;
}

#[tokio::test]
async fn a_stream_tells_tokens_as_they_are_drawn() {
    let server = Server::start().await;
    let whole = texts(&ok(complete(&server, json!({"n": 2})).await).await);
    let chunks = events(complete(&server, json!({"n": 2, "stream": true})).await).await;
    let first = &chunks[0];
    assert_eq!(first["choices"], json!([{"text": " ", "index": 0, "logprobs": null, "finish_reason": null}]));
    let mut told = [String::new(), String::new()];
    let mut ends = vec![];
    for chunk in &chunks {
        for field in ["id", "object", "created", "model", "system_fingerprint", "seed"] {
            assert_eq!(chunk[field], first[field]);
        }
        assert!(!chunk.as_object().unwrap().contains_key("usage"), "{chunk}");
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        told[index].push_str(choice["text"].as_str().unwrap());
        ends.extend(choice["finish_reason"].as_str().map(|reason| (index, reason)));
    }
    assert_eq!(told.to_vec(), whole);
    ends.sort_unstable();
    assert_eq!(ends, [(0, "stop"), (1, "stop")]);
    assert_eq!(first["object"], "text_completion");
}

#[tokio::test]
async fn a_stream_has_its_usage_at_the_end_if_asked_for() {
    let server = Server::start().await;
    let usage = json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 2});
    let chunks = events(complete(&server, usage).await).await;
    let (last, others) = chunks.split_last().unwrap();
    assert!(others.iter().all(|chunk| chunk.as_object().unwrap()["usage"].is_null()));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"],
        json!({"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 0}})
    );
}

#[tokio::test]
async fn a_stream_has_the_same_logprobs_and_the_echo_first() {
    let server = Server::start().await;
    let changes = |stream: bool| json!({"prompt": "é:", "echo": true, "logprobs": 1, "stop": "A", "stream": stream});
    let whole = ok(complete(&server, changes(false)).await).await["choices"][0]["logprobs"].take();
    let chunks = events(complete(&server, changes(true)).await).await;
    assert_eq!(chunks[0]["choices"][0]["text"], "é:");
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let parts = chunks.iter().flat_map(|chunk| chunk["choices"][0]["logprobs"][list].as_array().unwrap().clone());
        assert_eq!(parts.collect::<Value>(), whole[list], "{list}");
    }
}

#[tokio::test]
async fn an_error_in_a_stream_is_its_last_event() {
    let server = Server::start().await;
    let held = server.engine.hold().await;
    let response = complete(&server, json!({"stream": true})).await;
    *server.engine.fails.lock().unwrap() = Some(EngineError::Internal("CUDA error at secret.cu:12".to_owned()));
    drop(held);
    let chunks = events(response).await;
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0]["error"]["code"], "internal_error");
    assert!(!chunks[0].to_string().contains("secret"));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_every_prompt() {
    let server = Server::start().await;
    let held = server.engine.hold().await;
    let prompts = json!({"prompt": ["a", "b", "c"], "n": 2});
    let body = server.request(Method::POST, "/v1/completions").json(&request(prompts.clone()));
    let client = tokio::spawn(body.send());
    until(|| server.engine.waiting.load(SeqCst) == 3).await;
    client.abort();
    until(|| server.engine.waiting.load(SeqCst) == 0).await;

    let mut streamed = prompts;
    streamed["stream"] = json!(true);
    let response = complete(&server, streamed).await;
    until(|| server.engine.waiting.load(SeqCst) == 3).await;
    drop(response);
    until(|| server.engine.waiting.load(SeqCst) == 0).await;
    drop(held);
}

#[tokio::test]
async fn completions_are_counted() {
    let server = Server::start().await;
    ok(complete(&server, json!({"n": 2, "max_tokens": 3})).await).await;
    events(complete(&server, json!({"stream": true, "stop": "A"})).await).await;
    complete(&server, json!({"model": "who"})).await;
    let text = server.get("/metrics").await.text().await.unwrap();
    for line in [
        "linchpin_completions_total{outcome=\"length\"} 2",
        "linchpin_completions_total{outcome=\"stop\"} 1",
        "linchpin_completions_total{outcome=\"model_not_found\"} 1",
        "linchpin_completion_tokens_total 8",
        "linchpin_time_to_first_token_seconds_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
