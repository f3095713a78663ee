//! `linchpin serve`: listen, load, answer, run jobs, drain.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures::future::OptionFuture;
use linchpin::config::{Config, ModelArgs, ServerArgs, ServerConfig};
use linchpin::http::{self, ApiKeys, AppState, HttpOptions, ServerLimits};
use linchpin::jobs;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::wiring::{self, Folders, Rooms};

#[derive(clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = Config::resolve(args.models, args.server, |name| std::env::var(name).ok())?;
    wiring::start_log(config.models.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(config));
    // A load that is still under way cannot be stopped, and nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// Answers probes from the first moment on and opens the model routes once the models are loaded.
async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let Config { models, server } = config;
    let mut signals = Signals::install()?;
    let listener = TcpListener::bind(server.listen)
        .await
        .with_context(|| format!("the address {} cannot be listened on", server.listen))?;
    announce(listener.local_addr()?)?;

    let state = AppState::new(http_options(&server));
    let limits = ServerLimits { drain: Duration::from_secs(server.drain_seconds), ..ServerLimits::default() };
    let stop = CancellationToken::new();
    let serving = http::serve(listener, state.clone(), limits, stop.clone().cancelled_owned());
    let folders = Folders { data: Some(server.data_dir), adapters: server.adapters_dir };
    let loading = wiring::start(models, folders, stop.clone());
    tokio::pin!(serving, loading);
    let mut loaded = false;
    let mut working = None;
    loop {
        tokio::select! {
            outcome = &mut serving => {
                let cut_off = outcome?;
                if cut_off > 0 {
                    tracing::warn!(connections = cut_off, "the drain time is over: unfinished requests were cut off");
                }
                if let Some(working) = working {
                    let_go(working, limits.drain).await;
                }
                tracing::info!("stopped");
                return Ok(ExitCode::SUCCESS);
            }
            rooms = &mut loading, if !loaded => {
                let Rooms { analysis, runs, jobs, demo } = rooms?;
                if let Some(demo) = demo {
                    let (analysis, jobs) = (analysis.clone(), jobs.clone());
                    // Beside the serving, and nothing that serving needs.
                    tokio::spawn(async move {
                        if let Err(error) = demo.fill(&analysis, &jobs).await {
                            tracing::warn!("the demo's traces are not in the store: {error:#}");
                        }
                    });
                }
                let (taking_up, own) = (runs.clone().take_up(), server.run_jobs.then(|| jobs::run(jobs.clone())));
                working = Some(tokio::spawn(async move {
                    tokio::join!(taking_up, OptionFuture::from(own));
                }));
                state.open(analysis, runs, jobs);
                loaded = true;
            }
            () = signals.next() => {
                if stop.is_cancelled() {
                    tracing::warn!("a second signal: stopping without a drain");
                    return Ok(ExitCode::FAILURE);
                }
                stop.cancel();
            }
        }
    }
}

/// Waits for runs and the job that runs to be let go of, for the next process to go on with. One that does not end its step in time
/// is taken up once its lease has run out.
async fn let_go(working: JoinHandle<()>, patience: Duration) {
    match tokio::time::timeout(patience, working).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the runner of jobs and runs panicked"),
        Err(_elapsed) => tracing::warn!("a job's step is not over: the job is taken up a little later"),
    }
}

fn http_options(server: &ServerConfig) -> HttpOptions {
    HttpOptions {
        keys: ApiKeys::new(server.api_keys.iter().map(|key| key.0).collect()),
        max_body_bytes: server.max_body_bytes,
    }
}

/// The one line on stdout, for people and for scripts that asked for port 0.
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "Linchpin is listening on http://{address}")
        .and_then(|()| stdout.flush())
        .context("stdout cannot be written")
}
