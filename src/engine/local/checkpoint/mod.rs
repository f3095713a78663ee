//! A model's files: where they are, what they hold, and whether they can be trusted.
//!
//! This room finds a model by folder, GGUF file or Hub id, maps its weights without copying them, and checks every
//! name, shape and length before anyone computes with them. It knows nothing of devices and of the forward pass.

mod catalog;
mod config;
mod digest;
mod folder;
mod gguf;
pub mod gguf_reader;
mod hf_config;
mod hub;
mod place;
mod rope;
mod shapes;
mod stored;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use catalog::Catalog;
pub use config::{Architecture, ModelConfig};
pub(crate) use digest::hex;
#[cfg(test)]
pub(crate) use hf_config::parse as parse_config;
pub use place::{ModelFiles, resolve};
pub use rope::{Rope, RopeScaling};
pub use shapes::ExpectedTensor;
pub use stored::{StoredKind, StoredTensor};

use crate::engine::{EngineError, TextCodec};

/// No configuration or index is larger; a larger one is not read into memory.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// An opened model: its configuration, its tokenizer, and its weights in mapped files. Everything is checked.
pub struct Checkpoint {
    /// The Hub id, or the name of the folder or file.
    pub id: String,
    pub config: ModelConfig,
    pub text: TextCodec,
    files: Vec<PathBuf>,
    maps: Vec<Arc<Mmap>>,
    catalog: Catalog,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkpoint({:?}, {} tensors)", self.id, self.catalog.0.len())
    }
}

impl Checkpoint {
    /// Maps and checks a model's files: that they are whole, that every tensor of the configuration is there in its
    /// shape, and that the tokenizer does not know ids beyond the vocabulary.
    pub fn open(files: &ModelFiles) -> Result<Self, EngineError> {
        let checkpoint = match files {
            ModelFiles::Folder(folder) => Self::open_folder(folder)?,
            ModelFiles::Gguf(file) => Self::open_gguf(file)?,
        };
        checkpoint.catalog.check(&checkpoint.config, &checkpoint.files)?;
        checkpoint.text.check_against(&checkpoint.config)?;
        Ok(checkpoint)
    }

    fn open_folder(folder: &Path) -> Result<Self, EngineError> {
        let weights = folder::weights(folder)?;
        let path = folder.join("config.json");
        let has_head = weights.catalog.0.contains_key("lm_head.weight");
        let config = hf_config::parse(&read_json(&path)?, &path.display().to_string(), has_head)?;
        Ok(Checkpoint {
            id: place::model_name(folder),
            config,
            text: TextCodec::from_folder(folder)?,
            files: weights.files,
            maps: weights.maps,
            catalog: weights.catalog,
        })
    }

    fn open_gguf(path: &Path) -> Result<Self, EngineError> {
        let map = map_file(path)?;
        let source = path.display().to_string();
        let head = gguf_reader::read(&map).map_err(|message| EngineError::Load(format!("{source}: {message}")))?;
        let config = gguf::config(&head, &map, &source)?;
        let catalog = gguf::catalog(&head, &config, path, 0)?;
        let text =
            TextCodec::from_gguf(&head.metadata).map_err(|error| EngineError::Load(format!("{source}: {error}")))?;
        Ok(Checkpoint {
            id: place::model_name(path),
            config,
            text,
            files: vec![path.to_owned()],
            maps: vec![map],
            catalog,
        })
    }

    /// A tensor by its Hugging Face name, whichever kind of file holds it, its rows in Hugging Face's order.
    pub fn tensor(&self, name: &str) -> Result<StoredTensor, EngineError> {
        let Some(entry) = self.catalog.0.get(name) else {
            let files: Vec<_> = self.files.iter().map(|path| path.display().to_string()).collect();
            return Err(EngineError::Load(format!("the tensor {name:?} is not in {}", files.join(", "))));
        };
        Ok(entry.read(&self.maps[entry.file]))
    }

    pub fn has(&self, name: &str) -> bool {
        self.catalog.0.contains_key(name)
    }

    /// The files that hold the weights, shards in order of name.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The kind that most of the weights are stored in, by number of weights.
    pub fn main_kind(&self) -> StoredKind {
        let mut counts: Vec<(StoredKind, usize)> = Vec::new();
        for entry in self.catalog.0.values() {
            let elements = entry.shape.iter().product::<usize>();
            match counts.iter_mut().find(|(kind, _)| *kind == entry.kind) {
                Some((_, count)) => *count += elements,
                None => counts.push((entry.kind, elements)),
            }
        }
        counts.into_iter().max_by_key(|&(_, count)| count).map_or(StoredKind::F32, |(kind, _)| kind)
    }

    /// The SHA-256 of the weights, 64 hex digits: of the file itself where there is one, else over the sorted lines
    /// `name NUL digest LF` of the shards. Reads every byte.
    pub fn sha256(&self) -> Result<String, EngineError> {
        digest::of_files(&self.files)
    }

    /// Number of weights, a tied head counted once.
    pub fn parameters(&self) -> u64 {
        self.config.parameters()
    }
}

/// Maps a file for reading.
fn map_file(path: &Path) -> Result<Arc<Mmap>, EngineError> {
    let fail = |error: std::io::Error| EngineError::Load(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(fail)?;
    if file.metadata().map_err(fail)?.len() == 0 {
        return Err(EngineError::Load(format!("{}: the file is empty", path.display())));
    }
    // SAFETY: the map is read-only. Whoever changes or truncates a model file under a running server breaks the
    // promise that mapping asks for; every inference server that maps weights shares this condition.
    let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
    Ok(Arc::new(map))
}

/// Reads a JSON file of bounded size.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, EngineError> {
    let fail = |message: String| EngineError::Load(format!("{}: {message}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > MAX_JSON_BYTES {
        return Err(fail(format!("the file has {size} bytes, and at most {MAX_JSON_BYTES} are read")));
    }
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| fail(format!("invalid JSON: {error}")))
}

#[cfg(test)]
mod tests;
