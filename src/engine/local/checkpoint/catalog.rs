//! The table of a model's tensors: which file holds each, where, and in what order its rows are.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::Mmap;

use super::config::ModelConfig;
use super::stored::{StoredKind, StoredTensor};
use crate::engine::EngineError;

/// Tensors by their Hugging Face names.
pub(super) struct Catalog(pub(super) HashMap<String, Entry>);

/// A tensor in one of the model's files.
pub(super) struct Entry {
    /// Index into the model's files.
    pub(super) file: usize,
    pub(super) kind: StoredKind,
    pub(super) shape: Vec<usize>,
    /// Checked to lie within the file and to have the length that kind and shape ask for.
    pub(super) range: Range<usize>,
    pub(super) order: RowOrder,
}

/// How a file's rows relate to Hugging Face's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    AsStored,
    /// llama.cpp turns neighbouring rows of a query or key head together where Hugging Face turns the head's halves:
    /// its converter's `permute` puts rows `i` and `i + head_dim / 2` beside each other.
    Interleaved {
        heads: usize,
    },
}

impl Entry {
    /// The tensor, mapped where the rows are in order and gathered otherwise.
    pub(super) fn read(&self, map: &Arc<Mmap>) -> StoredTensor {
        match self.order {
            RowOrder::AsStored => {
                StoredTensor::mapped(self.kind, self.shape.clone(), Arc::clone(map), self.range.clone())
            }
            RowOrder::Interleaved { heads } => {
                let rows = self.shape.first().copied().unwrap_or(0);
                let gathered = deinterleave(&map[self.range.clone()], rows, heads);
                StoredTensor::owned(self.kind, self.shape.clone(), gathered)
            }
        }
    }
}

/// Puts `rows` rows of equal length into Hugging Face's order; a row's bytes are whole, whatever the quantisation.
fn deinterleave(stored: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let (row, head_dim) = (stored.len() / rows.max(1), rows / heads.max(1));
    let half = head_dim / 2;
    let mut gathered = Vec::with_capacity(stored.len());
    for target in 0..rows {
        let (head, within) = (target / head_dim, target % head_dim);
        let source = head * head_dim + 2 * (within % half) + within / half;
        gathered.extend_from_slice(&stored[source * row..(source + 1) * row]);
    }
    gathered
}

impl Catalog {
    /// Checks that every tensor of the model is there in the right shape, and warns of biases that the configuration
    /// says are not used.
    pub(super) fn check(&self, config: &ModelConfig, files: &[PathBuf]) -> Result<(), EngineError> {
        let expected = config.expected_shapes();
        let place = |entry: &Entry| files.get(entry.file).map(|path| path.display().to_string()).unwrap_or_default();
        for tensor in &expected {
            let Some(entry) = self.0.get(&tensor.name) else {
                let place = match files {
                    [only] => only.display().to_string(),
                    several => several
                        .first()
                        .and_then(|path| path.parent())
                        .map(|folder| folder.display().to_string())
                        .unwrap_or_default(),
                };
                return Err(EngineError::Load(format!(
                    "{place}: the tensor {:?} of shape {:?} is missing",
                    tensor.name, tensor.shape
                )));
            };
            if entry.shape != tensor.shape {
                return Err(EngineError::Load(format!(
                    "{}: the tensor {:?} has the shape {:?}, and the model's configuration asks for {:?}",
                    place(entry),
                    tensor.name,
                    entry.shape,
                    tensor.shape
                )));
            }
        }
        if self.0.len() > expected.len() {
            let known: std::collections::HashSet<_> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
            for (name, entry) in &self.0 {
                let tied = config.tie_word_embeddings && name == "lm_head.weight";
                if !known.contains(name.as_str()) && !tied && !name.ends_with("rotary_emb.inv_freq") {
                    tracing::warn!(tensor = %name, file = %place(entry), "a tensor that the configuration does not use");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_hugging_face_order() {
        // The converter: w.reshape(heads, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(w.shape), two heads of 6 rows.
        let hugging_face: Vec<u8> = (0..12).flat_map(|row| [row, 100 + row]).collect();
        let mut stored = Vec::new();
        for head in 0..2 {
            for i in 0..3 {
                for half in 0..2 {
                    let row = head * 6 + half * 3 + i;
                    stored.extend_from_slice(&hugging_face[row * 2..row * 2 + 2]);
                }
            }
        }
        assert_ne!(stored, hugging_face);
        assert_eq!(deinterleave(&stored, 12, 2), hugging_face);
    }
}
