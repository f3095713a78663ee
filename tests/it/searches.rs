//! `/v1/searches`: the answer's form, both strategies, candidates, streams, refusals, storage, export and clients that
//! leave.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Server, array, assert_refused, changed, events, keys, ok, refusal, until};

/// After the `X` the answer is never right, before it half of the samples are.
const RESPONSE: &str = " It is, as one sees at once, X and so 8.";
const X: usize = 29;

/// A trace whose right answer is 18, and whose response cannot reach it after its `X`.
async fn trace(server: &Server) -> Value {
    ok(server.score(json!({"response": RESPONSE, "answer": "18"})).await).await
}

/// A request on a trace that is fine, with the fields of `changes` on top; null removes a field.
fn request(trace: &Value, changes: Value) -> Value {
    changed(json!({"trace_id": trace["id"], "sampling": {"max_tokens": 32}}), changes)
}

async fn post(server: &Server, trace: &Value, changes: Value) -> Response {
    server.post("/v1/searches", &request(trace, changes)).await
}

fn at(answer: &Value, position: usize) -> &Value {
    array(&answer["positions"]).iter().find(|outcome| outcome["position"] == json!(position)).unwrap()
}

#[tokio::test]
async fn the_answer_has_the_contracts_form() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let answer = ok(post(&server, &trace, json!({})).await).await;
    assert_eq!(
        keys(&answer),
        [
            "id",
            "object",
            "created",
            "trace_id",
            "model",
            "answer",
            "settings",
            "critical",
            "token",
            "reason",
            "confidence",
            "positions",
            "contrast",
            "usage"
        ]
    );
    assert!(answer["id"].as_str().unwrap().starts_with("search_"));
    assert_eq!(
        (&answer["object"], &answer["trace_id"], &answer["answer"], &answer["reason"]),
        (&json!("search"), &trace["id"], &json!("18"), &json!("found"))
    );
    assert_eq!(answer["model"], json!({"id": "base", "sha256": "sha-of-base"}));
    assert_eq!(
        answer["settings"],
        json!({"samples": 64, "tail": 0.05, "strategy": "adaptive", "candidates": "all", "fallback": "none",
               "confidence": 0.95, "budget": 0.1,
               "sampling": {"temperature": 0.5, "top_p": 0.95, "top_k": 0, "min_p": 0.0, "max_tokens": 32,
                            "stop": ["\n\nQuestion:"], "seed": 0}})
    );
    assert_eq!((&answer["critical"], &answer["token"]), (&json!(X), &json!({"id": 88, "text": "X"})));
    let critical = at(&answer, X);
    assert_eq!(keys(critical), ["position", "samples", "correct", "rate", "interval", "decided"]);
    assert_eq!(
        (&critical["samples"], &critical["correct"], &critical["decided"]),
        (&json!(64), &json!(0), &json!("zero"))
    );
    // Wilson's interval for 0 of 64 ends at z^2 / (64 + z^2).
    let high = critical["interval"][1].as_f64().unwrap();
    assert!(critical["interval"][0] == json!(0.0) && (high - 0.056_624).abs() < 1e-5, "{high}");
    assert_eq!(at(&answer, X - 1)["decided"], json!("hopeful"));
    let positions = array(&answer["positions"]);
    assert!(positions.is_sorted_by_key(|outcome| outcome["position"].as_u64()));
    assert!(positions.iter().all(|outcome| outcome["samples"].as_u64().unwrap() > 0));

    // The fake scores a byte by its number: the space is lowest, and X is not low.
    let contrast = &answer["contrast"];
    assert_eq!(
        (keys(contrast), &contrast["precision"]),
        (vec!["candidates", "rank", "in_lowest", "precision"], &Value::Null)
    );
    assert_eq!(contrast["in_lowest"], json!({"1": false, "3": false, "5": false}));
    assert_eq!(contrast["rank"], json!(16));

    let usage = &answer["usage"];
    assert_eq!(
        keys(usage),
        [
            "prefill_tokens",
            "reused_tokens",
            "generated_tokens",
            "samples",
            "rounds",
            "exhaustive_tokens",
            "share",
            "queue_ms",
            "compute_ms"
        ]
    );
    let number = |field: &str| usage[field].as_f64().unwrap();
    assert_eq!(number("share"), number("generated_tokens") / number("exhaustive_tokens"));
    let drawn: u64 = positions.iter().map(|outcome| outcome["samples"].as_u64().unwrap()).sum();
    assert_eq!(usage["samples"], json!(drawn));
    // The fake's samples are as long after any position, so the end is not cheaper here than the beginning.
    assert!(number("share") < 0.12 && number("rounds") > 1.0, "{usage}");
    assert!(answer["confidence"].as_f64().unwrap() >= 0.95);
}

#[tokio::test]
async fn both_strategies_agree_and_draw_the_same_samples() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let adaptive = ok(post(&server, &trace, json!({})).await).await;
    let exhaustive = ok(post(&server, &trace, json!({"strategy": "exhaustive"})).await).await;
    assert_eq!(exhaustive["critical"], adaptive["critical"]);
    assert_eq!((&exhaustive["confidence"], &exhaustive["usage"]["share"]), (&json!(1.0), &json!(1.0)));
    assert_eq!(array(&exhaustive["positions"]).len(), RESPONSE.len());
    assert!(array(&exhaustive["positions"]).iter().all(|outcome| outcome["samples"] == json!(64)));
    for outcome in array(&adaptive["positions"]) {
        let whole = at(&exhaustive, outcome["position"].as_u64().unwrap() as usize);
        let (part, all) = (outcome["correct"].as_u64().unwrap(), whole["correct"].as_u64().unwrap());
        let left = 64 - outcome["samples"].as_u64().unwrap();
        assert!(part <= all && all <= part + left, "{outcome} {whole}");
    }
    let estimate = adaptive["usage"]["exhaustive_tokens"].as_f64().unwrap();
    let cost = exhaustive["usage"]["generated_tokens"].as_f64().unwrap();
    assert!((estimate / cost - 1.0).abs() < 0.1, "{estimate} {cost}");
    let again = ok(post(&server, &trace, json!({})).await).await;
    assert_eq!((&again["positions"], &again["critical"]), (&adaptive["positions"], &adaptive["critical"]));
}

#[tokio::test]
async fn a_response_without_an_x_has_no_critical_token_but_may_fall_back() {
    let server = Server::start().await;
    let hopeful = ok(server.score(json!({"answer": "18"})).await).await;
    for strategy in ["adaptive", "exhaustive"] {
        let answer = ok(post(&server, &hopeful, json!({"strategy": strategy, "budget": 1.0})).await).await;
        assert_eq!(
            (&answer["critical"], &answer["token"], &answer["reason"]),
            (&Value::Null, &Value::Null, &json!("no_critical"))
        );
        let changes = json!({"strategy": strategy, "fallback": "last_zero", "budget": 1.0});
        let answer = ok(post(&server, &hopeful, changes).await).await;
        assert_eq!((&answer["critical"], &answer["reason"]), (&Value::Null, &json!("no_critical")));
    }
    // Nothing is right against an answer that the fake never gives.
    let hopeless = ok(post(&server, &hopeful, json!({"answer": "7"})).await).await;
    assert_eq!((&hopeless["critical"], &hopeless["reason"]), (&json!(0), &json!("found")));
}

#[tokio::test]
async fn only_the_lowest_scores_are_looked_at_when_they_are_the_candidates() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    for strategy in ["adaptive", "exhaustive"] {
        let changes = json!({"candidates": {"lowest_scores": 17}, "strategy": strategy, "budget": 1.0});
        let answer = ok(post(&server, &trace, changes).await).await;
        assert_eq!(answer["settings"]["candidates"], json!({"lowest_scores": 17}));
        let contrast = &answer["contrast"];
        let candidates = array(&contrast["candidates"]);
        assert_eq!(candidates.len(), 17);
        assert!(array(&answer["positions"]).iter().all(|outcome| candidates.contains(&outcome["position"])));
        assert_eq!(answer["critical"], json!(X));
        assert_eq!((&contrast["rank"], &contrast["precision"]), (&json!(16), &json!(1.0 / 17.0)));
        assert!(answer["usage"]["share"].as_f64().unwrap() < 0.5);
    }
    // Without a trace the scores are asked for.
    let inline = json!({"trace_id": null, "prompt": "Question: 3 + 4?\nAnswer:", "response": RESPONSE, "answer": "18",
                        "candidates": {"lowest_scores": 17}});
    let answer = ok(post(&server, &trace, inline).await).await;
    assert_eq!((&answer["critical"], &answer["trace_id"]), (&json!(X), &Value::Null));
}

#[tokio::test]
async fn a_stream_tells_of_rounds_and_positions_and_ends_with_the_answer() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let streamed = events(post(&server, &trace, json!({"stream": true})).await).await;
    assert_eq!(streamed[0]["event"], json!("summary"));
    assert_eq!(
        keys(&streamed[0]),
        ["event", "round", "drawing", "leading", "confidence", "samples", "generated_tokens", "exhaustive_tokens"]
    );
    let mut done = streamed.last().unwrap().clone();
    assert_eq!(done["event"], json!("done"));
    done.as_object_mut().unwrap().shift_remove("event");
    let whole = ok(post(&server, &trace, json!({})).await).await;
    assert_eq!((&done["positions"], &done["critical"]), (&whole["positions"], &whole["critical"]));
    let rounds = streamed.iter().filter(|event| event["event"] == json!("summary")).count();
    assert_eq!(json!(rounds), done["usage"]["rounds"]);
    // The last word on each position is the answer's count.
    for outcome in array(&done["positions"]) {
        let position = |event: &&Value| event["event"] == json!("position") && event["position"] == outcome["position"];
        let last = streamed.iter().rev().find(position).unwrap();
        assert_eq!((&last["samples"], &last["correct"]), (&outcome["samples"], &outcome["correct"]));
    }
    assert_eq!(ok(server.get(&format!("/v1/searches/{}", done["id"].as_str().unwrap())).await).await, done);
}

#[tokio::test]
async fn mistakes_name_their_field() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    for (changes, code, param) in [
        (json!({"samples": 0}), "out_of_range", "samples"),
        (json!({"samples": 1025}), "out_of_range", "samples"),
        (json!({"tail": 1.0}), "out_of_range", "tail"),
        (json!({"confidence": 1.0}), "out_of_range", "confidence"),
        (json!({"budget": 0.0}), "out_of_range", "budget"),
        (json!({"candidates": {"lowest_scores": 0}}), "out_of_range", "candidates.lowest_scores"),
        (json!({"candidates": "some"}), "invalid_value", "candidates"),
        (json!({"strategy": "greedy"}), "invalid_value", "strategy"),
        (json!({"fallback": "first"}), "invalid_value", "fallback"),
        (json!({"sampling": {"top_p": 0.0}}), "out_of_range", "sampling.top_p"),
        (json!({"sampling": {"topp": 0.5}}), "unknown_field", "sampling.topp"),
        (json!({"position": 3}), "unknown_field", "position"),
        (json!({"trace_id": null}), "missing_field", "trace_id"),
        (json!({"prompt": "a"}), "conflicting_fields", "prompt"),
        (json!({"answer": ""}), "out_of_range", "answer"),
        (json!({"answer": " "}), "invalid_value", "answer"),
        (json!({"trace_id": null, "prompt": "a", "response": "b"}), "invalid_value", "answer"),
        (json!({"sampling": {"max_tokens": 100_000}}), "out_of_range", "sampling.max_tokens"),
        (json!({"sampling": {"max_tokens": 500}}), "context_length_exceeded", "sampling.max_tokens"),
    ] {
        let what = changes.to_string();
        let error = refusal(post(&server, &trace, changes).await).await;
        assert_eq!((error.status, error.code.as_str(), error.param.as_deref()), (422, code, Some(param)), "{what}");
    }
    let unknown = post(&server, &trace, json!({"model": "who"})).await;
    assert_refused(&refusal(unknown).await, 404, "model_not_found", Some("model"));
    let missing = post(&server, &trace, json!({"trace_id": "trace_00000000000000000000000000"})).await;
    assert_refused(&refusal(missing).await, 404, "trace_not_found", None);
    assert_refused(&refusal(server.get("/v1/searches/search_x").await).await, 404, "search_not_found", None);
    server.engine.full.store(true, SeqCst);
    assert_refused(&refusal(post(&server, &trace, json!({})).await).await, 429, "queue_full", None);
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_scored() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    // Whatever asks for a place in the queue is refused with another error.
    server.engine.full.store(true, SeqCst);
    let inline = |prompt: usize, response: usize| json!({"trace_id": null, "prompt": "Q".repeat(prompt), "response": "a".repeat(response), "answer": "18"});
    for (changes, param) in
        [(inline(10, 502), "response"), (inline(512, 1), "prompt"), (inline(10, 480), "sampling.max_tokens")]
    {
        let error = refusal(post(&server, &trace, changes).await).await;
        assert_refused(&error, 422, "context_length_exceeded", Some(param));
    }
    server.engine.cache.store(60, SeqCst);
    let error = refusal(post(&server, &trace, inline(10, 20)).await).await;
    assert_refused(&error, 422, "cache_budget_exceeded", Some("sampling.max_tokens"));
}

#[tokio::test]
async fn a_search_under_way_waits_for_a_full_queue() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let held = server.engine.hold().await;
    let client = tokio::spawn(server.request(Method::POST, "/v1/searches").json(&request(&trace, json!({}))).send());
    until(|| server.engine.waiting.load(SeqCst) == 1).await;
    server.engine.full.store(true, SeqCst);
    drop(held);
    until(|| server.engine.waiting.load(SeqCst) == 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!client.is_finished());
    server.engine.full.store(false, SeqCst);
    assert_eq!(ok(client.await.unwrap().unwrap()).await["critical"], json!(X));
}

#[tokio::test]
async fn an_exhaustive_search_spends_its_whole_cost_also_where_the_response_ends_itself() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let changes = json!({"trace_id": null, "prompt": "Q", "response_token_ids": [32, 88, 0], "answer": "18",
                         "strategy": "exhaustive"});
    let answer = ok(post(&server, &trace, changes).await).await;
    assert_eq!(answer["usage"]["share"], json!(1.0));
}

#[tokio::test]
async fn without_roles_there_are_no_scores_to_choose_candidates_by() {
    let server = Server::start().await;
    ok(server.put("/v1/roles", &json!({"positive": null, "negative": null})).await).await;
    let trace = trace(&server).await;
    let changes = json!({"candidates": {"lowest_scores": 3}});
    let error = refusal(post(&server, &trace, changes).await).await;
    assert_refused(&error, 422, "invalid_value", Some("candidates.lowest_scores"));
    let answer = ok(post(&server, &trace, json!({})).await).await;
    assert_eq!((&answer["critical"], &answer["contrast"]), (&json!(X), &Value::Null));
}

#[tokio::test]
async fn searches_are_kept_with_their_trace_travel_with_it_and_go_with_it() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let unsaved = ok(post(&server, &trace, json!({"save": false})).await).await;
    assert_eq!(unsaved["trace_id"], Value::Null);
    assert_eq!(server.stored(&trace).await, trace);
    let first = ok(post(&server, &trace, json!({})).await).await;
    let second = ok(post(&server, &trace, json!({"sampling": {"max_tokens": 32, "seed": 1}})).await).await;
    let with = server.stored(&trace).await;
    assert_eq!(with["searches"], json!([first, second]));
    let path = format!("/v1/searches/{}", first["id"].as_str().unwrap());
    assert_eq!(ok(server.get(&path).await).await, first);

    let id = trace["id"].as_str().unwrap();
    let line = server.export(&trace).await;
    let there = Server::start().await;
    let report = json!({"imported": 1, "unchanged": 0, "ids": [id], "errors": []});
    assert_eq!(ok(there.import(line.clone()).await).await, report);
    assert_eq!(there.stored(&trace).await, with);
    assert_eq!(there.export(&trace).await, line);
    assert_eq!(ok(there.import(line.clone()).await).await["unchanged"], json!(1));

    // A trace that is stored without them is given them.
    let bare = Server::start().await;
    let mut alone: Value = serde_json::from_str(&line).unwrap();
    alone.as_object_mut().unwrap().shift_remove("searches");
    assert_eq!(ok(bare.import(alone.to_string()).await).await["imported"], json!(1));
    assert_eq!(ok(bare.import(line.clone()).await).await["imported"], json!(1));
    assert_eq!(bare.stored(&trace).await, with);

    // What conflicts keeps out what came with it.
    let mut conflicting: Value = serde_json::from_str(&line).unwrap();
    conflicting["searches"][0]["created"] = json!(1);
    conflicting["searches"][1]["id"] = json!("search_00000000000000000000000000");
    let refused = ok(bare.import(conflicting.to_string()).await).await;
    assert!(refused["errors"][0]["message"].as_str().unwrap().starts_with("line 1: conflict"), "{refused}");
    assert_eq!(bare.stored(&trace).await, with);

    let sound: Value = serde_json::from_str(&line).unwrap();
    let hopeful = sound["searches"][1]["positions"][0]["position"].clone();
    let token = sound["tokens"][hopeful.as_u64().unwrap() as usize].clone();
    let moved = json!({"id": token["id"], "text": token["text"]});
    for (changes, field) in [
        (vec![("/positions/0/correct", json!(9999))], "positions[0].samples"),
        (vec![("/critical", hopeful), ("/token", moved)], "critical"),
        (vec![("/reason", json!("no_critical"))], "critical"),
        (vec![("/usage/samples", json!(1))], "usage.samples"),
        (vec![("/usage/share", json!(1.5))], "usage.share"),
    ] {
        let mut unsound = sound.clone();
        for (path, value) in changes {
            *unsound["searches"][1].pointer_mut(path).unwrap() = value;
        }
        let refused = ok(bare.import(unsound.to_string()).await).await;
        let message = refused["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(&format!("searches[1].{field}: ")), "{field}: {message}");
    }

    ok(server.delete(&format!("/v1/traces/{id}")).await).await;
    assert_refused(&refusal(server.get(&path).await).await, 404, "search_not_found", None);
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_search_and_leaves_nothing() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    server.leave("/v1/searches", request(&trace, json!({})), &trace).await;
}
