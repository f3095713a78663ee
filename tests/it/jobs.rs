//! `/v1/jobs`: the record, the queue, cancellation, resumption, events, metrics and files, with a trainer and an engine that
//! have no model.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, Setup, array, assert_refused, events, keys, ok, refusal, until};

/// Responses to learn from: `count` of them.
fn responses(count: usize) -> Vec<Value> {
    let row = |number: usize| json!({"prompt": format!("{number} + 1 ="), "response": format!(" A: {}.", number + 1)});
    (0..count).map(row).collect()
}

/// A job of `rows` steps: one row each.
async fn sft(server: &Server, rows: usize) -> String {
    server.upload_rows("responses", &responses(rows)).await;
    let config = json!({"dataset": "responses", "per_device_train_batch_size": 1, "logging_steps": 1});
    server.submit("sft", config).await
}

async fn cancel(server: &Server, id: &str) -> reqwest::Response {
    server.request(Method::POST, &format!("/v1/jobs/{id}/cancel")).send().await.unwrap()
}

async fn resume(server: &Server, id: &str) -> reqwest::Response {
    server.request(Method::POST, &format!("/v1/jobs/{id}/resume")).send().await.unwrap()
}

#[tokio::test]
async fn a_record_has_the_contracts_form() {
    let server = Server::start().await;
    let dataset = server.upload_rows("responses", &responses(3)).await;
    let config = json!({"dataset": "responses", "per_device_train_batch_size": 1, "seed": 7});
    let request = json!({"kind": "sft", "name": "a try", "config": config});
    let submitted = ok(server.post("/v1/jobs", &request).await).await;
    let id = submitted["id"].as_str().unwrap();
    assert!(id.starts_with("job_"));
    assert!(["validating_files", "queued", "running", "succeeded"].contains(&submitted["state"].as_str().unwrap()));
    let job = server.job_in(id, "succeeded").await;
    assert_eq!(
        keys(&job),
        [
            "id",
            "object",
            "kind",
            "name",
            "state",
            "config",
            "seed",
            "base_model",
            "dataset",
            "eval_dataset",
            "stage",
            "step",
            "created",
            "started",
            "finished",
            "elapsed_seconds",
            "remaining_seconds",
            "metrics",
            "dropped",
            "yielded_seconds",
            "error",
            "artifacts",
            "resumable"
        ]
    );
    assert_eq!(
        (&job["object"], &job["kind"], &job["name"], &job["seed"], &job["resumable"], &job["error"]),
        (&json!("job"), &json!("sft"), &json!("a try"), &json!(7), &json!(false), &Value::Null)
    );
    assert_eq!(job["base_model"], json!({"id": "base", "sha256": "sha-of-base"}));
    assert_eq!(job["dataset"], json!({"name": "responses", "sha256": dataset["sha256"], "rows": 3}));
    assert_eq!(job["stage"], json!({"name": "sft", "index": 0, "total": 1}));
    assert_eq!(job["step"], json!({"done": 3, "total": 3}));
    let config = &job["config"];
    assert_eq!((&config["learning_rate"], &config["lora"]["r"], &config["seed"]), (&json!(3e-4), &json!(8), &json!(7)));
    assert_eq!((&config["max_length"], &config["per_device_train_batch_size"]), (&json!(1024), &json!(1)));
    assert_eq!(job["metrics"]["loss"], json!(1.0 / 3.0));
    let names: Vec<_> = array(&job["artifacts"]).iter().map(|artifact| artifact["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "metrics.csv"]);
    let times = ["created", "started", "finished"].map(|field| job[field].as_i64().unwrap());
    assert!(times.is_sorted() && job["elapsed_seconds"].as_f64().unwrap() > 0.0);

    let list = ok(server.get("/v1/jobs?kind=sft&state=succeeded").await).await;
    assert_eq!((&list["data"][0], &list["has_more"]), (&job, &json!(false)));
    assert_eq!(array(&ok(server.get("/v1/jobs?state=queued").await).await["data"]).len(), 0);
}

#[tokio::test]
async fn one_job_runs_and_the_next_waits_its_turn() {
    let server = Server::start().await;
    server.trainer.allow(0);
    let first = sft(&server, 2).await;
    server.job_in(&first, "running").await;
    let second = server.submit("sft", json!({"dataset": "responses"})).await;
    server.job_in(&second, "queued").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.job(&second).await["state"], "queued");
    server.trainer.allow(100);
    let first = server.job_in(&first, "succeeded").await;
    let second = server.job_in(&second, "succeeded").await;
    assert!(second["started"].as_i64() >= first["finished"].as_i64());
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_a_running_one_within_its_step() {
    let server = Server::start().await;
    server.trainer.allow(1);
    let running = sft(&server, 4).await;
    server.job_in(&running, "running").await;
    let waiting = server.submit("sft", json!({"dataset": "responses"})).await;
    server.job_in(&waiting, "queued").await;
    let cancelled = ok(cancel(&server, &waiting).await).await;
    assert_eq!((&cancelled["state"], &cancelled["resumable"]), (&json!("cancelled"), &json!(true)));
    // Once more is no error.
    assert_eq!(ok(cancel(&server, &waiting).await).await["state"], "cancelled");

    ok(cancel(&server, &running).await).await;
    let stopped = server.job_in(&running, "cancelled").await;
    assert_eq!(stopped["step"]["done"], json!(1));

    server.trainer.allow(100);
    let resumed = resume(&server, &running).await;
    assert_eq!(resumed.status(), 202);
    let done = server.job_in(&running, "succeeded").await;
    assert_eq!(done["error"], Value::Null);
    let log: Vec<Value> = events(server.get(&format!("/v1/jobs/{running}/events")).await).await;
    assert!(log.iter().any(|event| event["message"] == "trained for 4 steps, going on from step 1"), "{log:?}");
    assert_refused(&refusal(resume(&server, &running).await).await, 409, "job_state", None);
    assert_refused(&refusal(cancel(&server, &running).await).await, 409, "job_state", None);
}

#[tokio::test]
async fn a_run_that_diverges_fails_and_may_be_resumed() {
    let server = Server::start().await;
    server.trainer.diverges_at.store(3, SeqCst);
    let id = sft(&server, 4).await;
    let job = server.job_in(&id, "failed").await;
    assert_eq!((&job["error"]["code"], &job["resumable"]), (&json!("diverged"), &json!(true)));
    assert!(job["error"]["message"].as_str().unwrap().contains("step 3"), "{job}");
    server.trainer.diverges_at.store(0, SeqCst);
    ok(resume(&server, &id).await).await;
    server.job_in(&id, "succeeded").await;
    assert_eq!(server.trainer.runs.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn events_are_replayed_from_where_a_client_left() {
    let server = Server::start().await;
    let id = sft(&server, 3).await;
    let path = format!("/v1/jobs/{id}/events");
    let all = events(server.get(&path).await).await;
    let seqs: Vec<i64> = all.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=all.len() as i64).collect::<Vec<_>>());
    let states: Vec<_> =
        all.iter().filter(|event| event["event"] == "state").map(|event| event["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["validating_files", "queued", "running", "succeeded"]);
    assert_eq!(all.last().unwrap()["state"], "succeeded");
    let metrics: Vec<_> = all.iter().filter(|event| event["event"] == "metric").collect();
    assert_eq!(metrics.len(), 3);
    assert_eq!(keys(metrics[0]), ["seq", "created", "event", "stage", "step", "epoch", "values"]);

    let raw = server.get(&path).await.text().await.unwrap();
    assert!(raw.contains("id: 1\n") && raw.trim_end().ends_with("data: [DONE]"), "{raw}");
    let after = |last: &str| server.request(Method::GET, &path).header("Last-Event-ID", last).send();
    assert_eq!(events(after("4").await.unwrap()).await, all[4..]);
    assert_eq!(events(after("9999").await.unwrap()).await, [] as [Value; 0]);
    for wrong in ["x", "-1"] {
        let error = refusal(after(wrong).await.unwrap()).await;
        assert_refused(&error, 422, "invalid_value", Some("Last-Event-ID"));
    }
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let server = Server::start().await;
    server.trainer.allow(0);
    let id = sft(&server, 2).await;
    let mut response = server.get(&format!("/v1/jobs/{id}/events")).await;
    let mut text = String::new();
    while !text.contains("\"state\":\"running\"") {
        text += std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(!text.contains("[DONE]"));
    server.trainer.allow(100);
    while let Some(chunk) = response.chunk().await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(text.contains("\"state\":\"succeeded\"") && text.trim_end().ends_with("[DONE]"), "{text}");
}

#[tokio::test]
async fn metrics_are_curves_in_json_and_csv() {
    let server = Server::start().await;
    let id = sft(&server, 2).await;
    server.job_in(&id, "succeeded").await;
    let list = ok(server.get(&format!("/v1/jobs/{id}/metrics")).await).await;
    assert_eq!(
        list["data"],
        json!([
            {"stage": "sft", "step": 1, "epoch": 0.5, "values": {"learning_rate": 3e-4, "loss": 1.0}},
            {"stage": "sft", "step": 2, "epoch": 1.0, "values": {"learning_rate": 3e-4, "loss": 0.5}}
        ])
    );
    let csv = "stage,step,epoch,name,value\nsft,1,0.5,learning_rate,0.0003\nsft,1,0.5,loss,1\n\
               sft,2,1,learning_rate,0.0003\nsft,2,1,loss,0.5\n";
    let response = server.get(&format!("/v1/jobs/{id}/metrics?format=csv")).await;
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), csv);
    assert_eq!(server.artifact(&id, "metrics.csv").await, csv);
}

#[tokio::test]
async fn files_are_given_out_and_nothing_else() {
    let server = Server::start().await;
    let id = sft(&server, 1).await;
    server.job_in(&id, "succeeded").await;
    let response = server.get(&format!("/v1/jobs/{id}/artifacts/adapter/adapter_model.safetensors")).await;
    let disposition = response.headers()["content-disposition"].to_str().unwrap();
    assert_eq!(disposition, "attachment; filename=\"adapter_model.safetensors\"");
    assert_eq!(response.bytes().await.unwrap().as_ref(), [0, 1, 2]);
    for name in ["nothing", "adapter", "..%2Finput.jsonl", "adapter%2F..%2F..%2Finput.jsonl", "%2Fetc%2Fpasswd", "a%00"]
    {
        let error = refusal(server.get(&format!("/v1/jobs/{id}/artifacts/{name}")).await).await;
        assert_refused(&error, 404, "artifact_not_found", None);
    }
    for path in ["", "/events", "/metrics", "/artifacts", "/artifacts/metrics.csv"] {
        let error = refusal(server.get(&format!("/v1/jobs/job_none{path}")).await).await;
        assert_refused(&error, 404, "job_not_found", None);
    }
}

#[tokio::test]
async fn an_adapter_that_a_job_made_is_served() {
    let server = Server::start().await;
    let id = sft(&server, 1).await;
    server.job_in(&id, "succeeded").await;
    let load = async |body: Value| server.post("/v1/adapters", &body).await;
    let response = load(json!({"id": "mine", "job": id, "artifact": "adapter"})).await;
    assert_eq!(response.status(), 201);
    assert_eq!(ok(response).await["kind"], "adapter");
    for (body, code, param) in [
        (json!({"id": "x", "job": id}), "missing_field", "artifact"),
        (json!({"id": "x", "artifact": "adapter"}), "missing_field", "job"),
        (json!({"id": "x"}), "missing_field", "path"),
        (json!({"id": "x", "job": id, "artifact": "adapter", "path": "p"}), "conflicting_fields", "path"),
        (json!({"id": "a/b", "job": id, "artifact": "adapter"}), "invalid_value", "id"),
    ] {
        assert_refused(&refusal(load(body).await).await, 422, code, Some(param));
    }
    for artifact in ["nothing", "../adapter", "metrics.csv", ""] {
        let error = refusal(load(json!({"id": "x", "job": id, "artifact": artifact})).await).await;
        assert_refused(&error, 404, "artifact_not_found", None);
    }
    for job in ["job_none", "../jobs", &id.to_lowercase()] {
        let error = refusal(load(json!({"id": "x", "job": job, "artifact": "adapter"})).await).await;
        assert_refused(&error, 404, "job_not_found", None);
    }
}

#[tokio::test]
async fn a_job_goes_on_in_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let setup = || Setup { database: Some(folder.path().join("linchpin.db")), ..Setup::default() };
    let server = Server::with(setup()).await;
    server.trainer.allow(2);
    let id = sft(&server, 5).await;
    server.job_in(&id, "running").await;
    let checkpoint = folder.path().join("jobs").join(&id).join("checkpoint/sft/step");
    until(|| std::fs::read_to_string(&checkpoint).is_ok_and(|step| step == "2")).await;
    let mut follower = server.get(&format!("/v1/jobs/{id}/events")).await;
    // The data set may go meanwhile: the job has its own hold on the rows.
    ok(server.delete("/v1/datasets/responses").await).await;
    server.stop.cancel();
    assert_eq!(server.running.await.unwrap().unwrap(), 0);
    let mut text = String::new();
    while let Some(chunk) = follower.chunk().await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(text.contains("shutting_down") && text.trim_end().ends_with("[DONE]"), "{text}");

    let server = Server::with(setup()).await;
    server.job_in(&id, "succeeded").await;
    let log = events(server.get(&format!("/v1/jobs/{id}/events")).await).await;
    assert!(log.iter().any(|event| event["message"] == "trained for 5 steps, going on from step 2"), "{log:?}");
    let steps = ok(server.get(&format!("/v1/jobs/{id}/metrics")).await).await;
    assert_eq!(array(&steps["data"]).len(), 5);
}

#[tokio::test]
async fn a_job_that_keeps_ending_its_process_fails() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("linchpin.db");
    let setup = || Setup { database: Some(database.clone()), ..Setup::default() };
    let server = Server::with(setup()).await;
    server.trainer.allow(0);
    let id = sft(&server, 2).await;
    server.job_in(&id, "running").await;
    server.stop.cancel();
    assert_eq!(server.running.await.unwrap().unwrap(), 0);
    // As if it had been killed that often, each time before the first checkpoint.
    let url = format!("sqlite://{}", database.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let let_go = || async {
        let held = "SELECT COUNT(*) FROM jobs WHERE holder IS NOT NULL";
        sqlx::query_scalar::<_, i64>(held).fetch_one(&pool).await.unwrap() == 0
    };
    while !let_go().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let statement =
        "UPDATE jobs SET record = json_set(record, '$.interruptions', 8) WHERE id = $1 AND state = 'running'";
    assert_eq!(sqlx::query(statement).bind(&id).execute(&pool).await.unwrap().rows_affected(), 1);
    pool.close().await;

    let server = Server::with(setup()).await;
    let job = server.job_in(&id, "failed").await;
    assert_eq!(job["error"]["code"], "interrupted");
    ok(resume(&server, &id).await).await;
    server.job_in(&id, "succeeded").await;
}

#[tokio::test]
async fn without_a_runner_jobs_wait_and_can_be_cancelled() {
    let server = Server::with(Setup { no_jobs: true, ..Setup::default() }).await;
    let id = sft(&server, 1).await;
    assert_eq!(server.job(&id).await["state"], "validating_files");
    assert_eq!(ok(cancel(&server, &id).await).await["state"], "cancelled");
    assert_eq!(ok(resume(&server, &id).await).await["state"], "validating_files");
}
