//! `/v1/rollouts`: the answer's form, every source of alternatives, streams, refusals, storage, export and clients that
//! leave.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::engine::MAX_CONTEXT;
use crate::support::{Server, array, assert_refused, changed, events, keys, ok, refusal, until};

/// Where the response has its `X`.
const POSITION: usize = 4;

/// A trace whose right answer is 18, and whose response cannot reach it after its `X`.
async fn trace(server: &Server) -> Value {
    ok(server.score(json!({"response": " It X is 20.", "answer": "18"})).await).await
}

/// A request on a trace that is fine, with the fields of `changes` on top; null removes a field.
fn request(trace: &Value, changes: Value) -> Value {
    let request = json!({
        "trace_id": trace["id"], "position": POSITION, "sampling": {"max_tokens": 32},
        "alternatives": {"source": "given", "texts": ["+", "-"]}, "samples": 4, "original_samples": 4
    });
    changed(request, changes)
}

async fn post(server: &Server, trace: &Value, changes: Value) -> Response {
    server.post("/v1/rollouts", &request(trace, changes)).await
}

fn sum(values: &Value, field: &str) -> u64 {
    array(values).iter().map(|value| value[field].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn the_answer_has_the_contracts_form() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let changes = json!({"alternatives": {"source": "sampled", "count": 16}, "samples": 1, "original_samples": 6});
    let answer = ok(post(&server, &trace, changes).await).await;
    assert_eq!(
        keys(&answer),
        [
            "id",
            "object",
            "created",
            "trace_id",
            "model",
            "position",
            "answer",
            "sampling",
            "alternatives_source",
            "stopped",
            "original",
            "alternatives",
            "with_token",
            "without_token",
            "rollouts",
            "usage"
        ]
    );
    assert!(answer["id"].as_str().unwrap().starts_with("roll_"));
    assert_eq!(
        (
            &answer["object"],
            &answer["trace_id"],
            &answer["position"],
            &answer["answer"],
            &answer["alternatives_source"]
        ),
        (&json!("rollouts"), &trace["id"], &json!(POSITION), &json!("18"), &json!("sampled"))
    );
    assert_eq!(answer["model"], json!({"id": "base", "sha256": "sha-of-base"}));
    let sampling = json!({"temperature": 0.5, "top_p": 0.95, "top_k": 0, "min_p": 0.0, "max_tokens": 32,
                          "stop": ["\n\nQuestion:"], "seed": 0});
    assert_eq!(answer["sampling"], sampling);

    let original = &answer["original"];
    assert_eq!(
        keys(original),
        ["token", "logprob", "samples", "correct", "unparsed", "timeout", "rate", "interval", "pass_at_k"]
    );
    assert_eq!(original["token"], json!({"id": 88, "text": "X"}));
    assert_eq!((&original["samples"], &original["correct"], &original["rate"]), (&json!(6), &json!(0), &json!(0.0)));
    assert_eq!(original["pass_at_k"], json!({"1": 0.0, "2": 0.0, "4": 0.0, "6": 0.0}));
    assert_eq!(original["logprob"], json!({"base": -1.375}));
    // Wilson's interval for 0 of 6 ends at z^2 / (6 + z^2).
    let high = original["interval"][1].as_f64().unwrap();
    assert!(original["interval"][0] == json!(0.0) && (high - 0.390_334).abs() < 1e-5, "{high}");

    let alternatives = &answer["alternatives"];
    assert_eq!(
        keys(&alternatives[0]),
        ["token", "logprob", "drawn", "samples", "correct", "unparsed", "timeout", "rate", "interval", "pass_at_k"]
    );
    assert_eq!((sum(alternatives, "drawn"), sum(alternatives, "samples")), (16, 16));
    assert!(array(alternatives).iter().all(|group| group["drawn"] == group["samples"]));
    assert_eq!(keys(&answer["without_token"]), ["samples", "correct", "pass_at_k"]);
    assert_eq!(answer["without_token"]["correct"], json!(sum(alternatives, "correct")));
    assert!(answer["without_token"]["pass_at_k"]["16"] == json!(1.0), "half of them are right");
    assert_eq!(answer["with_token"]["pass_at_k"], original["pass_at_k"]);

    let rollouts = array(&answer["rollouts"]);
    assert_eq!(rollouts.len(), 22);
    let first = &rollouts[0];
    assert_eq!(keys(first), ["alternative", "index", "text", "token_ids", "start", "finish_reason", "verdict"]);
    assert_eq!(
        (&first["alternative"], &first["index"], &first["finish_reason"]),
        (&Value::Null, &json!(0), &json!("eos"))
    );
    for rollout in rollouts {
        // " It " and the forced token have five bytes.
        assert_eq!(rollout["start"], json!(5));
        let place = |end: usize| rollout["verdict"]["span"][end].as_u64().unwrap() as usize - 5;
        let text = rollout["text"].as_str().unwrap();
        assert_eq!(text[place(0)..place(1)], *rollout["verdict"]["extracted"].as_str().unwrap());
    }
    assert_eq!(keys(&answer["usage"]), ["prefill_tokens", "reused_tokens", "generated_tokens"]);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_rollouts_and_fewer_are_the_first_of_them() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let of = async |changes: Value| {
        let answer = ok(post(&server, &trace, changes).await).await;
        array(&answer["rollouts"])
            .iter()
            .filter(|rollout| rollout["alternative"] == json!(1))
            .cloned()
            .collect::<Vec<_>>()
    };
    let many = of(json!({})).await;
    assert_eq!(of(json!({})).await, many);
    assert_eq!(of(json!({"samples": 2, "include_original": false, "original_samples": null})).await, many[..2]);
    assert_ne!(of(json!({"sampling": {"max_tokens": 32, "seed": 1}})).await, many);
}

#[tokio::test]
async fn alternatives_come_from_a_models_likeliest_or_from_the_caller() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let tokens = |answer: &Value| -> Vec<u64> {
        array(&answer["alternatives"]).iter().map(|group| group["token"]["id"].as_u64().unwrap()).collect()
    };
    let top = json!({"alternatives": {"source": "top", "model": "positive", "k": 3}, "include_original": false,
                     "original_samples": null});
    let answer = ok(post(&server, &trace, top).await).await;
    assert_eq!(tokens(&answer), [32, 33, 34]);
    assert_eq!(answer["alternatives"][1]["logprob"], json!({"base": -0.515625, "positive": -0.515625}));
    assert_eq!((&answer["alternatives"][1]["drawn"], &answer["alternatives"][1]["samples"]), (&Value::Null, &json!(4)));
    assert_eq!(
        (&answer["original"]["samples"], &answer["original"]["rate"], &answer["original"]["pass_at_k"]),
        (&json!(0), &Value::Null, &json!({}))
    );

    // White space is a token like any other, and is forced as it is.
    for given in [json!({"texts": [" ", "\n"]}), json!({"token_ids": [32, 10]})] {
        let mut alternatives = given;
        alternatives["source"] = json!("given");
        let answer = ok(post(&server, &trace, json!({"alternatives": alternatives})).await).await;
        assert_eq!(tokens(&answer), [32, 10]);
        assert_eq!(answer["alternatives_source"], json!("given"));
        assert_eq!(answer["rollouts"][11]["start"], json!(5));
    }
}

#[tokio::test]
async fn a_response_that_is_no_trace_is_rolled_out_and_not_stored() {
    let server = Server::start().await;
    let none = json!({"id": null});
    let text = json!({"trace_id": null, "prompt": "Q", "response": " It X", "answer": "18"});
    let ids = json!({"trace_id": null, "prompt_token_ids": [81], "response_token_ids": [32, 73, 116, 32, 88], "answer": "18"});
    let one = ok(post(&server, &none, text).await).await;
    let other = ok(post(&server, &none, ids).await).await;
    assert_eq!((&one["trace_id"], &one["rollouts"]), (&Value::Null, &other["rollouts"]));
    let path = format!("/v1/rollouts/{}", one["id"].as_str().unwrap());
    assert_refused(&refusal(server.get(&path).await).await, 404, "rollouts_not_found", None);
}

#[tokio::test]
async fn a_stream_tells_of_alternatives_of_rollouts_and_of_the_end() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let events = events(post(&server, &trace, json!({"stream": true})).await).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "rollout").count(), 12);
    assert_eq!((kinds[0], kinds[5], kinds[10], kinds[15]), ("summary", "summary", "summary", "done"));
    assert_eq!(
        (events[0]["alternatives"][1]["token"]["text"].as_str(), &events[0]["original"]["samples"]),
        (Some("-"), &json!(0))
    );
    assert_eq!(events[5]["original"]["samples"], json!(4));
    assert!(events[15].get("rollouts").is_none());

    // What was streamed is what is stored.
    let whole = ok(server.get(&format!("/v1/rollouts/{}", events[15]["id"].as_str().unwrap())).await).await;
    for (field, value) in events[15].as_object().unwrap().iter().filter(|(field, _)| *field != "event") {
        assert_eq!(&whole[field], value, "{field}");
    }
    let mut sent: Vec<Value> = events.into_iter().filter(|event| event["event"] == "rollout").collect();
    for event in &mut sent {
        event.as_object_mut().unwrap().shift_remove("event");
    }
    assert_eq!(whole["rollouts"], json!(sent));
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let given = |given: Value| json!({"alternatives": given});
    let long: Vec<u32> = (0..257).collect();
    for (changes, code, param) in [
        (json!({"position": 12}), "invalid_value", "position"),
        (json!({"position": -1}), "invalid_value", "position"),
        (json!({"position": null}), "missing_field", "position"),
        (json!({"trace_id": null}), "missing_field", "trace_id"),
        (json!({"prompt": "Q"}), "conflicting_fields", "prompt"),
        (json!({"trace_id": null, "prompt": "Q"}), "missing_field", "response"),
        (json!({"trace_id": null, "prompt": "Q", "response": " It X"}), "invalid_value", "answer"),
        (json!({"answer": ""}), "out_of_range", "answer"),
        (json!({"samples": 0}), "out_of_range", "samples"),
        (json!({"samples": 4096}), "out_of_range", "samples"),
        (json!({"original_samples": 0}), "out_of_range", "original_samples"),
        (json!({"original_samples": 4097}), "out_of_range", "original_samples"),
        (json!({"original_samples": 4096}), "out_of_range", "original_samples"),
        (json!({"include_original": false}), "conflicting_fields", "original_samples"),
        (
            json!({"alternatives": {"source": "sampled", "count": 4000}, "original_samples": 100}),
            "out_of_range",
            "alternatives.count",
        ),
        (json!({"n": 4}), "unknown_field", "n"),
        (json!({"sampling": {"max_tokens": 0}}), "out_of_range", "sampling.max_tokens"),
        (json!({"sampling": {"max_tokens": 400_000}}), "out_of_range", "sampling.max_tokens"),
        (json!({"sampling": {"max_tokens": 500}}), "context_length_exceeded", "sampling.max_tokens"),
        (
            json!({"trace_id": null, "prompt": "Q".repeat(510), "response": " It X", "answer": "18"}),
            "context_length_exceeded",
            "position",
        ),
        (
            json!({"trace_id": null, "prompt": "Q".repeat(511), "response": " It X", "answer": "18"}),
            "context_length_exceeded",
            "prompt",
        ),
        (json!({"sampling": {"max_tokens": 32, "top_p": 0}}), "out_of_range", "sampling.top_p"),
        (json!({"sampling": {"max_tokens": 32, "stop": ["a", ""]}}), "out_of_range", "sampling.stop[1]"),
        (json!({"sampling": {"n": 1}}), "unknown_field", "sampling.n"),
        (given(json!({})), "missing_field", "alternatives.source"),
        (given(json!({"source": "best"})), "invalid_value", "alternatives.source"),
        (given(json!({"source": "sampled", "count": 0})), "out_of_range", "alternatives.count"),
        (given(json!({"source": "sampled", "k": 3})), "conflicting_fields", "alternatives.k"),
        (given(json!({"source": "sampled", "temperature": -1})), "out_of_range", "alternatives.temperature"),
        (given(json!({"source": "top"})), "missing_field", "alternatives.k"),
        (given(json!({"source": "top", "k": 101})), "out_of_range", "alternatives.k"),
        (given(json!({"source": "given"})), "missing_field", "alternatives.token_ids"),
        (given(json!({"source": "given", "token_ids": []})), "out_of_range", "alternatives.token_ids"),
        (given(json!({"source": "given", "token_ids": long})), "out_of_range", "alternatives.token_ids"),
        (given(json!({"source": "given", "token_ids": [88]})), "invalid_value", "alternatives.token_ids[0]"),
        (given(json!({"source": "given", "token_ids": [1, 2, 1]})), "invalid_value", "alternatives.token_ids[2]"),
        (given(json!({"source": "given", "token_ids": [1, 256]})), "invalid_value", "alternatives.token_ids[1]"),
        (
            given(json!({"source": "given", "token_ids": [1], "texts": ["a"]})),
            "conflicting_fields",
            "alternatives.texts",
        ),
        (given(json!({"source": "given", "texts": ["a", ""]})), "invalid_value", "alternatives.texts[1]"),
    ] {
        for stream in [false, true] {
            let mut request = request(&trace, changes.clone());
            request["stream"] = json!(stream);
            let error = refusal(server.post("/v1/rollouts", &request).await).await;
            assert_refused(&error, 422, code, Some(param));
        }
    }
    let two = given(json!({"source": "given", "texts": ["+", "15"]}));
    let error = refusal(post(&server, &trace, two).await).await;
    assert_refused(&error, 422, "invalid_value", Some("alternatives.texts[1]"));
    assert!(error.message.contains("49 \"1\", 53 \"5\""), "{}", error.message);

    let plain = ok(server.score(json!({})).await).await;
    let error = refusal(post(&server, &plain, json!({})).await).await;
    assert_refused(&error, 422, "invalid_value", Some("answer"));

    let gone = json!({"id": "trace_00000000000000000000000000"});
    assert_refused(&refusal(post(&server, &gone, json!({})).await).await, 404, "trace_not_found", None);
    let model = post(&server, &trace, json!({"model": "who"})).await;
    assert_refused(&refusal(model).await, 404, "model_not_found", Some("model"));
    let model = given(json!({"source": "top", "k": 1, "model": "who"}));
    assert_refused(
        &refusal(post(&server, &trace, model).await).await,
        404,
        "model_not_found",
        Some("alternatives.model"),
    );
    server.engine.full.store(true, SeqCst);
    assert_refused(&refusal(post(&server, &trace, json!({"stream": true})).await).await, 429, "queue_full", None);
}

#[tokio::test]
async fn the_default_length_is_what_the_context_leaves() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let answer = ok(post(&server, &trace, json!({"sampling": {}})).await).await;
    let before = trace["usage"]["prompt_tokens"].as_u64().unwrap() as usize + POSITION;
    assert_eq!(answer["sampling"]["max_tokens"], json!(MAX_CONTEXT - before - 1));
    let search = ok(server.post("/v1/searches", &json!({"trace_id": trace["id"]})).await).await;
    let tokens = trace["usage"]["response_tokens"].as_u64().unwrap() as usize + before - POSITION;
    assert_eq!(search["settings"]["sampling"]["max_tokens"], json!(MAX_CONTEXT - tokens));
}

#[tokio::test]
async fn what_the_cache_cannot_hold_is_refused_before_alternatives_are_drawn() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    server.engine.cache.store(60, SeqCst);
    let sampled = json!({"alternatives": {"source": "sampled", "count": 4}, "samples": 1});
    let error = refusal(post(&server, &trace, sampled).await).await;
    assert_refused(&error, 422, "cache_budget_exceeded", Some("sampling.max_tokens"));
    assert!(server.engine.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn rollouts_under_way_keep_their_model_and_wait_for_a_full_queue() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let held = server.engine.hold().await;
    let sampled = json!({"model": "positive", "alternatives": {"source": "sampled", "count": 4}, "samples": 1});
    let client = tokio::spawn(server.request(Method::POST, "/v1/rollouts").json(&request(&trace, sampled)).send());
    until(|| server.engine.waiting.load(SeqCst) == 1).await;
    ok(server.put("/v1/roles", &json!({"positive": "neg", "negative": "pos"})).await).await;
    server.engine.full.store(true, SeqCst);
    drop(held);
    until(|| server.engine.waiting.load(SeqCst) == 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!client.is_finished());
    server.engine.full.store(false, SeqCst);
    let answer = ok(client.await.unwrap().unwrap()).await;
    assert_eq!((&answer["model"]["id"], keys(&answer["original"]["logprob"])), (&json!("pos"), vec!["positive"]));
    let requests = server.engine.requests.lock().unwrap();
    assert!(requests.len() == 2 && requests.iter().all(|request| request.model == "pos"));
}

#[tokio::test]
async fn rollouts_are_kept_with_their_trace_and_go_with_it() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let first = ok(post(&server, &trace, json!({})).await).await;
    let unsaved = ok(post(&server, &trace, json!({"save": false})).await).await;
    let second = ok(post(&server, &trace, json!({"position": 1, "model": "pos"})).await).await;
    assert_eq!((&unsaved["trace_id"], &second["model"]["id"]), (&Value::Null, &json!("pos")));
    let mut with = server.stored(&trace).await;
    assert_eq!(with["rollouts"], json!([first, second]));
    with.as_object_mut().unwrap().shift_remove("rollouts");
    assert_eq!(with, trace);

    let path = format!("/v1/rollouts/{}", first["id"].as_str().unwrap());
    assert_eq!(ok(server.get(&path).await).await, first);
    ok(server.delete(&format!("/v1/traces/{}", trace["id"].as_str().unwrap())).await).await;
    assert_refused(&refusal(server.get(&path).await).await, 404, "rollouts_not_found", None);
}

#[tokio::test]
async fn rollouts_travel_with_an_export() {
    let here = Server::start().await;
    let there = Server::start().await;
    let trace = trace(&here).await;
    let bare = here.export(&trace).await;
    ok(post(&here, &trace, json!({})).await).await;
    let one = here.export(&trace).await;
    ok(post(&here, &trace, json!({"position": 1})).await).await;
    let two = here.export(&trace).await;
    assert!(!bare.contains("\"rollouts\"") && two.len() > one.len());

    let id = &trace["id"];
    let report = |imported: u32| json!({"imported": imported, "unchanged": 1 - imported, "ids": [id], "errors": []});
    assert_eq!(ok(there.import(one.clone()).await).await, report(1));
    assert_eq!(ok(there.import(bare.clone()).await).await, report(0), "an older export takes nothing away");
    assert_eq!(ok(there.import(two.clone()).await).await, report(1), "a newer one adds what is missing");
    assert_eq!(ok(there.import(two.clone()).await).await, report(0));
    assert_eq!(there.stored(&trace).await, here.stored(&trace).await);
    assert_eq!(there.export(&trace).await, two);

    let good: Value = serde_json::from_str(&one).unwrap();
    let fresh = Server::start().await;
    for (path, value, field) in [
        ("/rollouts/0/original/correct", json!(3), "rollouts[0].original.correct"),
        ("/rollouts/0/original/token/id", json!(89), "rollouts[0].original.token.id"),
        ("/rollouts/0/original/interval", json!([0.5, 0.1]), "rollouts[0].original.interval"),
        ("/rollouts/0/alternatives/0/pass_at_k", json!({"1": 0.5}), "rollouts[0].alternatives[0].pass_at_k"),
        ("/rollouts/0/position", json!(400), "rollouts[0].position"),
        ("/rollouts/0/trace_id", json!("trace_00000000000000000000000000"), "rollouts[0].trace_id"),
        ("/rollouts/0/id", json!("roll_x"), "rollouts[0].id"),
        ("/rollouts/0/rollouts/0/index", json!(9), "rollouts[0].rollouts[0].index"),
        ("/rollouts/0/rollouts/0/verdict/span", json!([0, 900]), "rollouts[0].rollouts[0].verdict.span"),
        ("/rollouts/0/sampling/top_p", json!(7), "rollouts[0].sampling.top_p"),
        ("/rollouts/0/usage", json!({}), "missing field `prefill_tokens`"),
        ("/rollouts", json!({}), "invalid type"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        let report = ok(fresh.import(bad.to_string()).await).await;
        let message = report["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{path}: {report}"));
        assert!(message.contains(field), "{path}: {message}");
    }
    // The same id with other numbers is another set.
    let mut other = good;
    other["rollouts"][0]["created"] = json!(1);
    let report = ok(there.import(other.to_string()).await).await;
    assert!(report["errors"][0]["message"].as_str().unwrap().starts_with("line 1: conflict"), "{report}");
}

#[tokio::test]
async fn an_exported_page_has_the_proofs() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let set = ok(post(&server, &trace, json!({})).await).await;
    ok(server.post("/v1/searches", &json!({"trace_id": trace["id"], "sampling": {"max_tokens": 32}})).await).await;
    let path = format!("/v1/traces/{}/export?format=html", trace["id"].as_str().unwrap());
    let page = server.get(&path).await.text().await.unwrap();
    assert!(page.contains("<h2>Rollouts</h2>") && page.contains("<h2>Searches for the critical token</h2>"));
    for group in std::iter::once(&set["original"]).chain(array(&set["alternatives"])) {
        let right = format!("<td>{} / {}<td>", group["correct"], group["samples"]);
        assert!(page.contains(&right), "{right}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_engine_and_nothing_is_kept() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    server.leave("/v1/rollouts", request(&trace, json!({})), &trace).await;
}
