//! A thin client of a server's HTTP API.

use anyhow::{Context, bail};
use futures::{Stream, StreamExt, stream};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

/// Which server to talk to.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ClientArgs {
    /// The server's address
    #[arg(long, env = "LINCHPIN_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// The server's key
    #[arg(long, env = "LINCHPIN_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// A server.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    api_key: Option<String>,
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ServerEvent {
    pub(super) id: Option<String>,
    pub(super) data: String,
}

impl Client {
    pub(super) fn new(args: ClientArgs) -> anyhow::Result<Self> {
        let ClientArgs { server, api_key } = args;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            // The server's streams say something every 15 s.
            .read_timeout(SILENCE)
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned(), api_key })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        read(self.send(self.request(Method::GET, path)).await?).await
    }

    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        read(self.send(request).await?).await
    }

    /// A stream of events, from behind the one with id `after`.
    pub(super) async fn events(
        &self,
        path: &str,
        after: Option<&str>,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<ServerEvent>> + use<>> {
        let mut request = self.request(Method::GET, path);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let chunks = self.send(request).await?.bytes_stream();
        let state = (chunks, Events::default());
        Ok(stream::try_unfold(state, |(mut chunks, mut events)| async move {
            loop {
                if let Some(event) = events.next() {
                    return Ok(Some((event, (chunks, events))));
                }
                match chunks.next().await {
                    Some(chunk) => events.push(&chunk.context("the connection broke")?),
                    None => return Ok(None),
                }
            }
        }))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request; an answer that is no success becomes an error with the server's own words.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.with_context(|| format!("the server {} does not answer", self.server))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        match (body["error"]["message"].as_str(), body["error"]["param"].as_str()) {
            (Some(message), Some(param)) => bail!("{param}: {message} ({status})"),
            (Some(message), None) => bail!("{message} ({status})"),
            (None, _) => bail!("{status}"),
        }
    }
}

async fn read(response: Response) -> anyhow::Result<Value> {
    response.json().await.context("the server's answer is not JSON")
}

/// Puts events together from the pieces in which they arrive.
#[derive(Default)]
struct Events {
    bytes: Vec<u8>,
}

impl Events {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event that is there as a whole. Comments are left out.
    fn next(&mut self) -> Option<ServerEvent> {
        loop {
            let end = self.bytes.windows(2).position(|two| two == b"\n\n")?;
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let mut event = ServerEvent::default();
            for line in String::from_utf8_lossy(&block).lines() {
                match line.split_once(':') {
                    Some(("data", value)) => event.data.push_str(value.trim_start()),
                    Some(("id", value)) => event.id = Some(value.trim().to_owned()),
                    Some(_) | None => {}
                }
            }
            if !event.data.is_empty() {
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_from_pieces() {
        let mut events = Events::default();
        events.push(b": ping\n\nda");
        assert_eq!(events.next(), None);
        events.push(b"ta: {\"a\": 1}\nid: 7\n\ndata: [DONE]\n\n");
        assert_eq!(events.next(), Some(ServerEvent { id: Some("7".to_owned()), data: "{\"a\": 1}".to_owned() }));
        assert_eq!(events.next(), Some(ServerEvent { id: None, data: "[DONE]".to_owned() }));
        assert_eq!(events.next(), None);
    }
}
