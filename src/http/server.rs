//! The accept loop: bounded connections, bounded header reads, and a drain that ends.
//!
//! Knows sockets and a router, and nothing of what the router does. It stands in for `axum::serve`, which sets no timer
//! and so never closes a connection that sends half a header, and has no bound on the number of connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::AppState;

/// How often measurements are folded into their histograms when nobody reads them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Bounds of the accept loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections served at once; further ones wait in the system's backlog.
    pub connections: usize,
    /// Time for a client to send a request's header, an idle connection's wait for its next request included.
    pub header_read: Duration,
    /// Time for requests in flight to finish after the shutdown signal.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { connections: 1024, header_read: Duration::from_secs(30), drain: Duration::from_secs(30) }
    }
}

/// Serves until `shutdown` resolves, then refuses new connections and lets requests in flight finish within the drain
/// time. Returns how many connections were cut off because they did not.
///
/// # Errors
/// None while serving: a failed accept is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<usize> {
    let router = super::router(state.clone());
    let permits = Arc::new(Semaphore::new(limits.connections));
    let connections = GracefulShutdown::new();
    let mut upkeep = tokio::time::interval(METRICS_UPKEEP);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = upkeep.tick() => state.metrics().upkeep(),
            (stream, permit) = accept(&listener, &permits) => {
                let connection = connection(stream, router.clone(), limits);
                let connection = connections.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    let open = connections.count();
    tracing::info!(connections = open, "draining: no new connections are taken");
    let permits_left = permits.clone();
    match tokio::time::timeout(limits.drain, connections.shutdown()).await {
        Ok(()) => Ok(0),
        Err(_elapsed) => Ok(limits.connections - permits_left.available_permits()),
    }
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        // The semaphore is never closed, so `acquire_owned` fails never; the loop keeps that out of the types.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                // Out of file descriptors, most likely: without a pause this would spin.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn connection(
    stream: TcpStream,
    router: Router,
    limits: ServerLimits,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
