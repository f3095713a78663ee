//! `linchpin worker`: run jobs and serve nothing, over the data folder of a server that runs none (`serve --no-jobs`).

use std::path::PathBuf;
use std::process::ExitCode;

use linchpin::config::{Config, ModelArgs, ServerArgs};
use linchpin::jobs;
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::wiring::{self, Folders, Rooms};

#[derive(clap::Args)]
pub(super) struct WorkerArgs {
    #[command(flatten)]
    models: ModelArgs,
    /// The server's data folder [default: linchpin in the user's data folder]
    #[arg(long, env = "LINCHPIN_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(args: WorkerArgs) -> anyhow::Result<ExitCode> {
    let WorkerArgs { models, data_dir } = args;
    let server = ServerArgs { data_dir, ..ServerArgs::default() };
    let config = Config::resolve(models, server, |name| std::env::var(name).ok())?;
    wiring::start_log(config.models.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work(config));
    runtime.shutdown_background();
    outcome
}

async fn work(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install()?;
    let stop = CancellationToken::new();
    let folders = Folders { data: Some(config.server.data_dir), adapters: None };
    let loading = wiring::start(config.models, folders, stop.clone());
    let Rooms { analysis: _, runs: _, jobs, demo: _ } = tokio::select! {
        rooms = loading => rooms?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let mut running = tokio::spawn(jobs::run(jobs));
    loop {
        tokio::select! {
            ended = &mut running => {
                ended?;
                tracing::info!("stopped");
                return Ok(ExitCode::SUCCESS);
            }
            () = signals.next() => {
                if stop.is_cancelled() {
                    tracing::warn!("a second signal: stopping at once");
                    return Ok(ExitCode::FAILURE);
                }
                stop.cancel();
            }
        }
    }
}
