//! Where a model is: a folder, a GGUF file, a place in the Hub's cache, or an id on the Hub.

use std::path::{Component, Path, PathBuf};

use super::hub;
use crate::engine::EngineError;

/// A model's files on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFiles {
    /// A Hugging Face folder: `config.json`, tokenizer files, safetensors.
    Folder(PathBuf),
    Gguf(PathBuf),
}

/// Finds a model's files: a folder, a `.gguf` file, a repository's folder in the Hub's cache, or a Hub id
/// `org/name` or `org/name:file.gguf`, which is downloaded unless the cache has it. What exists on disk comes first.
/// Blocks; a download may take long.
pub fn resolve(model: &str) -> Result<ModelFiles, EngineError> {
    let path = expand_home(model);
    if path.is_dir() {
        return resolve_folder(&path);
    }
    if path.is_file() {
        return resolve_file(&path);
    }
    match hub::HubId::parse(model) {
        Some(id) => hub::fetch(&id),
        None => Err(EngineError::Load(format!(
            "there is no file or folder {model:?}, and it is not a Hub id such as \"org/name\" or \"org/name:file.gguf\""
        ))),
    }
}

fn expand_home(model: &str) -> PathBuf {
    match (model.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(model),
    }
}

fn resolve_file(path: &Path) -> Result<ModelFiles, EngineError> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("gguf") => Ok(ModelFiles::Gguf(path.to_owned())),
        Some("safetensors" | "json") => Err(EngineError::Load(format!(
            "{}: give the folder that holds config.json, tokenizer.json and the safetensors files, not one of its files",
            path.display()
        ))),
        Some(_) | None if begins_as_gguf(path) => Ok(ModelFiles::Gguf(path.to_owned())),
        Some(_) | None => {
            Err(EngineError::Load(format!("{}: neither a GGUF file nor a Hugging Face folder", path.display())))
        }
    }
}

/// Blobs in the Hub's cache have no extension.
fn begins_as_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
        .is_ok_and(|()| &magic == b"GGUF")
}

fn resolve_folder(path: &Path) -> Result<ModelFiles, EngineError> {
    if path.join("config.json").is_file() {
        return Ok(ModelFiles::Folder(path.to_owned()));
    }
    if path.join("snapshots").is_dir() && path.join("refs").is_dir() {
        return resolve_folder(&hub::cached_snapshot(path)?);
    }
    let ggufs = ggufs_in(path)?;
    match ggufs.as_slice() {
        [only] => Ok(ModelFiles::Gguf(only.clone())),
        [] if path.join("adapter_config.json").is_file() => Err(EngineError::Load(format!(
            "{}: this is a PEFT adapter and not a model; give its base as the model and this as an adapter",
            path.display()
        ))),
        [] => Err(EngineError::Load(format!(
            "{}: neither config.json nor a .gguf file is in this folder",
            path.display()
        ))),
        several => {
            let names: Vec<_> =
                several.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
            Err(EngineError::Load(format!("{}: give one of its GGUF files: {}", path.display(), names.join(", "))))
        }
    }
}

fn ggufs_in(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let listing =
        std::fs::read_dir(folder).map_err(|error| EngineError::Load(format!("{}: {error}", folder.display())))?;
    let mut found: Vec<_> = listing
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")))
        .collect();
    found.sort();
    Ok(found)
}

/// What a model found at `path` is called: `org/name` for a place in the Hub's cache, else the folder's name or the
/// file's without its extension.
pub(super) fn model_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let cached = absolute.components().find_map(|component| match component {
        Component::Normal(name) => name.to_str()?.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    let gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    match (cached, gguf) {
        (Some(id), true) => {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            return format!("{id}:{file}");
        }
        (Some(id), false) => return id,
        (None, _) => {}
    }
    let canonical = std::fs::canonicalize(path).unwrap_or(absolute);
    let named = if path.file_name().is_some() { path } else { &canonical };
    let name = if gguf { named.file_stem() } else { named.file_name() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}
