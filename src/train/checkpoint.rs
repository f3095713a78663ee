//! A run's state on disk, in one file that is replaced at once: whoever is killed while writing leaves the one before.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::optimizer::AdamW;
use super::parameters::{Parameter, Parameters};

/// The file's name in a run's folder.
const FILE: &str = "checkpoint.safetensors";
/// Where the rest of the state is in the file's metadata.
const STATE: &str = "state";

/// What a run needs to go on, beside its parameters and the optimizer's moments. The order of the examples and dropout
/// follow from the seed and the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Which run this is of.
    pub(super) fingerprint: String,
    /// Steps done.
    pub(super) step: usize,
    /// What has been summed up since the last metrics.
    pub(super) window: super::metrics::Window,
}

/// Writes the state, or leaves what was there.
pub(super) fn save(folder: &Path, state: &State, parameters: &Parameters, optimizer: &AdamW) -> Result<(), TrainError> {
    let text = serde_json::to_string(state).map_err(|error| TrainError::Internal(error.to_string()))?;
    let mut tensors = Vec::with_capacity(3 * parameters.0.len());
    for (index, parameter) in parameters.0.iter().enumerate() {
        let parts =
            [("values", &parameter.values), ("first", &optimizer.first[index]), ("second", &optimizer.second[index])];
        for (part, values) in parts {
            tensors.push((format!("{part}.{}", parameter.name), parameter.shape.clone(), bytes(values)));
        }
    }
    write(&folder.join(FILE), &tensors, HashMap::from([(STATE.to_owned(), text)]))
}

/// Reads a state into the parameters and a new optimizer; `None` if there is none.
pub(super) fn load(
    folder: &Path,
    fingerprint: &str,
    parameters: &mut Parameters,
) -> Result<Option<(State, AdamW)>, TrainError> {
    let path = folder.join(FILE);
    let data = match std::fs::read(&path) {
        Ok(data) => data,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TrainError::disk(path)(error)),
    };
    let unusable = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
    let damaged = |reason: &dyn std::fmt::Display| unusable(format!("it is damaged ({reason})"));
    let (_, metadata) = SafeTensors::read_metadata(&data).map_err(|error| damaged(&error))?;
    let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
    let text = text.ok_or_else(|| damaged(&"it holds no state"))?;
    let state: State = serde_json::from_str(text).map_err(|error| damaged(&error))?;
    if state.fingerprint != fingerprint {
        return Err(unusable("it is of another plan, other examples, another base or device, or of another version that sums differently; submit \
             the job again to begin anew".to_owned()));
    }
    let tensors = SafeTensors::deserialize(&data).map_err(|error| damaged(&error))?;
    let read = |part: &str, parameter: &Parameter| {
        let tensor = tensors.tensor(&format!("{part}.{}", parameter.name)).map_err(|error| damaged(&error))?;
        match tensor.dtype() == Dtype::F32 && tensor.shape() == parameter.shape {
            true => Ok(floats(tensor.data())),
            false => Err(damaged(&format!("{} has another shape", parameter.name))),
        }
    };
    let mut optimizer = AdamW { first: Vec::new(), second: Vec::new(), steps: state.step as u64 };
    for parameter in &mut parameters.0 {
        optimizer.first.push(read("first", parameter)?);
        optimizer.second.push(read("second", parameter)?);
        parameter.values = read("values", parameter)?;
    }
    Ok(Some((state, optimizer)))
}

/// A tensor to be written: name, shape and little-endian f32s.
pub(super) type Written = (String, Vec<usize>, Vec<u8>);

/// Writes f32 tensors as safetensors: to a new file beside the place, flushed to the disk, then moved there.
pub(super) fn write(path: &Path, tensors: &[Written], metadata: HashMap<String, String>) -> Result<(), TrainError> {
    let views = tensors
        .iter()
        .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| TrainError::Internal(error.to_string()))?;
    let data = serialize(views, Some(metadata)).map_err(|error| TrainError::Internal(error.to_string()))?;
    replace(path, &data)
}

/// Puts `data` at `path` as a whole or not at all, also if the machine stops meanwhile.
pub(super) fn replace(path: &Path, data: &[u8]) -> Result<(), TrainError> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(data)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // Half a file takes the room that the next attempt needs; that it cannot be removed changes nothing.
        let _ = std::fs::remove_file(&beside);
        return Err(TrainError::disk(beside)(error));
    }
    std::fs::rename(&beside, path).map_err(TrainError::disk(path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TrainError::disk(folder))
}

pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|raw| f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect()
}
