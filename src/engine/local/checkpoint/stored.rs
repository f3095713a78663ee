//! A tensor as its file holds it: kind, shape and bytes, mapped and not copied.
//!
//! This file knows nothing of model files or of candle's tensors; it only keeps bytes and says what they are.

use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;

/// How the numbers of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredKind {
    F32,
    F16,
    BF16,
    /// Quantised blocks as ggml lays them out, each row a whole number of blocks.
    Ggml(GgmlDType),
}

impl StoredKind {
    /// Numbers in a block, the smallest unit that can be addressed; 1 for floats.
    pub fn block_len(self) -> usize {
        match self {
            StoredKind::F32 | StoredKind::F16 | StoredKind::BF16 => 1,
            StoredKind::Ggml(dtype) => dtype.block_size(),
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            StoredKind::F32 => 4,
            StoredKind::F16 | StoredKind::BF16 => 2,
            StoredKind::Ggml(dtype) => dtype.type_size(),
        }
    }

    /// Bytes of a tensor of this kind and shape; `None` when the shape is no whole number of blocks or overflows.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        if let Some(&row) = shape.last()
            && !row.is_multiple_of(self.block_len())
        {
            return None;
        }
        let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))?;
        elements
            .is_multiple_of(self.block_len())
            .then(|| (elements / self.block_len()).checked_mul(self.block_bytes()))
            .flatten()
    }

    /// The name in lower case as tools print it: `f32`, `bf16`, `q4_1`, `q6_k`.
    pub fn name(self) -> String {
        match self {
            StoredKind::F32 => "f32".to_owned(),
            StoredKind::F16 => "f16".to_owned(),
            StoredKind::BF16 => "bf16".to_owned(),
            StoredKind::Ggml(dtype) => match dtype {
                GgmlDType::F32 => "f32",
                GgmlDType::F16 => "f16",
                GgmlDType::BF16 => "bf16",
                GgmlDType::Q4_0 => "q4_0",
                GgmlDType::Q4_1 => "q4_1",
                GgmlDType::Q5_0 => "q5_0",
                GgmlDType::Q5_1 => "q5_1",
                GgmlDType::Q8_0 => "q8_0",
                GgmlDType::Q8_1 => "q8_1",
                GgmlDType::Q2K => "q2_k",
                GgmlDType::Q3K => "q3_k",
                GgmlDType::Q4K => "q4_k",
                GgmlDType::Q5K => "q5_k",
                GgmlDType::Q6K => "q6_k",
                GgmlDType::Q8K => "q8_k",
            }
            .to_owned(),
        }
    }
}

#[derive(Clone)]
enum Data {
    Mapped { map: Arc<Mmap>, range: Range<usize> },
    Owned(Arc<[u8]>),
}

/// A tensor's bytes with their meaning. Cloning shares the bytes.
#[derive(Clone)]
pub struct StoredTensor {
    pub kind: StoredKind,
    /// Row-major, in Hugging Face's order: `[out, in]` for a linear layer.
    pub shape: Vec<usize>,
    data: Data,
}

impl std::fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredTensor({} {:?})", self.kind.name(), self.shape)
    }
}

impl StoredTensor {
    /// A view of `range` in a mapped file. The caller has checked that the range lies within the map and has the
    /// length that `kind` and `shape` ask for.
    pub(super) fn mapped(kind: StoredKind, shape: Vec<usize>, map: Arc<Mmap>, range: Range<usize>) -> Self {
        debug_assert!(range.end <= map.len() && kind.bytes_of(&shape) == Some(range.len()));
        StoredTensor { kind, shape, data: Data::Mapped { map, range } }
    }

    /// A tensor that owns its bytes.
    pub(crate) fn owned(kind: StoredKind, shape: Vec<usize>, bytes: Vec<u8>) -> Self {
        debug_assert_eq!(kind.bytes_of(&shape), Some(bytes.len()));
        StoredTensor { kind, shape, data: Data::Owned(bytes.into()) }
    }

    /// Little-endian, as stored. The start need not be aligned to the element: safetensors does not promise it.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Mapped { map, range } => &map[range.clone()],
            Data::Owned(bytes) => bytes,
        }
    }

    /// The product of all dimensions but the last; 1 for a vector.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// The last dimension; 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Gives the mapped pages back, so that a tensor that has been copied elsewhere does not count in memory twice.
    /// The bytes stay readable: the next read fetches them from the file again. Does nothing for owned bytes.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Data::Mapped { map, range } = &self.data {
            // SAFETY: the map is read-only and backed by a file, so a dropped page is read again with the same
            // bytes; nothing was or can be written through it.
            let advised =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            if let Err(error) = advised {
                tracing::debug!(%error, "the kernel keeps the mapped pages of a copied tensor");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_kind_and_shape() {
        assert_eq!(StoredKind::F32.bytes_of(&[3, 5]), Some(60));
        assert_eq!(StoredKind::BF16.bytes_of(&[]), Some(2));
        // A Q4_1 block: 32 numbers in 16 bytes, and two f16 for scale and minimum.
        assert_eq!(StoredKind::Ggml(GgmlDType::Q4_1).bytes_of(&[2, 64]), Some(80));
        assert_eq!(StoredKind::Ggml(GgmlDType::Q4_1).bytes_of(&[64, 2]), None, "a row is no whole number of blocks");
        assert_eq!(StoredKind::F32.bytes_of(&[usize::MAX, 2]), None);
    }

    #[test]
    fn released_pages_read_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..40_000u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        // SAFETY: nothing else knows the temporary file.
        let map = Arc::new(unsafe { Mmap::map(file.as_file()) }.unwrap());
        let tensor = StoredTensor::mapped(StoredKind::F32, vec![100, 399], map, 400..160_000);
        assert_eq!((tensor.rows(), tensor.cols()), (100, 399));
        assert_eq!(tensor.bytes(), &bytes[400..]);
        tensor.release();
        assert_eq!(tensor.bytes(), &bytes[400..]);
    }
}
