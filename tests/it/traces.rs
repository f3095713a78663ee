//! `/v1/traces`: list and filters, get, delete, export and import.

use serde_json::{Value, json};

use crate::support::{Server, assert_refused, ok, refusal};

async fn ids(server: &Server, query: &str) -> Vec<String> {
    let list = ok(server.get(&format!("/v1/traces{query}")).await).await;
    list["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

async fn saved(server: &Server, changes: Value) -> String {
    ok(server.score(changes).await).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn pages_run_from_the_newest_to_the_oldest() {
    let server = Server::start().await;
    let mut expected = Vec::new();
    for round in 0..5 {
        expected.insert(0, saved(&server, json!({"response": format!(" round {round}")})).await);
    }
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = ok(server.get(&format!("/v1/traces{query}")).await).await;
        assert_eq!(page["object"], "list");
        seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        assert_eq!(page["has_more"].as_bool().unwrap(), page["next_cursor"].is_string());
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn filters_hold_together() {
    let server = Server::start().await;
    let wrong = saved(&server, json!({"answer": "7", "tags": ["a"], "critical": {"rule": "lowest", "k": 1}})).await;
    let right = saved(&server, json!({"answer": "8", "tags": ["a", "b c"], "response": " Sum: 8."})).await;
    let none = json!({"critical": {"rule": "threshold", "value": 0.0}});
    let plain = saved(&server, none).await;
    assert_eq!(ids(&server, "").await.len(), 3);
    assert_eq!(ids(&server, "?verdict=wrong").await, [wrong.as_str()]);
    assert_eq!(ids(&server, "?verdict=correct&tag=a").await, [right.as_str()]);
    assert_eq!(ids(&server, "?tag=b%20c").await, [right.as_str()]);
    assert_eq!(ids(&server, "?q=sum%3A").await, [right]);
    assert_eq!(ids(&server, "?has_critical=true&verdict=wrong").await, [wrong]);
    assert!(ids(&server, "?has_critical=false").await.contains(&plain));
    assert_eq!(ids(&server, "?model=pos").await.len(), 3);
    assert!(ids(&server, "?model=who").await.is_empty());
}

/// Every page of a list, by its cursors.
async fn walked(server: &Server, query: &str) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ok(server.get(&format!("/v1/traces?limit=2{query}{cursor}")).await).await;
        assert_eq!(page["total"], json!(5));
        seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn lists_are_ordered_counted_and_entered_at_any_place() {
    let server = Server::start().await;
    let mut made = Vec::new();
    // The fake scores a byte by its number: the space is lowest.
    for (response, k) in [("zz", 2), (" z", 1), ("z", 1), ("  ", 3), ("~~", 1)] {
        let changes = json!({"response": response, "critical": {"rule": "lowest", "k": k}});
        made.push(saved(&server, changes).await);
    }
    let rows = ok(server.get("/v1/traces").await).await;
    let number = |id: &String, field: &str| {
        let row = rows["data"].as_array().unwrap().iter().find(|row| row["id"] == json!(id)).unwrap();
        row[field].as_f64().unwrap()
    };
    let newest: Vec<String> = made.iter().rev().cloned().collect();
    assert_eq!(walked(&server, "").await, newest);
    assert_eq!(walked(&server, "&order=asc").await, made);
    for (sort, field) in [("min_score", "min_score"), ("critical_count", "critical_count")] {
        // Sorting keeps equals newest first.
        let mut expected = newest.clone();
        expected.sort_by(|a, b| number(a, field).total_cmp(&number(b, field)));
        assert_eq!(walked(&server, &format!("&sort={sort}&order=asc")).await, expected);
        expected = newest.clone();
        expected.sort_by(|a, b| number(b, field).total_cmp(&number(a, field)));
        assert_eq!(walked(&server, &format!("&sort={sort}")).await, expected);
    }
    assert_eq!(ids(&server, "?offset=3&limit=1").await, newest[3..4]);
    assert_eq!(ids(&server, "?offset=5").await, [] as [String; 0]);
    let created = rows["data"][0]["created"].as_i64().unwrap();
    assert_eq!(
        ids(&server, &format!("?created_after={}&created_before={}", created - 60, created + 60)).await.len(),
        5
    );
    assert!(ids(&server, &format!("?created_after={}", created + 60)).await.is_empty());
    assert!(ids(&server, &format!("?created_before={}", created - 60)).await.is_empty());
}

#[tokio::test]
async fn bad_queries_name_their_field() {
    let server = Server::start().await;
    for (query, code, param) in [
        ("limit=0", "out_of_range", "limit"),
        ("limit=101", "out_of_range", "limit"),
        ("limit=x", "invalid_value", "limit"),
        ("cursor=zz", "invalid_value", "cursor"),
        ("verdict=perhaps", "invalid_value", "verdict"),
        ("has_critical=2", "invalid_value", "has_critical"),
        ("sort=asc", "invalid_value", "sort"),
        ("order=up", "invalid_value", "order"),
        ("page=2", "unknown_field", "page"),
        ("created_after=today", "invalid_value", "created_after"),
        ("offset=-1", "invalid_value", "offset"),
        ("offset=1&cursor=61", "conflicting_fields", "offset"),
        ("sort=min_score&cursor=61", "invalid_value", "cursor"),
        ("limit=1&limit=2", "duplicate_field", "limit"),
    ] {
        let error = refusal(server.get(&format!("/v1/traces?{query}")).await).await;
        assert_eq!(error.status, 422, "{query}: {error:?}");
        assert_eq!(error.param.as_deref(), Some(param), "{query}: {error:?}");
        assert!([code, "invalid_value"].contains(&error.code.as_str()), "{query}: {error:?}");
    }
}

#[tokio::test]
async fn a_trace_is_read_and_deleted() {
    let server = Server::start().await;
    let trace = ok(server.score(json!({})).await).await;
    let path = format!("/v1/traces/{}", trace["id"].as_str().unwrap());
    assert_eq!(ok(server.get(&path).await).await, trace);
    assert_eq!(ok(server.delete(&path).await).await, json!({"id": trace["id"], "object": "trace", "deleted": true}));
    assert_refused(&refusal(server.get(&path).await).await, 404, "trace_not_found", None);
    assert_refused(&refusal(server.delete(&path).await).await, 404, "trace_not_found", None);
    for odd in ["/v1/traces/..%2f..%2fetc", "/v1/traces/%27%20OR%201=1", "/v1/traces/trace_%00"] {
        assert_refused(&refusal(server.get(odd).await).await, 404, "trace_not_found", None);
    }
    assert_eq!(refusal(server.get("/v1/traces/%ff").await).await.status, 400);
}

#[tokio::test]
async fn exports_are_attachments_of_their_kind() {
    let server = Server::start().await;
    let id = saved(&server, json!({"answer": "7"})).await;
    for (query, kind, extension) in [
        ("", "application/x-ndjson", "jsonl"),
        ("?format=jsonl", "application/x-ndjson", "jsonl"),
        ("?format=csv", "text/csv; charset=utf-8", "csv"),
        ("?format=html", "text/html; charset=utf-8", "html"),
    ] {
        let response = server.get(&format!("/v1/traces/{id}/export{query}")).await;
        assert_eq!(response.headers()["content-type"], kind);
        let disposition = format!("attachment; filename=\"{id}.{extension}\"");
        assert_eq!(response.headers()["content-disposition"], disposition.as_str());
        assert_eq!(response.headers()["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        assert!(!response.text().await.unwrap().is_empty());
    }
    let error = refusal(server.get(&format!("/v1/traces/{id}/export?format=pdf")).await).await;
    assert_refused(&error, 422, "invalid_value", Some("format"));
    let missing = "/v1/traces/trace_00000000000000000000000000/export";
    assert_refused(&refusal(server.get(missing).await).await, 404, "trace_not_found", None);
}

#[tokio::test]
async fn an_export_comes_back_as_it_was() {
    let here = Server::start().await;
    let trace = ok(here.score(json!({"answer": "7", "top_logprobs": 3, "tags": ["x"]})).await).await;
    let id = trace["id"].as_str().unwrap();
    let line = here.get(&format!("/v1/traces/{id}/export")).await.text().await.unwrap();

    let there = Server::start().await;
    let report = ok(there.import(line.clone()).await).await;
    assert_eq!(report, json!({"imported": 1, "unchanged": 0, "ids": [id], "errors": []}));
    assert_eq!(ok(there.get(&format!("/v1/traces/{id}")).await).await, trace);

    let again = ok(there.import(format!("{line}\nnonsense\n{{}}\n")).await).await;
    assert_eq!((&again["imported"], &again["unchanged"]), (&json!(0), &json!(1)));
    let lines: Vec<_> = again["errors"].as_array().unwrap().iter().map(|error| &error["line"]).collect();
    assert_eq!(lines, [3, 4]);
    assert!(again["errors"][0]["message"].as_str().unwrap().starts_with("line 3: "));
}

#[tokio::test]
async fn an_import_may_be_longer_than_a_body_in_memory() {
    let setup = crate::support::Setup { max_body_bytes: Some(100), ..Default::default() };
    let server = Server::with(setup).await;
    let report = ok(server.import("\n".repeat(10_000)).await).await;
    assert_eq!(report["errors"], json!([]));
}
