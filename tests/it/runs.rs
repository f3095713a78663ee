//! `/v1/runs`: rollouts and searches that go on whoever looks, are followed from any place on, are ended with what they
//! have, and are taken up by the next process where the last one left them.

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Server, Setup, array, assert_refused, changed, events, keys, ok, refusal, until};

/// After the `X` the answer is never right, before it half of the samples are.
const RESPONSE: &str = " It is, as one sees at once, X and so 8.";

async fn trace(server: &Server) -> Value {
    ok(server.score(json!({"response": RESPONSE, "answer": "18"})).await).await
}

fn rollouts(trace: &Value) -> Value {
    json!({
        "trace_id": trace["id"], "position": 4, "sampling": {"max_tokens": 32}, "samples": 4, "original_samples": 4,
        "alternatives": {"source": "given", "texts": ["+", "-"]}
    })
}

fn search(trace: &Value) -> Value {
    json!({"trace_id": trace["id"], "sampling": {"max_tokens": 32}})
}

/// Begins a run.
async fn begin(server: &Server, path: &str, request: &Value) -> Value {
    let response = server.post(path, &changed(request.clone(), json!({"background": true}))).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let run = ok(response).await;
    assert_eq!(location, at(&run, ""));
    run
}

/// A path of a run.
fn at(run: &Value, rest: &str) -> String {
    format!("/v1/runs/{}{rest}", run["id"].as_str().unwrap())
}

async fn follow(server: &Server, run: &Value) -> Vec<Value> {
    events(server.get(&at(run, "/events")).await).await
}

/// Waits until a run has told of something.
async fn told(server: &Server, run: &Value, what: &str, times: usize) {
    let mut text = String::new();
    let mut response = server.get(&at(run, "/events")).await;
    while text.matches(what).count() < times {
        text += std::str::from_utf8(&response.chunk().await.unwrap().expect("more is told")).unwrap();
    }
}

fn kept(folder: &Path) -> Setup {
    Setup { database: Some(folder.join("linchpin.db")), ..Setup::default() }
}

#[tokio::test]
async fn a_run_goes_on_by_itself_and_makes_the_record_that_a_request_makes() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    for (path, request, kind) in
        [("/v1/rollouts", rollouts(&trace), "rollouts"), ("/v1/searches", search(&trace), "search")]
    {
        let run = begin(&server, path, &request).await;
        assert_eq!(
            keys(&run),
            [
                "id",
                "object",
                "kind",
                "trace_id",
                "state",
                "created",
                "finished",
                "model",
                "position",
                "samples",
                "original_samples",
                "error"
            ]
        );
        assert_eq!((&run["object"], &run["kind"], &run["state"]), (&json!("run"), &json!(kind), &json!("running")));
        let last = follow(&server, &run).await;
        assert_eq!(last.last().unwrap(), &json!({"event": "state", "state": "succeeded", "error": null}));
        let over = ok(server.get(&at(&run, "")).await).await;
        assert_eq!((&over["state"], over["finished"].is_i64()), (&json!("succeeded"), true));

        let mut made = ok(server.get(&format!("{path}/{}", run["id"].as_str().unwrap())).await).await;
        let mut asked = ok(server.post(path, &request).await).await;
        assert_eq!(made["id"], run["id"]);
        for differs in ["id", "created"] {
            made[differs] = Value::Null;
            asked[differs] = Value::Null;
        }
        assert_eq!(made, asked);
        let error = refusal(server.post(&at(&run, "/cancel"), &json!({})).await).await;
        assert_refused(&error, 409, "run_state", None);
    }
    let all = ok(server.get("/v1/runs?limit=1").await).await;
    assert_eq!((&all["data"][0]["kind"], &all["has_more"]), (&json!("search"), &json!(true)));
    let next = ok(server.get(&format!("/v1/runs?limit=1&cursor={}", all["next_cursor"].as_str().unwrap())).await).await;
    assert_eq!((&next["data"][0]["kind"], &next["has_more"]), (&json!("rollouts"), &json!(false)));
    let running = format!("/v1/runs?trace_id={}&state=running", trace["id"].as_str().unwrap());
    assert_eq!(ok(server.get(&running).await).await["data"], json!([]));

    // Runs go with their trace.
    ok(server.delete(&format!("/v1/traces/{}", trace["id"].as_str().unwrap())).await).await;
    assert_eq!(ok(server.get("/v1/runs").await).await["data"], json!([]));
}

#[tokio::test]
async fn events_are_replayed_from_where_a_client_left_and_end_with_the_record() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let held = server.engine.hold_after(5).await;
    let run = begin(&server, "/v1/rollouts", &rollouts(&trace)).await;
    let path = at(&run, "/events");
    told(&server, &run, "\"event\":\"rollout\"", 2).await;
    let after = |last: &str| server.request(Method::GET, &path).header("Last-Event-ID", last).send();
    let mut response = after("2").await.unwrap();
    let mut first = String::new();
    while !first.contains("data: {") {
        first += std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(first.starts_with("id: 3\n") || first.contains("\nid: 3\n"), "{first}");
    drop(held);
    while response.chunk().await.unwrap().is_some() {}
    let over = follow(&server, &run).await;
    let kinds: Vec<_> = over.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["done", "state"]);
    assert_eq!(over[0]["id"], run["id"]);
    for wrong in ["x", "-1"] {
        let error = refusal(after(wrong).await.unwrap()).await;
        assert_refused(&error, 422, "invalid_value", Some("Last-Event-ID"));
    }
}

#[tokio::test]
async fn a_cancelled_run_keeps_what_was_drawn() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    for (path, request, what) in [
        ("/v1/rollouts", rollouts(&trace), "\"event\":\"rollout\""),
        ("/v1/searches", search(&trace), "\"event\":\"position\""),
    ] {
        let held = server.engine.hold_after(if path == "/v1/rollouts" { 6 } else { 70 }).await;
        let run = begin(&server, path, &request).await;
        told(&server, &run, what, 1).await;
        ok(server.post(&at(&run, "/cancel"), &json!({})).await).await;
        let last = follow(&server, &run).await;
        assert_eq!(last.last().unwrap()["state"], "cancelled");
        until(|| server.engine.generating.load(SeqCst) == 0).await;
        drop(held);

        let record = ok(server.get(&format!("{path}/{}", run["id"].as_str().unwrap())).await).await;
        if path == "/v1/rollouts" {
            assert_eq!(record["stopped"], json!(true));
            let drawn = array(&record["rollouts"]).len();
            assert!((1..12).contains(&drawn), "{drawn}");
            assert_eq!(record["with_token"]["samples"], json!(drawn.min(4)));
        } else {
            assert_eq!(record["reason"], "stopped");
            assert!(record["usage"]["samples"].as_u64().unwrap() > 0);
        }
    }
    // What was stopped is exported, checked and imported like the rest.
    let exported = server.export(&trace).await;
    let there = Server::start().await;
    assert_eq!(ok(there.import(exported.clone()).await).await["imported"], json!(1));
    assert_eq!(there.export(&trace).await, exported);
}

#[tokio::test]
async fn a_run_that_is_cancelled_before_anything_is_drawn_makes_no_record() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let held = server.engine.hold_after(0).await;
    for (path, request) in [("/v1/rollouts", rollouts(&trace)), ("/v1/searches", search(&trace))] {
        let run = begin(&server, path, &request).await;
        ok(server.post(&at(&run, "/cancel"), &json!({})).await).await;
        assert_eq!(follow(&server, &run).await.last().unwrap()["state"], "cancelled");
        let record = refusal(server.get(&format!("{path}/{}", run["id"].as_str().unwrap())).await).await;
        assert_eq!(record.status, 404);
    }
    drop(held);
    assert_eq!(server.stored(&trace).await, trace);
}

#[tokio::test]
async fn a_run_goes_on_in_the_next_process_from_what_was_drawn() {
    for (path, what, times) in
        [("/v1/rollouts", "\"event\":\"rollout\"", 3), ("/v1/searches", "\"event\":\"summary\"", 2)]
    {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::with(kept(folder.path())).await;
        let trace = trace(&server).await;
        let request = if path == "/v1/rollouts" { rollouts(&trace) } else { search(&trace) };
        let mut whole = ok(server.post(path, &request).await).await;
        let requests = server.engine.requests.lock().unwrap().len();
        let _held = server.engine.hold_after(if path == "/v1/rollouts" { 6 } else { 70 }).await;
        let run = begin(&server, path, &request).await;
        told(&server, &run, what, times).await;
        let begun = server.engine.requests.lock().unwrap().len() - requests;
        server.stop.cancel();
        server.running.await.unwrap().unwrap();

        let server = Server::with(kept(folder.path())).await;
        let last = follow(&server, &run).await;
        assert_eq!(last.last().unwrap()["state"], "succeeded");
        let mut record = ok(server.get(&format!("{path}/{}", run["id"].as_str().unwrap())).await).await;
        let again = server.engine.requests.lock().unwrap().clone();
        if path == "/v1/rollouts" {
            let drawn: usize = again.iter().flat_map(|request| &request.forks).map(|fork| fork.samples.len()).sum();
            assert!((1..12).contains(&drawn), "{drawn} of 12 were drawn again");
        } else {
            let rounds = usize::try_from(whole["usage"]["rounds"].as_u64().unwrap()).unwrap();
            assert!(begun > 1 && again.len() < rounds, "{} of {rounds} rounds were drawn again", again.len());
        }
        // What it cost is told of the last process, and of finished rounds.
        for differs in ["id", "created", "usage"] {
            whole[differs] = Value::Null;
            record[differs] = Value::Null;
        }
        assert_eq!(record, whole);
    }
}

#[tokio::test]
async fn a_process_that_was_asleep_does_not_begin_its_own_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(kept(folder.path())).await;
    let trace = trace(&server).await;
    let held = server.engine.hold_after(6).await;
    let run = begin(&server, "/v1/rollouts", &rollouts(&trace)).await;
    told(&server, &run, "\"event\":\"rollout\"", 3).await;
    let requests = server.engine.requests.lock().unwrap().len();
    // As if nothing had been renewed for longer than a lease: the look for runs whose process is gone finds it.
    let url = format!("sqlite://{}", folder.path().join("linchpin.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    for _ in 0..30 {
        sqlx::query("UPDATE runs SET lease_until = 1").execute(&pool).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(server.engine.requests.lock().unwrap().len(), requests, "it was begun again");
    drop(held);
    let told = follow(&server, &run).await;
    assert_eq!(told.last().unwrap()["state"], "succeeded");
    assert_eq!(told.iter().filter(|event| event["event"] == "rollout").count(), 12);
}

#[tokio::test]
async fn a_run_that_fails_says_why() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let held = server.engine.hold_after(70).await;
    let run = begin(&server, "/v1/searches", &search(&trace)).await;
    told(&server, &run, "\"event\":\"position\"", 1).await;
    *server.engine.fails.lock().unwrap() = Some(linchpin::engine::EngineError::Internal("a secret".to_owned()));
    drop(held);
    let last = follow(&server, &run).await;
    let end = last.last().unwrap();
    assert_eq!((&end["state"], &end["error"]["code"]), (&json!("failed"), &json!("internal_error")));
    assert!(!end.to_string().contains("secret"));
    assert!(last.iter().any(|event| event["event"] == "position"), "what was drawn can still be read");
    assert_eq!(ok(server.get(&at(&run, "")).await).await["error"], end["error"]);
}

#[tokio::test]
async fn what_cannot_run_in_the_background_is_refused() {
    let server = Server::start().await;
    let trace = trace(&server).await;
    let inline = json!({"trace_id": null, "prompt": "Q", "response": " A", "answer": "18"});
    for (changes, code, param) in [
        (json!({"stream": true}), "conflicting_fields", "background"),
        (json!({"save": false}), "invalid_value", "save"),
        (inline, "invalid_value", "background"),
    ] {
        for (path, request) in [("/v1/rollouts", rollouts(&trace)), ("/v1/searches", search(&trace))] {
            let request = changed(changed(request, json!({"background": true})), changes.clone());
            assert_refused(&refusal(server.post(path, &request).await).await, 422, code, Some(param));
        }
    }
    let beyond = changed(rollouts(&trace), json!({"background": true, "position": 999}));
    assert_refused(&refusal(server.post("/v1/rollouts", &beyond).await).await, 422, "invalid_value", Some("position"));
    server.engine.full.store(true, SeqCst);
    let request = changed(rollouts(&trace), json!({"background": true}));
    assert_refused(&refusal(server.post("/v1/rollouts", &request).await).await, 429, "queue_full", None);
    for path in ["/v1/runs/roll_none", "/v1/runs/roll_none/events"] {
        assert_refused(&refusal(server.get(path).await).await, 404, "run_not_found", None);
    }
    assert_eq!(ok(server.get("/v1/runs").await).await["data"], json!([]), "nothing that was refused is kept");
    assert_refused(&refusal(server.get("/v1/runs?state=odd").await).await, 422, "invalid_value", Some("state"));
}
