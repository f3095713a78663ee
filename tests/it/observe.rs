//! Request ids and metrics.

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, ok, trajectory};

#[tokio::test]
async fn a_request_has_an_id_the_clients_own_if_it_is_plain() {
    let server = Server::start().await;
    let id_for = async |sent: Option<String>| {
        let mut request = server.request(Method::GET, "/health");
        if let Some(sent) = sent {
            request = request.header("x-request-id", sent);
        }
        request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert!(id_for(None).await.starts_with("req_"));
    assert_ne!(id_for(None).await, id_for(None).await);
    assert_eq!(id_for(Some("my-id_7.a".to_owned())).await, "my-id_7.a");
    for odd in ["two words".to_owned(), "x".repeat(65), "a\tb".to_owned(), "{json}".to_owned()] {
        assert!(id_for(Some(odd)).await.starts_with("req_"));
    }
}

#[tokio::test]
async fn metrics_count_requests_tokens_and_the_queue() {
    let server = Server::start().await;
    ok(server.score(json!({})).await).await;
    ok(server.post("/v1/score", &json!({"trajectories": [trajectory(json!({}))]})).await).await;
    server.score(json!({"response": ""})).await;
    server.get("/no/such/path").await;
    server.get("/no/such/path/2").await;
    let response = server.get("/metrics").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in [
        "linchpin_http_requests_total{method=\"POST\",route=\"/v1/score\",status=\"200\"} 2",
        "linchpin_http_requests_total{method=\"POST\",route=\"/v1/score\",status=\"422\"} 1",
        "linchpin_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 2",
        "linchpin_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/score\",status=\"200\"} 2",
        "linchpin_scored_trajectories_total{outcome=\"scored\"} 2",
        "linchpin_scored_tokens_total{part=\"response\"} 18",
        "linchpin_scored_tokens_total{part=\"prompt\"} 48",
        "linchpin_engine_compute_seconds_sum 0.003",
        "linchpin_queue_waiting 0",
        "linchpin_queue_capacity 7",
        "linchpin_generations_running 0",
        "linchpin_cache_bytes 3145728",
        "linchpin_cache_budget_bytes 5242880",
        "# TYPE linchpin_http_request_duration_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
