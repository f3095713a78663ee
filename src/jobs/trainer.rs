//! Who trains: the trainer of this process, or a stand-in.

use std::path::PathBuf;
use std::sync::Arc;

use super::pace::Courteous;
use crate::engine::Engine;
use crate::engine::local::{DeviceChoice, DtypeChoice};
use crate::train::{Base, BaseOptions, Examples, Observer, Outcome, Run, TrainError, TrainingPlan, train};

/// A run to do.
#[derive(Debug)]
pub struct TrainingWork {
    pub plan: TrainingPlan,
    pub examples: Examples,
    /// Where checkpoints are kept.
    pub folder: PathBuf,
    /// Where the trained adapter is written.
    pub output: PathBuf,
    /// A PEFT folder to go on from.
    pub start_adapter: Option<PathBuf>,
}

/// Something that trains, blocking, until the last step or a cancellation.
pub trait Trainer: Send + Sync + 'static {
    fn train(&self, work: &TrainingWork, observer: &mut dyn Observer) -> Result<Outcome, TrainError>;
}

/// Trains the served base in this process.
pub struct LocalTrainer {
    /// Whose requests go first.
    pub engine: Arc<dyn Engine>,
    /// A Hugging Face folder, a GGUF file or a Hub id.
    pub model: String,
    pub dtype: DtypeChoice,
    pub device: DeviceChoice,
    pub threads: Option<usize>,
}

impl Trainer for LocalTrainer {
    fn train(&self, work: &TrainingWork, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let TrainingWork { plan, examples, folder, output, start_adapter } = work;
        let options = BaseOptions {
            dtype: self.dtype,
            device: self.device,
            threads: self.threads,
            start_adapter: start_adapter.clone(),
        };
        let base = Base::open(&self.model, options)?;
        let pace = Arc::new(Courteous::new(self.engine.clone()));
        train(&base, Run { plan, examples, folder, output, pace }, observer)
    }
}
