//! What can go wrong in a run.

use std::path::PathBuf;

use crate::engine::EngineError;

/// Why a run ended before its last step. The texts are meant for whoever submitted it, but for [`TrainError::Internal`].
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("the run was cancelled")]
    Cancelled,
    /// A loss, a gradient or a weight that is no finite number. Nothing of the step is kept.
    #[error("{what} is not finite at step {step} (examples {}): the learning rate may be too high; {}", listed(.rows), kept(*.last_checkpoint))]
    Diverged {
        /// From 1.
        step: usize,
        /// Indices of the step's examples.
        rows: Vec<usize>,
        /// What is not finite.
        what: String,
        /// Steps that the last checkpoint on disk has.
        last_checkpoint: Option<usize>,
    },
    #[error("there is no example to train on")]
    NoExamples,
    /// A setting that cannot be used with this base or these examples.
    #[error("{message}")]
    Invalid { param: &'static str, message: String },
    /// A checkpoint that belongs to another run, or is damaged.
    #[error("the run cannot go on from its checkpoint: {reason}")]
    Checkpoint { path: PathBuf, reason: String },
    #[error("{} cannot be written or read: {reason}", path.display())]
    Disk { path: PathBuf, reason: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A defect of ours; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

impl TrainError {
    pub(super) fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { param, message: message.into() }
    }

    pub(super) fn disk(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Disk { path, reason: error.to_string() }
    }
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The first few numbers of a list.
fn listed(rows: &[usize]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = rows.iter().take(SHOWN).map(usize::to_string).collect();
    let more = if rows.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn kept(last_checkpoint: Option<usize>) -> String {
    match last_checkpoint {
        Some(step) => format!("the checkpoint of step {step} is kept"),
        None => "no checkpoint was made before".to_owned(),
    }
}
