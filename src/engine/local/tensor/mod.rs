//! The decoder as candle tensors: what runs on a GPU, and the slow twin that the CPU's fast paths are tested against.
//!
//! It is written for plainness: one operation a line, full rows of logits (a chunk of positions at a time), no layout
//! tricks. Whatever it and [`super::cpu`] disagree on is a bug in one of them.

mod decoder;
mod head;
mod paged;
mod pass;
mod pool;
mod weight;

pub(crate) use decoder::TensorModel;
pub(crate) use weight::TensorPlace;

use crate::engine::error::EngineError;

/// candle's errors carry a backtrace in their text; the first line says what went wrong.
impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        let text = error.to_string();
        EngineError::Internal(text.lines().next().unwrap_or_default().to_owned())
    }
}
