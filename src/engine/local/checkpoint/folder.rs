//! A model in a Hugging Face folder: `config.json` and one or more safetensors files.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::catalog::{Catalog, Entry, RowOrder};
use super::stored::StoredKind;
use super::{map_file, read_json};
use crate::engine::EngineError;

/// The weights of a folder, mapped and listed.
pub(super) struct Weights {
    pub(super) files: Vec<PathBuf>,
    pub(super) maps: Vec<Arc<Mmap>>,
    pub(super) catalog: Catalog,
}

/// Finds a folder's weight files and lists their tensors.
pub(super) fn weights(folder: &Path) -> Result<Weights, EngineError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    // transformers looks for the single file first, too.
    let (files, owners) = if single.is_file() {
        (vec![single], None)
    } else if index.is_file() {
        let (files, owners) = read_index(folder, &index)?;
        (files, Some((index, owners)))
    } else {
        (vec![lone_file(folder)?], None)
    };
    let mut maps = Vec::with_capacity(files.len());
    let mut entries = HashMap::new();
    for (file, path) in files.iter().enumerate() {
        let map = map_file(path)?;
        for (name, entry) in list(&map, path, file)? {
            let owned = owners.as_ref().is_none_or(|(_, owners)| owners.get(&name) == Some(&file));
            if owned {
                entries.insert(name, entry);
            }
        }
        maps.push(map);
    }
    if let Some((index, owners)) = owners {
        for (name, file) in owners {
            if !entries.contains_key(&name) {
                return Err(EngineError::Load(format!(
                    "{}: the tensor {name:?} is said to be in {}, and is not",
                    index.display(),
                    files[file].display()
                )));
            }
        }
    }
    Ok(Weights { files, maps, catalog: Catalog(entries) })
}

/// The shards, in order of name, and the shard of every tensor.
fn read_index(folder: &Path, index: &Path) -> Result<(Vec<PathBuf>, HashMap<String, usize>), EngineError> {
    let fail = |message: String| EngineError::Load(format!("{}: {message}", index.display()));
    let json = read_json(index)?;
    let Some(weight_map) = json.get("weight_map").and_then(Value::as_object) else {
        return Err(fail("`weight_map` is missing".to_owned()));
    };
    let mut names = BTreeSet::new();
    for (tensor, shard) in weight_map {
        let shard = shard.as_str().ok_or_else(|| fail(format!("the shard of {tensor:?} is not a string")))?;
        // A shard lies beside its index; anything else would read files outside the model.
        if shard.contains(['/', '\\']) || !shard.ends_with(".safetensors") {
            return Err(fail(format!("the shard {shard:?} of {tensor:?} is not a safetensors file of this folder")));
        }
        names.insert(shard);
    }
    if names.is_empty() {
        return Err(fail("`weight_map` is empty".to_owned()));
    }
    let mut numbers = HashMap::new();
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(fail(format!("the shard {name:?} is missing from the folder")));
        }
        numbers.insert(name, files.len());
        files.push(path);
    }
    let owners = weight_map
        .iter()
        .filter_map(|(tensor, shard)| Some((tensor.clone(), *numbers.get(shard.as_str()?)?)))
        .collect();
    Ok((files, owners))
}

/// The folder's only safetensors file under whatever name, or a refusal that says what is there instead.
fn lone_file(folder: &Path) -> Result<PathBuf, EngineError> {
    let listing =
        std::fs::read_dir(folder).map_err(|error| EngineError::Load(format!("{}: {error}", folder.display())))?;
    let mut found = Vec::new();
    let mut pickled = None;
    for entry in listing {
        let entry = entry.map_err(|error| EngineError::Load(format!("{}: {error}", folder.display())))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") && name != "adapter_model.safetensors" {
            found.push(entry.path());
        } else if [".bin", ".pth", ".pt", ".ckpt"].iter().any(|ending| name.ends_with(ending)) {
            pickled = Some(name);
        }
    }
    let fail = |message: String| Err(EngineError::Load(format!("{}: {message}", folder.display())));
    if folder.join("adapter_config.json").is_file() && found.is_empty() {
        return fail(
            "this is a PEFT adapter and not a model; give its base as the model and this as an adapter".into(),
        );
    }
    match (found.len(), pickled) {
        (1, _) => Ok(found.remove(0)),
        (0, Some(name)) => fail(format!(
            "the weights are in {name:?}, a pickle, which can run any code when it is opened and is never read; \
             convert it to safetensors"
        )),
        (0, None) => {
            fail("there are no weights: neither model.safetensors nor model.safetensors.index.json".to_owned())
        }
        (several, _) => fail(format!("there are {several} safetensors files and no model.safetensors.index.json")),
    }
}

const KINDS: [(Dtype, StoredKind); 3] =
    [(Dtype::F32, StoredKind::F32), (Dtype::F16, StoredKind::F16), (Dtype::BF16, StoredKind::BF16)];

/// Reads a safetensors header. The `safetensors` crate checks its length, its JSON, that the tensors' bytes follow
/// one another without gaps or overlaps up to the end of the file, and that each has the length its shape asks for.
fn list(map: &Arc<Mmap>, path: &Path, file: usize) -> Result<Vec<(String, Entry)>, EngineError> {
    let fail = |message: String| EngineError::Load(format!("{}: {message}", path.display()));
    let (header, metadata) = SafeTensors::read_metadata(map)
        .map_err(|error| fail(format!("the safetensors file is truncated or damaged: {error}")))?;
    let data = header + 8;
    let mut entries = Vec::new();
    for (name, info) in metadata.tensors() {
        let Some((_, kind)) = KINDS.into_iter().find(|(dtype, _)| *dtype == info.dtype) else {
            // Masks and frequencies that old checkpoints carry along are no weights.
            if name.ends_with("rotary_emb.inv_freq") || name.ends_with(".masked_bias") {
                continue;
            }
            return Err(fail(format!(
                "the tensor {name:?} is of the type {:?}, which is not supported; supported are F32, F16 and BF16",
                info.dtype
            )));
        };
        let (start, end) = info.data_offsets;
        let range = data + start..data + end;
        if range.end > map.len() || kind.bytes_of(&info.shape) != Some(range.len()) {
            return Err(fail(format!("the tensor {name:?} of shape {:?} does not fit its bytes", info.shape)));
        }
        let entry = Entry { file, kind, shape: info.shape.clone(), range, order: RowOrder::AsStored };
        entries.push((name, entry));
    }
    Ok(entries)
}
