//! What the frozen base says of every pair: computed once before training, and kept on disk by what it depends on.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use super::TrainError;
use super::checkpoint::{bytes, floats, write};
use super::example::Pair;
use crate::engine::local::checkpoint::hex;

/// The file's name in a run's folder.
const FILE: &str = "reference.safetensors";
const FINGERPRINT: &str = "fingerprint";
/// Its one tensor: all log probabilities, pair by pair, chosen first.
const LOGPROBS: &str = "logprobs";

/// Log probabilities of the chosen and the rejected response's tokens, by pair.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct References(Vec<[Vec<f32>; 2]>);

impl References {
    pub(super) fn push(&mut self, pair: [Vec<f32>; 2]) {
        self.0.push(pair);
    }

    /// Pairs that there are numbers of: the first so many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, pair: usize) -> &[Vec<f32>; 2] {
        &self.0[pair]
    }

    pub(super) fn fingerprint(base: &str, pairs: &[Pair]) -> String {
        let mut hash = Sha256::new().chain_update(base);
        for side in pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]) {
            hash.update((side.token_ids.len() as u64).to_le_bytes());
            hash.update((side.response_start as u64).to_le_bytes());
            side.token_ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
        hex(&hash.finalize())
    }

    pub(super) fn save(&self, folder: &Path, fingerprint: &str) -> Result<(), TrainError> {
        let all: Vec<f32> = self.0.iter().flatten().flatten().copied().collect();
        let sizes: Vec<[usize; 2]> = self.0.iter().map(|pair| [pair[0].len(), pair[1].len()]).collect();
        let sizes = serde_json::to_string(&sizes).map_err(|error| TrainError::Internal(error.to_string()))?;
        let metadata = HashMap::from([(FINGERPRINT.to_owned(), fingerprint.to_owned()), ("sizes".to_owned(), sizes)]);
        write(&folder.join(FILE), &[(LOGPROBS.to_owned(), vec![all.len()], bytes(&all))], metadata)
    }

    /// What was kept, if it is of these pairs and this base; a damaged file is as good as none.
    pub(super) fn load(folder: &Path, fingerprint: &str) -> Result<Self, TrainError> {
        let path = folder.join(FILE);
        let data = match std::fs::read(&path) {
            Ok(data) => data,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(TrainError::disk(path)(error)),
        };
        Ok(Self::parse(&data, fingerprint).unwrap_or_default())
    }

    fn parse(data: &[u8], fingerprint: &str) -> Option<Self> {
        let (_, header) = SafeTensors::read_metadata(data).ok()?;
        let metadata = header.metadata().clone()?;
        if metadata.get(FINGERPRINT)? != fingerprint {
            return None;
        }
        let sizes: Vec<[usize; 2]> = serde_json::from_str(metadata.get("sizes")?).ok()?;
        let tensors = SafeTensors::deserialize(data).ok()?;
        let all = floats(tensors.tensor(LOGPROBS).ok()?.data());
        if all.len() != sizes.iter().flatten().sum::<usize>() {
            return None;
        }
        let mut all = all.into_iter();
        let pairs = sizes.into_iter().map(|sizes| sizes.map(|size| all.by_ref().take(size).collect())).collect();
        Some(Self(pairs))
    }
}
