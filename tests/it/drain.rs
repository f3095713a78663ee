//! What happens to requests when the server is told to stop.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Server, Setup, ok, trajectory};

/// Sends a score that the engine holds, and gives its handle once the engine has it.
async fn in_flight(server: &Server) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let request = server.request(reqwest::Method::POST, "/v1/score").json(&trajectory(json!({})));
    let client = tokio::spawn(request.send());
    while server.engine.waiting.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client
}

async fn refuses_connections(server: &Server) {
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut server = Server::start().await;
    let engine = server.engine.clone();
    let held = engine.hold().await;
    let client = in_flight(&server).await;
    server.stop.cancel();
    refuses_connections(&server).await;
    assert!(!server.running.is_finished());
    drop(held);
    ok(client.await.unwrap().unwrap()).await;
    assert_eq!((&mut server.running).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_over() {
    let drain = Some(Duration::from_millis(100));
    let mut server = Server::with(Setup { drain, ..Setup::default() }).await;
    let engine = server.engine.clone();
    let _held = engine.hold().await;
    let _client = in_flight(&server).await;
    server.stop.cancel();
    assert_eq!((&mut server.running).await.unwrap().unwrap(), 1, "one connection was cut off");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_drain() {
    let mut server = Server::start().await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    ok(server.get("/health").await).await;
    server.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), &mut server.running).await;
    assert_eq!(ended.expect("the drain ended").unwrap().unwrap(), 0);
}
