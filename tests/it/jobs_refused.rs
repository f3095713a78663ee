//! Jobs that are refused, dry runs, and jobs that fail over their data.

use serde_json::{Value, json};

use crate::support::{Server, array, assert_refused, changed, keys, ok, refusal};

async fn server() -> Server {
    let server = Server::start().await;
    server.upload_rows("problems", &[json!({"question": "1 + 1?", "answer": "2"})]).await;
    let long = "x".repeat(2000);
    let responses = [
        json!({"prompt": "1 + 1 =", "response": " A: 2.", "correct": true}),
        json!({"prompt": "1 + 1 =", "response": long, "correct": true}),
        json!({"prompt": "1 + 1 =", "response": " A: 3.", "answer": "2"}),
        json!({"prompt": "1 + 1 =", "response": " A: 4."}),
        json!({"prompt": "1 + 1 =", "response": "?", "correct": true, "prompt_token_ids": [1], "response_token_ids": [256]}),
    ];
    server.upload_rows("responses", &responses).await;
    server.upload_rows("pairs", &[json!({"prompt": "p", "chosen": "a", "rejected": "b"})]).await;
    server
}

async fn jobs(server: &Server) -> usize {
    array(&ok(server.get("/v1/jobs").await).await["data"]).len()
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_used_and_makes_no_job() {
    let server = server().await;
    let config = json!({"dataset": "responses", "responses": "correct", "num_train_epochs": 2});
    let request = json!({"kind": "sft", "config": config, "dry_run": true});
    let response = server.post("/v1/jobs", &request).await;
    assert_eq!(response.status(), 200);
    let plan = ok(response).await;
    assert_eq!(keys(&plan), ["object", "kind", "config", "base_model", "dataset", "eval_dataset", "stages", "dropped"]);
    assert_eq!((&plan["object"], &plan["config"]["learning_rate"]), (&json!("job_plan"), &json!(3e-4)));
    assert_eq!(plan["stages"], json!([{"name": "sft", "rows": 1, "steps": 2, "tokens": 13}]));
    let dropped: Vec<_> = array(&plan["dropped"])
        .iter()
        .map(|row| (row["line"].as_u64().unwrap(), row["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(dropped, [(2, "too_long"), (3, "other_verdict"), (4, "no_verdict"), (5, "not_tokenizable")]);
    assert_eq!(plan["dropped"][0]["detail"], "the row has 2007 tokens, more than 1024");

    let pipeline = json!({"kind": "pipeline", "dry_run": true, "config": {"dataset": "problems", "eval_dataset": "problems",
        "sample": {"prompt_format": "plain"}, "evaluate": {"prompt_format": "plain", "max_tokens": 64}}});
    let plan = ok(server.post("/v1/jobs", &pipeline).await).await;
    let names: Vec<_> = array(&plan["stages"]).iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "sample",
            "select",
            "sft-positive",
            "sft-negative",
            "contrast",
            "preference",
            "evaluate-before",
            "evaluate-after"
        ]
    );
    // 1024 tokens do not fit into the context of 512.
    assert_eq!(plan["stages"][0]["rows"], 0);
    assert_eq!(plan["stages"][1]["rows"], Value::Null);
    assert_eq!(plan["stages"][6]["rows"], 1);
    assert_eq!((&plan["dropped"][0]["stage"], &plan["dropped"][0]["reason"]), (&json!("sample"), &json!("too_long")));
    assert_eq!(jobs(&server).await, 0);
}

#[tokio::test]
async fn the_field_at_fault_is_named() {
    let server = server().await;
    let sft = |config: Value| json!({"kind": "sft", "config": changed(json!({"dataset": "responses"}), config)});
    for (request, code, param) in [
        (json!({"kind": "sft"}), "missing_field", "config"),
        (json!({"kind": "bake", "config": {}}), "invalid_value", "kind"),
        (json!({"kind": "sft", "config": {}, "extra": 1}), "unknown_field", "extra"),
        (json!({"kind": "sft", "config": []}), "invalid_value", "config"),
        (json!({"kind": "sft", "config": {}}), "missing_field", "config.dataset"),
        (json!({"kind": "sft", "name": "a\nb", "config": {"dataset": "responses"}}), "invalid_value", "name"),
        (sft(json!({"dataset": "nothing"})), "invalid_value", "config.dataset"),
        (sft(json!({"dataset": "pairs"})), "invalid_value", "config.dataset"),
        (sft(json!({"learning_rat": 1})), "unknown_field", "config.learning_rat"),
        (sft(json!({"learning_rate": "fast"})), "invalid_value", "config.learning_rate"),
        (sft(json!({"learning_rate": 0})), "invalid_value", "config.learning_rate"),
        (sft(json!({"lora": {"r": 0}})), "invalid_value", "config.lora.r"),
        (sft(json!({"seed": -1})), "invalid_value", "config.seed"),
        (sft(json!({"adapter": {"job": "job_none", "artifact": "a"}})), "invalid_value", "config.adapter"),
        (
            json!({"kind": "pipeline", "config": {"dataset": "problems", "preference": {"learning_rate": -1}}}),
            "invalid_value",
            "config.preference.learning_rate",
        ),
        (
            json!({"kind": "pipeline", "config": {"dataset": "problems", "eval_dataset": "pairs"}}),
            "invalid_value",
            "config.eval_dataset",
        ),
        (json!({"kind": "sample", "config": {"dataset": "problems", "model": "who"}}), "invalid_value", "config.model"),
        (
            json!({"kind": "contrast", "config": {"dataset": "pairs", "negative": "who"}}),
            "invalid_value",
            "config.negative",
        ),
    ] {
        let error = refusal(server.post("/v1/jobs", &request).await).await;
        assert_refused(&error, 422, code, Some(param));
    }
    assert_eq!(jobs(&server).await, 0);
    for query in ["limit=0", "cursor=x", "state=lost"] {
        assert_eq!(refusal(server.get(&format!("/v1/jobs?{query}")).await).await.status, 422, "{query}");
    }
}

#[tokio::test]
async fn cdpo_without_weights_fails_with_the_way_out() {
    let server = server().await;
    let request = json!({"kind": "preference", "config": {"dataset": "pairs"}, "dry_run": true});
    let error = refusal(server.post("/v1/jobs", &request).await).await;
    assert_refused(&error, 422, "invalid_value", Some("config.dataset"));
    let id = server.submit("preference", json!({"dataset": "pairs"})).await;
    let job = server.job_in(&id, "failed").await;
    assert_eq!(job["error"]["code"], "weights_missing");
    assert!(job["error"]["message"].as_str().unwrap().contains("`contrast` job"), "{job}");
    assert_eq!(server.trainer.runs.lock().unwrap().len(), 0);
    server.succeeds("preference", json!({"dataset": "pairs", "loss": "dpo"})).await;
}

#[tokio::test]
async fn a_job_without_a_usable_row_fails() {
    let server = server().await;
    let id = server.submit("sft", json!({"dataset": "responses", "max_length": 3})).await;
    let job = server.job_in(&id, "failed").await;
    assert_eq!(
        (&job["error"]["code"], &job["dropped"]),
        (&json!("no_rows"), &json!({"not_tokenizable": 1, "too_long": 4}))
    );
    let dropped = server.artifact_rows(&id, "dropped.jsonl").await;
    assert_eq!((dropped.len(), &dropped[0]["line"], &dropped[0]["stage"]), (5, &json!(1), &json!("sft")));
}
