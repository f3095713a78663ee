//! The committed description of the API is the one that the code gives.

use serde_json::Value;

use crate::support::process::linchpin;
use crate::support::{Server, ok};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

#[test]
fn the_committed_description_is_current() {
    let output = linchpin().arg("openapi").output().unwrap();
    assert!(output.status.success());
    let made = String::from_utf8(output.stdout).unwrap();
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    assert!(made == committed, "run `linchpin openapi --output openapi/openapi.json`");
}

#[test]
fn the_description_goes_to_a_file_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openapi.json");
    assert!(linchpin().arg("openapi").arg("--output").arg(&path).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(path).unwrap(), std::fs::read_to_string(COMMITTED).unwrap());
}

#[tokio::test]
async fn the_served_description_is_the_same() {
    let server = Server::start().await;
    let served = ok(server.get("/openapi.json").await).await;
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(COMMITTED).unwrap()).unwrap();
    assert_eq!(served, committed);
}

#[test]
fn every_operation_and_every_schema_is_described() {
    let api: Value = serde_json::from_str(&std::fs::read_to_string(COMMITTED).unwrap()).unwrap();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            let open = ["/health", "/ready"].contains(&path.as_str());
            assert_eq!(responses.contains_key("401"), !open, "{method} {path}");
            assert_eq!(operation["security"].is_array(), !open, "{method} {path}");
        }
    }
    for (name, schema) in api["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
    }
}
