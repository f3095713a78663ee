//! What requests for completions and for chats have in common: how samples are drawn and how the answer is sent.

use serde::Deserialize;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::analysis::{CompletionInput, MAX_SAMPLES};
use crate::domain::sampling::{Sampling, SamplingError, StopError, check_stops};

/// One text, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "stop must be a string or a list of strings")]
pub(super) enum Stop {
    One(String),
    Many(Vec<String>),
}

/// How the events of a streamed answer are sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamOptions {
    /// Send a last event with the usage and no choice.
    #[serde(default)]
    include_usage: bool,
}

/// A request as the use case takes it, and how its answer is sent.
#[derive(Debug)]
pub(super) struct Order {
    /// Streamed if every token is reported.
    pub(super) input: CompletionInput,
    /// A streamed answer ends with its usage.
    pub(super) include_usage: bool,
}

/// The fields of both requests, as they were sent.
pub(super) struct Drawing {
    pub(super) n: Option<usize>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) stop: Option<Stop>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
}

/// The same fields, checked.
pub(super) struct Checked {
    pub(super) samples: usize,
    pub(super) sampling: Sampling,
    pub(super) stop: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl TryFrom<Drawing> for Checked {
    type Error = ApiError;

    fn try_from(request: Drawing) -> Result<Self, ApiError> {
        let samples = request.n.unwrap_or(1);
        if !(1..=MAX_SAMPLES).contains(&samples) {
            return Err(out_of_range("n", format!("must be between 1 and {MAX_SAMPLES}, not {samples}")));
        }
        // -1 keeps all tokens in vLLM, 0 in transformers.
        let top_k = match request.top_k {
            None | Some(-1) => 0,
            Some(top_k) => {
                usize::try_from(top_k).map_err(|_| out_of_range("top_k", format!("must be -1 or more, not {top_k}")))?
            }
        };
        let sampling = Sampling {
            temperature: request.temperature.unwrap_or(1.0),
            top_p: request.top_p.unwrap_or(1.0),
            top_k,
            min_p: request.min_p.unwrap_or(0.0),
            seed: 0,
        };
        sampling.check().map_err(|SamplingError { field, message }| out_of_range(field, message))?;
        let stream = request.stream.unwrap_or(false);
        if !stream && request.stream_options.is_some() {
            let message = "stream_options goes with stream: true only";
            return Err(ApiError::invalid("stream_options", "conflicting_fields", message));
        }
        Ok(Self {
            samples,
            sampling,
            stop: stops(request.stop)?,
            stream,
            include_usage: request.stream_options.is_some_and(|options| options.include_usage),
        })
    }
}

fn stops(stop: Option<Stop>) -> Result<Vec<String>, ApiError> {
    let (texts, alone) = match stop {
        None => return Ok(vec![]),
        Some(Stop::One(text)) => (vec![text], true),
        Some(Stop::Many(texts)) => (texts, false),
    };
    match check_stops(&texts) {
        Ok(()) => Ok(texts),
        Err(StopError { index: Some(index), message }) if !alone => {
            Err(out_of_range(&format!("stop[{index}]"), message))
        }
        Err(StopError { index: _, message }) => Err(out_of_range("stop", message)),
    }
}

pub(super) fn out_of_range(param: &str, message: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(param, "out_of_range", format!("{param} {message}"))
}
