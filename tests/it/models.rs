//! `/v1/models`, `/v1/adapters` and `/v1/roles`.

use serde_json::{Value, json};

use crate::support::{Server, Setup, assert_refused, ok, refusal};

#[tokio::test]
async fn models_are_listed_as_openai_does_with_what_is_known_of_them() {
    let server = Server::start().await;
    let list = ok(server.get("/v1/models").await).await;
    assert_eq!(
        (&list["object"], &list["has_more"], &list["next_cursor"]),
        (&json!("list"), &json!(false), &Value::Null)
    );
    assert_eq!(
        list["data"][1],
        json!({
            "id": "pos", "object": "model", "created": 1_700_000_000, "owned_by": "linchpin", "role": "positive",
            "roles": ["positive"], "kind": "adapter", "architecture": "llama", "parameters": 1000, "memory_bytes": 4000, "dtype": "f32",
            "device": "cpu", "sha256": "sha-of-pos", "max_context": 512
        })
    );
    assert_eq!(list["data"][0]["role"], "base");
}

#[tokio::test]
async fn a_score_may_name_who_contrasts() {
    let server = Server::start().await;
    let swapped = json!({"models": {"positive": "neg", "negative": "pos"}});
    let trace = ok(server.score(swapped).await).await;
    assert_eq!(
        (&trace["models"]["positive"]["id"], &trace["models"]["negative"]["id"]),
        (&json!("neg"), &json!("pos"))
    );
    let alone = ok(server.score(json!({"models": {"positive": null, "negative": null}})).await).await;
    assert_eq!((&alone["models"]["positive"], &alone["tokens"][0]["score"]), (&Value::Null, &Value::Null));
    assert_eq!(ok(server.get("/v1/roles").await).await, json!({"positive": "pos", "negative": "neg"}));
    let unknown = json!({"models": {"positive": "pos", "negative": "who"}});
    assert_refused(&refusal(server.score(unknown).await).await, 404, "model_not_found", Some("models.negative"));
    assert_eq!(refusal(server.score(json!({"models": {"positive": "pos"}})).await).await.status, 422);
}

#[tokio::test]
async fn roles_are_swapped_and_emptied() {
    let server = Server::start().await;
    assert_eq!(ok(server.get("/v1/roles").await).await, json!({"positive": "pos", "negative": "neg"}));
    let swapped = json!({"positive": "neg", "negative": "pos"});
    assert_eq!(ok(server.put("/v1/roles", &swapped).await).await, swapped);
    let trace = ok(server.score(json!({})).await).await;
    assert_eq!(trace["models"]["positive"]["id"], "neg");

    let emptied = json!({"positive": null, "negative": "pos"});
    assert_eq!(ok(server.put("/v1/roles", &emptied).await).await, emptied);
    let trace = ok(server.score(json!({})).await).await;
    assert_eq!((&trace["models"]["positive"], &trace["tokens"][0]["score"]), (&Value::Null, &Value::Null));
    assert_eq!(trace["tokens"][0]["logprob"]["positive"], Value::Null);
}

#[tokio::test]
async fn a_role_is_not_emptied_by_forgetting_it() {
    let server = Server::start().await;
    let error = refusal(server.put("/v1/roles", &json!({"positive": "pos"})).await).await;
    assert_refused(&error, 422, "missing_field", Some("negative"));
    let error = refusal(server.put("/v1/roles", &json!({"positive": "pos", "negative": "who"})).await).await;
    assert_refused(&error, 404, "model_not_found", Some("model"));
    assert_eq!(ok(server.get("/v1/roles").await).await["negative"], "neg");
}

#[tokio::test]
async fn an_adapter_is_loaded_used_and_unloaded() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("third")).unwrap();
    std::fs::write(folder.path().join("third/adapter_config.json"), "{}").unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let adapters_dir = Some(folder.path().to_owned());
    let server = Server::with(Setup { adapters_dir, ..Setup::default() }).await;

    let request = json!({"id": "third", "path": "third"});
    let response = server.post("/v1/adapters", &request).await;
    assert_eq!(response.status(), 201);
    let model = ok(response).await;
    assert_eq!((&model["id"], &model["role"], &model["kind"]), (&json!("third"), &Value::Null, &json!("adapter")));

    assert_refused(&refusal(server.post("/v1/adapters", &request).await).await, 409, "name_taken", Some("id"));
    ok(server.put("/v1/roles", &json!({"positive": "third", "negative": "neg"})).await).await;
    assert_refused(&refusal(server.delete("/v1/adapters/third").await).await, 409, "adapter_in_use", None);
    assert_refused(&refusal(server.delete("/v1/adapters/base").await).await, 409, "not_an_adapter", None);
    ok(server.put("/v1/roles", &json!({"positive": "pos", "negative": "neg"})).await).await;
    let deleted = json!({"id": "third", "object": "adapter", "deleted": true});
    assert_eq!(ok(server.delete("/v1/adapters/third").await).await, deleted);
    assert_eq!(refusal(server.delete("/v1/adapters/third").await).await.status, 404);

    for (body, code, param) in [
        (json!({"id": "x", "path": "empty"}), "adapter_not_loadable", "path"),
        (json!({"id": "x", "path": "../third"}), "invalid_value", "path"),
        (json!({"id": "x", "path": "/etc"}), "invalid_value", "path"),
        (json!({"id": "x", "path": "missing"}), "invalid_value", "path"),
        (json!({"id": "a/b", "path": "third"}), "invalid_value", "id"),
        (json!({"path": "third"}), "missing_field", "id"),
    ] {
        assert_refused(&refusal(server.post("/v1/adapters", &body).await).await, 422, code, Some(param));
    }
}

#[tokio::test]
async fn without_a_folder_of_adapters_none_is_loaded() {
    let server = Server::start().await;
    let error = refusal(server.post("/v1/adapters", &json!({"id": "x", "path": "/tmp"})).await).await;
    assert_refused(&error, 422, "invalid_value", Some("path"));
}
