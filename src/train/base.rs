//! A model that is ready to be trained.

use std::path::PathBuf;
use std::sync::Arc;

use super::cpu::CpuLearner;
use super::layout::{self, Layout};
use super::learner::Learner;
use super::output::Origin;
use super::parameters::Parameters;
use super::plan::Method;
use super::tensor::TensorLearner;
use super::{Pace, TrainError};
use crate::engine::EngineError;
use crate::engine::local::adapter::Adapter;
use crate::engine::local::checkpoint::{Checkpoint, ModelConfig, ModelFiles, resolve};
use crate::engine::local::cpu::decoder::CpuModel;
use crate::engine::local::cpu::matrix::Precision;
use crate::engine::local::decoder::Decoder as _;
use crate::engine::local::{DeviceChoice, DtypeChoice, device};

/// The version of the arithmetic. To be raised by whoever changes the order of a sum: a run that goes on from an older
/// version's checkpoint would end with other bits than one that was never cut off.
const NUMBERS: u32 = 2;
/// The compute threads' stacks.
const STACK_BYTES: usize = 64 << 20;

/// How a base is held for training.
#[derive(Debug, Clone)]
pub struct BaseOptions {
    pub dtype: DtypeChoice,
    pub device: DeviceChoice,
    /// Threads that compute; all cores if `None`.
    pub threads: Option<usize>,
    /// A PEFT folder to go on from. Its rank, scale and modules must be the plan's.
    pub start_adapter: Option<PathBuf>,
}

/// A model to train, with the threads that compute.
pub struct Base {
    name: String,
    folder: Option<PathBuf>,
    checkpoint: Checkpoint,
    sha256: String,
    precision: Precision,
    place: Place,
    adapter: Option<Adapter>,
    pool: rayon::ThreadPool,
}

/// Where the frozen weights are.
enum Place {
    Cpu(Arc<CpuModel>),
    Gpu(candle_core::Device, candle_core::DType),
}

impl Base {
    /// Opens a Hugging Face folder, a GGUF file or a Hub id. Takes seconds.
    ///
    /// # Errors
    /// [`TrainError::Engine`] for files that cannot be used; the model's or the adapter's.
    pub fn open(model: &str, options: BaseOptions) -> Result<Self, TrainError> {
        let BaseOptions { dtype, device: choice, threads, start_adapter } = options;
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("train-{index}"))
            // candle walks its graphs by recursion, some sixty operations a layer. Only touched pages cost memory.
            .stack_size(STACK_BYTES)
            .build()
            .map_err(|error| TrainError::Internal(format!("the compute threads cannot be started: {error}")))?;
        let files = resolve(model)?;
        let folder = match &files {
            ModelFiles::Folder(folder) => Some(folder.clone()),
            ModelFiles::Gguf(_) => None,
        };
        let checkpoint = Checkpoint::open(&files)?;
        let precision = match dtype {
            DtypeChoice::Auto => Precision::AsStored,
            DtypeChoice::F32 => Precision::F32,
            DtypeChoice::Bf16 => Precision::Bf16,
            DtypeChoice::F16 => Precision::F16,
        };
        let place = match device::open(choice)? {
            None => Place::Cpu(Arc::new(pool.install(|| CpuModel::load(&checkpoint, &precision))?)),
            Some((device, _)) => Place::Gpu(
                device,
                match dtype {
                    DtypeChoice::F32 => candle_core::DType::F32,
                    DtypeChoice::Auto | DtypeChoice::Bf16 => candle_core::DType::BF16,
                    // Slopes of a mean over many tokens are below f16's normal numbers.
                    DtypeChoice::F16 => {
                        let message = "f16 cannot be trained on a GPU: gradients vanish in it; use bf16 or f32";
                        return Err(TrainError::invalid("dtype", message));
                    }
                },
            ),
        };
        let adapter = start_adapter.map(|path| Adapter::open(&path, &checkpoint.config)).transpose()?;
        let sha256 = checkpoint.sha256()?;
        // An adapter may be given to anybody: it names its base, and not where this machine has it.
        let name = checkpoint.id.clone();
        Ok(Self { name, folder, checkpoint, sha256, precision, place, adapter, pool })
    }

    /// The SHA-256 of the weights.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(super) fn config(&self) -> &ModelConfig {
        &self.checkpoint.config
    }

    pub(super) fn origin(&self) -> Origin<'_> {
        Origin { name: &self.name, folder: self.folder.as_deref() }
    }

    /// What the numbers of a run depend on of the base.
    pub(super) fn fingerprint(&self) -> String {
        let adapter = self.adapter.as_ref().map_or("", |adapter| adapter.sha256.as_str());
        let place = match &self.place {
            Place::Cpu(_) => "cpu".to_owned(),
            Place::Gpu(_, dtype) => format!("gpu {dtype:?} in f32"),
        };
        format!("{NUMBERS} {} {:?} {place} {adapter}", self.sha256, self.precision)
    }

    /// Runs on the base's threads.
    pub(super) fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// What learns by a method, and its parameters at the start.
    pub(super) fn learner(
        &self,
        method: &Method,
        seed: u64,
        pace: Arc<dyn Pace>,
    ) -> Result<(Box<dyn Learner + Send>, Parameters), TrainError> {
        let origin = layout::Origin {
            checkpoint: &self.checkpoint,
            precision: self.precision,
            adapter: self.adapter.as_ref(),
            seed,
        };
        let (layout, parameters) = Layout::new(&origin, method)?;
        let mut learner: Box<dyn Learner + Send> = match &self.place {
            Place::Cpu(model) => Box::new(CpuLearner::new(model.clone(), layout, pace)),
            Place::Gpu(device, dtype) => {
                Box::new(TensorLearner::new(&self.checkpoint, layout, device.clone(), *dtype, pace)?)
            }
        };
        learner.update(&parameters)?;
        Ok((learner, parameters))
    }

    /// Refuses what the model cannot read.
    pub(super) fn check_tokens(&self, ids: &[u32]) -> Result<(), EngineError> {
        let config = self.config();
        if ids.len() > config.max_context {
            return Err(EngineError::TooLong { tokens: ids.len(), max: config.max_context });
        }
        match ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            Some(&id) => Err(EngineError::UnknownToken { id, vocab: config.vocab_size }),
            None => Ok(()),
        }
    }
}
