//! How tokens are drawn, and why a sample ended.

use serde::{Deserialize, Serialize};

/// Highest temperature: at 100 a distribution is flat but for rounding.
pub const MAX_TEMPERATURE: f64 = 100.0;
/// Below this the likeliest token is all that is left of a distribution, and logits divided by the temperature may overflow.
const GREEDY_BELOW: f64 = 1e-6;
/// Most tokens that one request draws, as far as its limits tell: all its samples at their longest. What has been drawn is
/// held until the request is answered, some 100 bytes a token.
pub const MAX_DRAWN: usize = 4 << 20;
/// Most texts that end a sample.
pub const MAX_STOPS: usize = 16;
/// Longest text that ends a sample, in bytes.
pub const MAX_STOP_BYTES: usize = 1024;

/// What is done to the next-token distribution before a token is drawn, and the seed of the draws.
///
/// The steps come in transformers' order: the logits are divided by the temperature, then `top_k`, `top_p` and `min_p`
/// each keep a part of what the one before left, renormalised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// 0, and what is as good as 0, takes the likeliest token, whatever the other fields say; of equally likely ones the
    /// lowest id.
    pub temperature: f64,
    /// Keeps the likeliest tokens that together reach this probability, in (0, 1]; 1 keeps all.
    pub top_p: f64,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the tokens at least this many times as likely as the likeliest one, in [0, 1]; 0 keeps all.
    pub min_p: f64,
    /// With the tokens before it and the sample's number, decides every draw: nothing else does.
    pub seed: u64,
}

impl Default for Sampling {
    /// The model's own distribution.
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 }
    }
}

/// A field of [`Sampling`] that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct SamplingError {
    pub field: &'static str,
    pub message: &'static str,
}

impl Sampling {
    /// Whether the likeliest token is taken each time.
    pub fn greedy(&self) -> bool {
        self.temperature < GREEDY_BELOW
    }

    /// Refuses values that are out of range.
    pub fn check(&self) -> Result<(), SamplingError> {
        let refuse = |field, message| Err(SamplingError { field, message });
        if !(0.0..=MAX_TEMPERATURE).contains(&self.temperature) {
            return refuse("temperature", "must be between 0 and 100");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", "must be above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse("min_p", "must be between 0 and 1");
        }
        Ok(())
    }
}

/// Texts that cannot end a sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StopError {
    /// Which of the texts is at fault; `None` if it is their number.
    pub index: Option<usize>,
    pub message: String,
}

/// Refuses more texts than are looked for, and those that are empty or too long.
pub fn check_stops(stops: &[String]) -> Result<(), StopError> {
    if stops.len() > MAX_STOPS {
        let message = format!("holds {} texts, and at most {MAX_STOPS} can end a sample", stops.len());
        return Err(StopError { index: None, message });
    }
    match stops.iter().position(|stop| !(1..=MAX_STOP_BYTES).contains(&stop.len())) {
        Some(index) => Err(StopError { index: Some(index), message: format!("must have 1 to {MAX_STOP_BYTES} bytes") }),
        None => Ok(()),
    }
}

/// Why a sample ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// Its text came to one of the request's stop strings.
    Stop,
    /// The model ended the sequence.
    Eos,
    /// It reached the most tokens that were asked for.
    Length,
}

impl FinishReason {
    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Eos => "eos",
            FinishReason::Length => "length",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named() {
        let sound = Sampling::default();
        assert_eq!(sound.check(), Ok(()));
        let field = |sampling: Sampling| sampling.check().unwrap_err().field;
        for temperature in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(field(Sampling { temperature, ..sound }), "temperature");
        }
        for top_p in [0.0, 1.1, f64::NAN] {
            assert_eq!(field(Sampling { top_p, ..sound }), "top_p");
        }
        for min_p in [-0.1, 1.1, f64::NAN] {
            assert_eq!(field(Sampling { min_p, ..sound }), "min_p");
        }
    }

    #[test]
    fn a_temperature_that_is_as_good_as_0_is_greedy() {
        let at = |temperature| Sampling { temperature, ..Sampling::default() };
        assert!([0.0, f64::MIN_POSITIVE, 1e-7].map(at).iter().all(Sampling::greedy));
        assert!(![1e-6, 0.01, 1.0].map(at).iter().any(Sampling::greedy));
    }

    #[test]
    fn stops_are_bounded_in_number_and_length() {
        let index = |stops: &[String]| check_stops(stops).map_err(|error| error.index);
        let text = |bytes: usize| "x".repeat(bytes);
        assert_eq!(index(&[]), Ok(()));
        assert_eq!(index(&[text(1), text(MAX_STOP_BYTES)]), Ok(()));
        assert_eq!(index(&[text(1), text(0)]), Err(Some(1)));
        assert_eq!(index(&[text(MAX_STOP_BYTES + 1)]), Err(Some(0)));
        assert_eq!(index(&vec![text(1); MAX_STOPS + 1]), Err(None));
    }
}
