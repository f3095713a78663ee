//! Models from the Hugging Face Hub, downloaded into the cache that the Python tools share.
//!
//! The environment decides as it does for them: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_HUB_OFFLINE`. Only what a model needs is fetched, and never a pickle.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFError};
use indicatif::{ProgressBar, ProgressStyle};

use super::place::ModelFiles;
use crate::engine::EngineError;

/// How long the Hub may take to say what a repository holds. Downloads themselves have no limit.
const LISTING_TIMEOUT: Duration = Duration::from_secs(60);
/// A model's repository has some dozens of files.
const MAX_LISTED: usize = 10_000;

/// Everything beside the weights that a model needs.
const SMALL_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// `org/name`, or `org/name:file.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubId {
    owner: String,
    name: String,
    file: Option<String>,
}

impl HubId {
    /// `None` when the text cannot be an id, by the Hub's own rule for names.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (repository, file) = match text.split_once(':') {
            Some((repository, file)) => (repository, Some(file)),
            None => (text, None),
        };
        let (owner, name) = repository.split_once('/')?;
        let valid = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
                && !part.contains("--")
                && !part.contains("..")
        };
        let file_valid = |file: &str| {
            file.to_lowercase().ends_with(".gguf")
                && file.len() <= 256
                && !file.starts_with('/')
                && !file.contains('\\')
                && file.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        };
        (valid(owner) && valid(name) && file.is_none_or(file_valid)).then(|| HubId {
            owner: owner.to_owned(),
            name: name.to_owned(),
            file: file.map(str::to_owned),
        })
    }
}

impl std::fmt::Display for HubId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        self.file.as_ref().map_or(Ok(()), |file| write!(f, ":{file}"))
    }
}

/// What the environment says of the Hub.
#[derive(Debug, Clone)]
struct Settings {
    cache: PathBuf,
    /// `None` takes `HF_ENDPOINT` or the public Hub.
    endpoint: Option<String>,
    offline: bool,
}

impl Settings {
    fn from_environment() -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE")
            .is_ok_and(|value| matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"));
        Settings { cache: hf_hub::resolve_cache_dir(), endpoint: None, offline }
    }

    fn repository_folder(&self, id: &HubId) -> PathBuf {
        self.cache.join(format!("models--{}--{}", id.owner, id.name))
    }
}

/// Brings a model's files into the cache, unless they are there, and says where they are. Blocks.
pub(super) fn fetch(id: &HubId) -> Result<ModelFiles, EngineError> {
    fetch_with(id, Settings::from_environment())
}

fn fetch_with(id: &HubId, settings: Settings) -> Result<ModelFiles, EngineError> {
    if settings.offline {
        return from_cache(id, &settings).map_err(|error| {
            EngineError::Load(format!("{id} is not in the Hub's cache and HF_HUB_OFFLINE forbids fetching it: {error}"))
        });
    }
    // The caller may be inside an async runtime, where another one cannot block; so a thread of its own.
    let worker = {
        let (id, settings) = (id.clone(), settings.clone());
        move || -> Result<ModelFiles, Failure> {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|error| Failure::Refused(EngineError::Internal(error.to_string())))?;
            runtime.block_on(download(&id, &settings))
        }
    };
    let outcome = std::thread::scope(|scope| scope.spawn(worker).join())
        .map_err(|_| EngineError::Internal("the download thread panicked".to_owned()))?;
    match outcome {
        Ok(files) => Ok(files),
        Err(Failure::Refused(error)) => Err(error),
        // As huggingface_hub does: what was fetched before serves while the Hub cannot be reached.
        Err(Failure::Unreachable(message)) => match from_cache(id, &settings) {
            Ok(files) => {
                tracing::warn!(model = %id, %message, "the Hub cannot be reached; the cached files are used");
                Ok(files)
            }
            Err(_) => Err(EngineError::Load(format!(
                "{id} is not in the Hub's cache at {}, and the Hub cannot be reached: {message}",
                settings.cache.display()
            ))),
        },
    }
}

/// Why a download failed.
enum Failure {
    /// The Hub did not answer; the cache may help.
    Unreachable(String),
    /// The Hub answered, and the answer is final.
    Refused(EngineError),
}

async fn download(id: &HubId, settings: &Settings) -> Result<ModelFiles, Failure> {
    let refuse = |message: String| Failure::Refused(EngineError::Load(format!("{id}: {message}")));
    let mut builder = HFClient::builder().cache_dir(&settings.cache);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.endpoint(endpoint);
    }
    let client = builder.build().map_err(|error| failure(id, error))?;
    let repository = client.model(&id.owner, &id.name);

    let listing = async {
        let entries = repository.list_tree().limit(MAX_LISTED).recursive(true).send()?;
        futures::pin_mut!(entries);
        let mut names = Vec::new();
        while let Some(entry) = entries.next().await {
            if let RepoTreeEntry::File { path, .. } = entry? {
                names.push(path);
            }
        }
        Ok::<_, HFError>(names)
    };
    let names = tokio::time::timeout(LISTING_TIMEOUT, listing)
        .await
        .map_err(|_| Failure::Unreachable(format!("no answer within {} s", LISTING_TIMEOUT.as_secs())))?
        .map_err(|error| failure(id, error))?;

    let progress = Bar::new(&id.to_string());
    if let Some(file) = &id.file {
        if !names.contains(file) {
            return Err(refuse(format!("the repository has no file {file:?}; its GGUF files are {}", ggufs(&names))));
        }
        let path = repository.download_file().filename(file).progress(progress).send().await;
        return path.map(ModelFiles::Gguf).map_err(|error| failure(id, error));
    }
    let wanted = needed(&names).map_err(refuse)?;
    let folder = repository.snapshot_download().allow_patterns(wanted).progress(progress).send().await;
    folder.map(ModelFiles::Folder).map_err(|error| failure(id, error))
}

/// The files to fetch out of those that a repository holds; the error says why it cannot serve.
fn needed(names: &[String]) -> Result<Vec<String>, String> {
    let mut wanted: Vec<String> = names.iter().filter(|name| SMALL_FILES.contains(&name.as_str())).cloned().collect();
    let has = |name: &str| names.iter().any(|other| other == name);
    // Weights at the top only; `consolidated` files are the same weights again in another naming.
    let weights: Vec<&String> = names
        .iter()
        .filter(|name| name.ends_with(".safetensors") && !name.contains('/') && !name.starts_with("consolidated"))
        .collect();
    if has("model.safetensors") {
        wanted.push("model.safetensors".to_owned());
    } else if has("model.safetensors.index.json") {
        wanted.push("model.safetensors.index.json".to_owned());
        wanted.extend(weights.into_iter().cloned());
    } else if let [only] = weights.as_slice() {
        wanted.push((*only).clone());
    } else if names.iter().any(|name| name.to_lowercase().ends_with(".gguf")) {
        return Err(format!("the repository has GGUF files and no safetensors; name one of {}", ggufs(names)));
    } else if names.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pth")) {
        return Err("the repository's weights are pickles, which can run any code when they are opened and are never \
                    read; use a repository with safetensors"
            .to_owned());
    } else {
        return Err("the repository has no safetensors weights".to_owned());
    }
    if !has("config.json") {
        return Err("the repository has no config.json".to_owned());
    }
    // The names go out as glob patterns; none of these characters belongs in a model's file names.
    wanted.retain(|name| !name.contains(['*', '?', '[', ']', '{', '}', '!']));
    Ok(wanted)
}

fn ggufs(names: &[String]) -> String {
    let found: Vec<_> =
        names.iter().filter(|name| name.to_lowercase().ends_with(".gguf")).take(30).map(String::as_str).collect();
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

fn failure(id: &HubId, error: HFError) -> Failure {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    let refused = |hint: &str| Failure::Refused(EngineError::Load(format!("{id}: {message}{hint}")));
    let server_error = matches!(&error, HFError::Http { context } if context.status.is_server_error());
    if server_error || matches!(error, HFError::Request { .. } | HFError::RateLimited { .. }) {
        Failure::Unreachable(message)
    } else if matches!(error, HFError::AuthRequired { .. } | HFError::Forbidden { .. }) {
        refused(" (a gated or private model needs HF_TOKEN and, if gated, its terms accepted)")
    } else if matches!(error, HFError::RepoNotFound { .. }) {
        refused(" (there is no folder of that name here either; a private model needs HF_TOKEN)")
    } else {
        refused("")
    }
}

fn from_cache(id: &HubId, settings: &Settings) -> Result<ModelFiles, EngineError> {
    let snapshot = cached_snapshot(&settings.repository_folder(id))?;
    match &id.file {
        None if snapshot.join("config.json").is_file() => Ok(ModelFiles::Folder(snapshot)),
        None => Err(EngineError::Load(format!("{}: config.json is missing", snapshot.display()))),
        Some(file) => {
            let path = snapshot.join(file);
            if path.is_file() {
                Ok(ModelFiles::Gguf(path))
            } else {
                Err(EngineError::Load(format!("{}: there is no such file", path.display())))
            }
        }
    }
}

/// The snapshot that `refs/main` names in a repository's folder of the cache.
pub(super) fn cached_snapshot(repository: &Path) -> Result<PathBuf, EngineError> {
    let reference = repository.join("refs").join("main");
    let commit = std::fs::read_to_string(&reference)
        .map_err(|error| EngineError::Load(format!("{}: {error}", reference.display())))?;
    let commit = commit.trim();
    let valid = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
    let snapshot = repository.join("snapshots").join(commit);
    if valid && snapshot.is_dir() {
        Ok(snapshot)
    } else {
        Err(EngineError::Load(format!("{}: the snapshot {commit:?} is not there", repository.display())))
    }
}

/// A progress bar on standard error; indicatif hides it where that is no terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(name: &str) -> Self {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let bar = ProgressBar::no_length().with_message(name.to_owned());
        Bar(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl ProgressHandler for Bar {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.0.set_length(*total_bytes),
            DownloadEvent::AggregateProgress { bytes_completed, total_bytes, .. } => {
                self.0.set_length(*total_bytes);
                self.0.set_position(*bytes_completed);
            }
            // Per-file totals arrive file by file; what has been seen of each is kept by name.
            DownloadEvent::Progress { files } => {
                for file in files {
                    if file.status == hf_hub::progress::FileStatus::InProgress {
                        self.0.set_message(file.filename.clone());
                    }
                }
            }
            DownloadEvent::Complete => self.0.finish_and_clear(),
        }
    }
}

#[cfg(test)]
mod tests;
