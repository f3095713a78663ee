//! What several commands build: the log, the engine, the store, and the use cases over them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use linchpin::analysis::{Analysis, Runs};
use linchpin::config::{LogFormat, ModelConfig, default_data_dir};
use linchpin::engine::Engine;
use linchpin::engine::local::{LocalEngine, LocalOptions};
use linchpin::jobs::{Jobs, LocalTrainer};
use linchpin::store::{Store, StoreOptions};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::demo::Demo;

/// The file inside the data folder that holds the records.
const DATABASE: &str = "linchpin.db";

/// Starts the log on stderr; `RUST_LOG` chooses its level, `info` by default.
pub(super) fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).with_context(|| format!("RUST_LOG={directives} is not a log filter"))?
        }
        Ok(_) | Err(_) => EnvFilter::new("info"),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Where the store and the adapters are.
pub(super) struct Folders {
    /// `None` forgets everything with the process.
    pub(super) data: Option<PathBuf>,
    pub(super) adapters: Option<PathBuf>,
}

/// The use cases.
pub(super) struct Rooms {
    pub(super) analysis: Analysis,
    pub(super) runs: Runs,
    pub(super) jobs: Jobs,
    /// Set where no model was named.
    pub(super) demo: Option<Demo>,
}

/// Opens the store, loads the models and puts the use cases over both. The store comes first: its mistakes show at
/// once, and models may take minutes. `stop` ends the runner of jobs.
pub(super) async fn start(models: ModelConfig, folders: Folders, stop: CancellationToken) -> anyhow::Result<Rooms> {
    let demo = match &models.model {
        Some(_) => None,
        None => {
            let place = folders.data.clone();
            let place = place.unwrap_or_else(|| default_data_dir(&|name: &str| std::env::var(name).ok()));
            Some(tokio::task::spawn_blocking(move || Demo::install(&place)).await.context("the demo broke off")??)
        }
    };
    let store = match folders.data {
        Some(data) => Store::open(StoreOptions { path: data.join(DATABASE) }).await?,
        None => Store::in_memory().await?,
    };
    let began = Instant::now();
    let options = local_options(models, demo.as_ref())?;
    let (model, dtype, device, threads) = (options.model.clone(), options.dtype, options.device, options.threads);
    let engine = tokio::task::spawn_blocking(move || LocalEngine::load(&options))
        .await
        .context("loading the models broke off")??;
    for model in engine.models() {
        tracing::info!(
            id = %model.id, roles = ?model.roles, architecture = %model.architecture, parameters = model.parameters,
            dtype = %model.dtype, device = %model.device, "loaded"
        );
    }
    tracing::info!(seconds = began.elapsed().as_secs_f64(), "ready");
    let engine: Arc<dyn Engine> = Arc::new(engine);
    if let Some(demo) = &demo {
        demo.load_trained(&*engine).await?;
    }
    let trainer = LocalTrainer { engine: engine.clone(), model, dtype, device, threads };
    let jobs = Jobs::new(engine.clone(), store.clone(), Arc::new(trainer), stop.clone());
    let analysis = Analysis::new(engine, store, folders.adapters);
    let runs = Runs::new(analysis.clone(), stop);
    Ok(Rooms { analysis, runs, jobs, demo })
}

fn local_options(config: ModelConfig, demo: Option<&Demo>) -> anyhow::Result<LocalOptions> {
    let ModelConfig { model, positive, negative, device, dtype, queue, cache_bytes, batch, threads, log: _ } = config;
    let model = model.or_else(|| demo.map(Demo::model)).context("no model is named")?;
    // The demo's roles are filled unless the user fills them.
    let role = |given: Option<String>, name| given.or_else(|| demo.map(|demo| demo.adapter(name)));
    let (positive, negative) = (role(positive, "positive"), role(negative, "negative"));
    Ok(LocalOptions { model, positive, negative, device, dtype, queue, cache_bytes, batch, threads })
}
