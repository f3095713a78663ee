//! A product with a weight that does not learn.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor, bail};

/// `x W^T` for `x` `[rows, inputs]` and a frozen `W` `[outputs, inputs]`. candle's own product would compute a gradient
/// for `W` too and keep it: twice the work, and a model's worth of memory.
pub(super) struct Frozen(pub(super) Tensor);

impl Frozen {
    fn shape(&self, x: &Layout) -> Result<(usize, usize, usize, Layout)> {
        let (rows, inputs) = x.shape().dims2()?;
        let (outputs, _) = self.0.dims2()?;
        Ok((rows, outputs, inputs, self.0.layout().transpose(0, 1)?))
    }
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, outputs, inputs, transposed) = self.shape(layout)?;
        let (weight, _) = self.0.storage_and_layout();
        match &*weight {
            Storage::Cpu(weight) => {
                let y = x.matmul(weight, (1, rows, outputs, inputs), layout, &transposed)?;
                Ok((y, (rows, outputs).into()))
            }
            Storage::Cuda(_) | Storage::Metal(_) => bail!("a weight is on another device than its input"),
        }
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (rows, outputs, inputs, transposed) = self.shape(layout)?;
        let (weight, _) = self.0.storage_and_layout();
        match &*weight {
            Storage::Cuda(weight) => {
                let y = x.matmul(weight, (1, rows, outputs, inputs), layout, &transposed)?;
                Ok((y, (rows, outputs).into()))
            }
            Storage::Cpu(_) | Storage::Metal(_) => bail!("a weight is on another device than its input"),
        }
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        bail!("training on Metal is not supported")
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(dy.contiguous()?.matmul(&self.0)?))
    }
}
