//! The built-in demo: a small model with its adapters, problems and traces, embedded into the binary.
//!
//! Model files are mapped, so they are written out once, into the user's data folder, under the hash of what they hold.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::stream;
use linchpin::analysis::Analysis;
use linchpin::engine::{AdapterSource, Engine};
use linchpin::jobs::Jobs;
use rust_embed::Embed;
use sha2::{Digest, Sha256};

#[derive(Embed)]
#[folder = "demo/"]
#[include = "model/*"]
#[include = "adapters/*/*"]
#[include = "data/*.jsonl"]
struct Files;

/// Digits of the hash in the folder's name.
const DIGITS: usize = 16;
/// The adapter that is loaded beside the positive and the negative one.
const TRAINED: &str = "cdpo";

/// The demo's files on disk.
pub(super) struct Demo {
    folder: PathBuf,
}

impl Demo {
    /// Writes the files into `data`, unless they are there already. Blocking.
    pub(super) fn install(data: &Path) -> anyhow::Result<Self> {
        let mut names: Vec<_> = Files::iter().collect();
        names.sort_unstable();
        let mut hash = Sha256::new();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let file = Files::get(&name).with_context(|| format!("the embedded file {name} is missing"))?;
            hash.update(name.as_bytes());
            hash.update(file.metadata.sha256_hash());
            files.push((name, file));
        }
        anyhow::ensure!(!files.is_empty(), "this build has no demo: name a model with --model");
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let root = data.join("demo");
        let folder = root.join(&digest[..DIGITS]);
        if !folder.is_dir() {
            std::fs::create_dir_all(&root).with_context(|| format!("{} cannot be made", root.display()))?;
            // Put there as a whole: another process may be doing the same.
            let beside = tempfile::Builder::new().prefix(".demo-").tempdir_in(&root)?;
            for (name, file) in files {
                let path = beside.path().join(&*name);
                write(&path, &file.data).with_context(|| format!("{} cannot be written", path.display()))?;
            }
            match std::fs::rename(beside.path(), &folder) {
                Ok(()) => drop(beside.keep()),
                Err(_) if folder.is_dir() => {}
                Err(error) => return Err(error).with_context(|| format!("{} cannot be made", folder.display())),
            }
        }
        Ok(Self { folder })
    }

    pub(super) fn model(&self) -> String {
        self.folder.join("model").display().to_string()
    }

    pub(super) fn adapter(&self, name: &str) -> String {
        self.folder.join("adapters").join(name).display().to_string()
    }

    /// Loads what the demo's own training made, without a role.
    pub(super) async fn load_trained(&self, engine: &dyn Engine) -> anyhow::Result<()> {
        let path = PathBuf::from(self.adapter(TRAINED));
        engine.load_adapter(AdapterSource { id: TRAINED.to_owned(), path }).await?;
        Ok(())
    }

    /// Puts the demo's traces and problems into a store that has never had them. What the user deletes stays deleted.
    pub(super) async fn fill(&self, analysis: &Analysis, jobs: &Jobs) -> anyhow::Result<()> {
        // Beside the folder of this version: another's traces are the same to whoever deleted them.
        let filled = self.folder.with_file_name("filled");
        if filled.exists() {
            return Ok(());
        }
        for name in ["problems", "heldout"] {
            let rows = stream::iter([read(&self.folder.join(format!("data/{name}.jsonl"))).await]);
            jobs.put_dataset(format!("demo-{name}"), rows).await?;
        }
        let traces = stream::iter([read(&self.folder.join("data/traces.jsonl")).await]);
        let report = analysis.import(traces).await?;
        tracing::info!(traces = report.imported, refused = report.errors.len(), "the demo's traces are in the store");
        tokio::fs::write(&filled, "").await.with_context(|| format!("{} cannot be written", filled.display()))?;
        Ok(())
    }
}

/// Writes a file through to the disk: a power cut must not leave an empty one under the final name.
fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::File::create(path)?;
    file.write_all(data)?;
    file.sync_all()
}

async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    tokio::fs::read(path).await
}
