//! Weights as candle tensors on a device: dense in the precision of products, or quantised as they are stored.

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use crate::engine::error::EngineError;
use crate::engine::local::DtypeChoice;
use crate::engine::local::adapter::LoraWeights;
use crate::engine::local::checkpoint::{StoredKind, StoredTensor};

/// A candle device and the precision there.
#[derive(Debug, Clone)]
pub(crate) struct TensorPlace {
    pub(super) device: Device,
    pub(super) name: String,
    /// What products are computed in.
    pub(super) compute: DType,
    /// Whether quantised weights stay so and are widened before each product.
    pub(super) keep_quantised: bool,
}

impl TensorPlace {
    pub(crate) fn new(device: Device, name: String, dtype: DtypeChoice) -> Self {
        let compute = match dtype {
            DtypeChoice::F32 => DType::F32,
            DtypeChoice::F16 => DType::F16,
            DtypeChoice::Auto | DtypeChoice::Bf16 => DType::BF16,
        };
        Self { device, name, compute, keep_quantised: dtype == DtypeChoice::Auto }
    }

    pub(super) fn tensor(&self, stored: &StoredTensor, dtype: DType) -> Result<Tensor, EngineError> {
        let shape = stored.shape.as_slice();
        let tensor = match stored.kind {
            StoredKind::F32 => Tensor::from_raw_buffer(stored.bytes(), DType::F32, shape, &Device::Cpu)?,
            StoredKind::F16 => Tensor::from_raw_buffer(stored.bytes(), DType::F16, shape, &Device::Cpu)?,
            StoredKind::BF16 => Tensor::from_raw_buffer(stored.bytes(), DType::BF16, shape, &Device::Cpu)?,
            StoredKind::Ggml(_) => quantised(stored, &Device::Cpu)?.dequantize(&Device::Cpu)?,
        };
        stored.release();
        Ok(tensor.to_dtype(dtype)?.to_device(&self.device)?)
    }

    pub(super) fn weight(&self, stored: &StoredTensor) -> Result<Weight, EngineError> {
        match stored.kind {
            StoredKind::Ggml(_) if self.keep_quantised => {
                let weight = quantised(stored, &self.device)?;
                stored.release();
                Ok(Weight::Quantised(weight))
            }
            StoredKind::F32 | StoredKind::F16 | StoredKind::BF16 | StoredKind::Ggml(_) => {
                Ok(Weight::Dense(self.tensor(stored, self.compute)?))
            }
        }
    }
}

fn quantised(stored: &StoredTensor, device: &Device) -> Result<QTensor, EngineError> {
    let StoredKind::Ggml(dtype) = stored.kind else {
        return Err(EngineError::Internal("a tensor of floats is no quantised one".to_owned()));
    };
    Ok(QTensor::new(QStorage::from_data(stored.bytes().into(), device, dtype)?, stored.shape.as_slice())?)
}

/// A weight matrix `[out, in]`.
pub(super) enum Weight {
    Dense(Tensor),
    Quantised(QTensor),
}

impl Weight {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Weight::Dense(weight) => bytes_of(weight),
            Weight::Quantised(weight) => weight.storage_size_in_bytes(),
        }
    }

    /// `x W^T` in the precision of `x`.
    pub(super) fn multiply(&self, x: &Tensor) -> Result<Tensor, EngineError> {
        let widened;
        let weight = match self {
            Weight::Dense(weight) => weight,
            Weight::Quantised(weight) => {
                widened = weight.dequantize(x.device())?.to_dtype(x.dtype())?;
                &widened
            }
        };
        Ok(x.matmul(&weight.t()?)?)
    }

    /// Rows `ids` of the matrix.
    pub(super) fn rows(&self, ids: &Tensor) -> Result<Tensor, EngineError> {
        match self {
            Weight::Dense(weight) => Ok(weight.index_select(ids, 0)?),
            Weight::Quantised(weight) => Ok(weight.dequantize(ids.device())?.index_select(ids, 0)?),
        }
    }
}

pub(super) fn bytes_of(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

pub(super) struct Linear {
    pub(super) weight: Weight,
    pub(super) bias: Option<Tensor>,
}

/// `scale * B A`, as `A^T` `[in, rank]` and `scale * B^T` `[rank, out]`.
pub(super) struct LowRank {
    pub(super) a: Tensor,
    pub(super) b: Tensor,
}

impl LowRank {
    pub(super) fn new(part: &LoraWeights, place: &TensorPlace) -> Result<Self, EngineError> {
        let tensor = |values: &[f32], rows, cols| {
            Tensor::from_slice(values, (rows, cols), &Device::Cpu)?.t()?.contiguous()?.to_device(&place.device)
        };
        let a = tensor(&part.a, part.rank, part.inputs)?.to_dtype(place.compute)?;
        let b = tensor(&part.scaled_b(), part.outputs, part.rank)?.to_dtype(place.compute)?;
        Ok(Self { a, b })
    }
}
