//! The stages that need no trainer of tensors, one by one and as a pipeline.

use std::sync::atomic::Ordering::SeqCst;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, Setup, array, ok, until};

fn problems(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({"question": format!("What is {number}?"), "answer": "So it is. #### 18"})).collect()
}

fn sample(changes: Value) -> Value {
    let config = json!({"dataset": "problems", "prompt_format": "plain", "n": 8, "max_tokens": 32, "temperature": 0.7});
    crate::support::changed(config, changes)
}

#[tokio::test]
async fn sampling_draws_and_grades_n_responses_a_problem() {
    let server = Server::start().await;
    server.upload_rows("problems", &problems(3)).await;
    let job = server.succeeds("sample", sample(json!({}))).await;
    let id = job["id"].as_str().unwrap();
    let rows = server.artifact_rows(id, "samples.jsonl").await;
    assert_eq!(rows.len(), 24);
    for (index, row) in rows.iter().enumerate() {
        assert_eq!((&row["problem"], &row["sample"]), (&json!(index / 8), &json!(index % 8)));
        assert_eq!(row["prompt"], format!("What is {}?\n", index / 8));
        let right = row["response"].as_str().unwrap() == " A: 18.";
        assert_eq!((&row["correct"], &row["finish_reason"]), (&json!(right), &json!("eos")));
        // The engine's tokens are bytes, and byte 0 ends a sequence.
        let bytes = [row["response"].as_str().unwrap().as_bytes(), &[0]].concat();
        assert_eq!(row["response_token_ids"], json!(bytes));
        assert_eq!(row["prompt_token_ids"], json!(row["prompt"].as_str().unwrap().as_bytes()));
    }
    let requests = server.engine.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 3);
    let seeds: std::collections::HashSet<u64> = requests.iter().map(|request| request.sampling.seed).collect();
    assert_eq!(seeds.len(), 3);
    assert!(requests.iter().all(|request| request.sampling.top_p == 0.95 && request.sampling.temperature == 0.7));

    // The same seed gives the same samples; and what was made is a data set as it is.
    let again = server.succeeds("sample", sample(json!({}))).await;
    let text = server.artifact(id, "samples.jsonl").await;
    assert_eq!(server.artifact(again["id"].as_str().unwrap(), "samples.jsonl").await, text);
    assert_eq!(ok(server.upload("samples", text).await).await["kind"], "trajectories");
}

#[tokio::test]
async fn sampling_goes_on_after_the_last_finished_problem() {
    let folder = tempfile::tempdir().unwrap();
    let setup = |no_jobs| Setup { database: Some(folder.path().join("linchpin.db")), no_jobs, ..Setup::default() };
    let first = Server::with(setup(false)).await;
    first.upload_rows("problems", &problems(6)).await;
    let whole = first.succeeds("sample", sample(json!({}))).await;
    let whole = first.artifact(whole["id"].as_str().unwrap(), "samples.jsonl").await;
    first.stop.cancel();
    first.running.await.unwrap().unwrap();

    // Killed within the third problem, and within a line.
    let second = Server::with(setup(true)).await;
    let id = second.submit("sample", sample(json!({}))).await;
    let artifacts = folder.path().join("jobs").join(&id).join("artifacts");
    std::fs::create_dir_all(&artifacts).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let torn = lines[..21].concat() + &lines[21][..10];
    std::fs::write(artifacts.join("samples.jsonl.part"), torn).unwrap();
    second.stop.cancel();
    second.running.await.unwrap().unwrap();

    let third = Server::with(setup(false)).await;
    third.job_in(&id, "succeeded").await;
    assert_eq!(third.artifact(&id, "samples.jsonl").await, whole);
    assert_eq!(third.engine.requests.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_cancelled_sampling_stops_the_engine() {
    let server = Server::start().await;
    server.upload_rows("problems", &problems(6)).await;
    let held = server.engine.draws.clone().acquire_many_owned(1 << 20).await.unwrap();
    let id = server.submit("sample", sample(json!({}))).await;
    until(|| server.engine.generating.load(SeqCst) == 2).await;
    ok(server.request(Method::POST, &format!("/v1/jobs/{id}/cancel")).send().await.unwrap()).await;
    server.job_in(&id, "cancelled").await;
    until(|| server.engine.generating.load(SeqCst) == 0).await;
    drop(held);
    ok(server.request(Method::POST, &format!("/v1/jobs/{id}/resume")).send().await.unwrap()).await;
    server.job_in(&id, "succeeded").await;
    assert_eq!(server.artifact_rows(&id, "samples.jsonl").await.len(), 48);
}

#[tokio::test]
async fn selection_gives_both_sets_and_the_pairs() {
    let server = Server::start().await;
    let row = |prompt: &str, answer: u32| json!({"prompt": prompt, "response": format!("The answer is {answer}."), "answer": "18"});
    // Problems are told apart by their prompts, in whatever order the rows come.
    let rows = [row("a", 7), row("b", 18), row("a", 18), row("a", 9), row("c", 5), row("a", 9), row("b", 18)];
    server.upload_rows("samples", &rows).await;
    let job = server.succeeds("select", json!({"dataset": "samples"})).await;
    let id = job["id"].as_str().unwrap();
    let responses = |rows: Vec<Value>| {
        let text = |row: Value| format!("{} {}", row["prompt"].as_str().unwrap(), row["response"].as_str().unwrap());
        rows.into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(
        responses(server.artifact_rows(id, "positive.jsonl").await),
        ["a The answer is 18.", "b The answer is 18."]
    );
    assert_eq!(
        responses(server.artifact_rows(id, "negative.jsonl").await),
        ["a The answer is 9.", "c The answer is 5."]
    );
    let pairs = server.artifact_rows(id, "preferences.jsonl").await;
    let pair = json!({"prompt": "a", "chosen": "The answer is 18.", "rejected": "The answer is 9.", "answer": "18"});
    assert_eq!(pairs, [pair]);
    let counts: Value = serde_json::from_str(&server.artifact(id, "selection.json").await).unwrap();
    assert_eq!(
        counts,
        json!({"problems": 3, "right": 3, "wrong": 4, "unparsed": 0, "without_right": 1, "without_wrong": 1,
               "positive": 2, "negative": 2, "preferences": 1})
    );
}

#[tokio::test]
async fn contrast_weights_the_rejected_response_by_what_the_named_models_say() {
    let server = Server::start().await;
    let pair = json!({"prompt": "p:", "chosen": " 18", "rejected": " 20", "chosen_weights": [1, 2, 3]});
    let long = json!({"prompt": "p:", "chosen": " 18", "rejected": "x".repeat(600)});
    server.upload_rows("pairs", &[pair, long]).await;
    // Without roles, the models are named.
    ok(server.put("/v1/roles", &json!({"positive": null, "negative": null})).await).await;
    let job = server.succeeds("contrast", json!({"dataset": "pairs", "positive": "pos", "negative": "neg"})).await;
    assert_eq!(job["dropped"], json!({"too_long": 1}));
    let rows = server.artifact_rows(job["id"].as_str().unwrap(), "contrast.jsonl").await;
    assert_eq!(rows.len(), 1);
    let scores: Vec<f64> = b" 20".iter().map(|byte| f64::from(*byte) / 256.0).collect();
    assert_eq!(rows[0]["rejected_scores"], json!(scores));
    let weights: Vec<f32> = scores.iter().map(|score| (1.0 - score) as f32).collect();
    assert_eq!(rows[0]["rejected_weights"], json!(weights));
    assert_eq!((&rows[0]["chosen_weights"], &rows[0]["chosen_token_ids"]), (&json!([1.0, 2.0, 3.0]), &json!(b" 18")));

    // What it made is a data set that cDPO takes.
    server.upload_rows("contrast", &rows).await;
    server.succeeds("preference", json!({"dataset": "contrast"})).await;
    let runs = server.trainer.runs.lock().unwrap().clone();
    assert!(runs.len() == 1 && runs[0].starts_with("1 Preference(Preference { loss: Cdpo"), "{runs:?}");
}

#[tokio::test]
async fn evaluation_is_greedy_and_counts_what_is_right() {
    let server = Server::start().await;
    server.upload_rows("problems", &problems(40)).await;
    let config = json!({"dataset": "problems", "prompt_format": "plain", "max_tokens": 32});
    let job = server.succeeds("evaluate", config).await;
    let rows = server.artifact_rows(job["id"].as_str().unwrap(), "evaluation.jsonl").await;
    let right = rows.iter().filter(|row| row["status"] == "correct").count();
    assert!(rows.len() == 40 && (5..35).contains(&right));
    assert_eq!(job["metrics"]["accuracy"], json!(right as f64 / 40.0));
    let requests = server.engine.requests.lock().unwrap();
    assert!(requests.iter().all(|request| request.sampling.greedy() && request.forks[0].samples == (0..1)));
}

#[tokio::test]
async fn a_pipeline_does_all_of_it() {
    let server = Server::start().await;
    server.upload_rows("problems", &problems(4)).await;
    server.upload_rows("test", &problems(5)).await;
    let drawn = json!({"prompt_format": "plain", "n": 8, "max_tokens": 32});
    let asked = json!({"prompt_format": "plain", "max_tokens": 32});
    let config = json!({"dataset": "problems", "eval_dataset": "test", "sample": drawn, "evaluate": asked});
    let job = server.succeeds("pipeline", config).await;
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["stage"], json!({"name": "evaluate-after", "index": 7, "total": 8}));
    let names: Vec<_> = array(&job["artifacts"]).iter().map(|artifact| artifact["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
            "contrast.jsonl",
            "evaluation-after.jsonl",
            "evaluation-before.jsonl",
            "metrics.csv",
            "negative.jsonl",
            "negative/adapter_config.json",
            "negative/adapter_model.safetensors",
            "positive.jsonl",
            "positive/adapter_config.json",
            "positive/adapter_model.safetensors",
            "preferences.jsonl",
            "samples.jsonl",
            "selection.json"
        ]
    );
    assert_eq!(server.artifact_rows(id, "samples.jsonl").await.len(), 32);
    for metric in ["evaluate-before/accuracy", "evaluate-after/accuracy", "preference/loss", "sft-negative/loss"] {
        assert!(job["metrics"][metric].is_f64() || job["metrics"][metric].is_number(), "{metric}: {}", job["metrics"]);
    }
    assert_eq!(server.trainer.runs.lock().unwrap().len(), 3);
    // The policy drew the last answers, and every adapter was unloaded again.
    let policy = format!("{id}:evaluate-after");
    let requests = server.engine.requests.lock().unwrap().clone();
    assert_eq!(requests.iter().filter(|request| request.model == policy).count(), 5);
    let models = ok(server.get("/v1/models").await).await;
    assert_eq!(array(&models["data"]).len(), 3);
}
