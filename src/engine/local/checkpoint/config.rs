//! What a model is: its sizes and variants, as `config.json` or GGUF metadata state them.
//!
//! Everything the forward pass branches on is here. What this engine cannot compute exactly is refused here, by name.

use super::rope::Rope;
use super::stored::StoredKind;
use crate::engine::EngineError;

/// The families that the decoder computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

impl Architecture {
    pub const ALL: [Architecture; 4] =
        [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3];

    /// transformers' `model_type`, which is also GGUF's `general.architecture`.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// Finds an architecture by name; the error lists the ones there are.
    pub fn parse(name: &str) -> Result<Self, EngineError> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name).ok_or_else(|| {
            let supported: Vec<_> = Self::ALL.iter().map(|architecture| architecture.name()).collect();
            EngineError::Load(format!(
                "the architecture {name:?} is not supported; supported are {}",
                supported.join(", ")
            ))
        })
    }
}

/// A model's sizes and variants. Checked: every size is positive and small enough that products do not overflow.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    /// Rows of the embedding; the tokenizer may know fewer.
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    /// Divides `num_heads`.
    pub num_kv_heads: usize,
    /// Even. `num_heads * head_dim` need not be `hidden_size`.
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    pub rope: Rope,
    /// Longest sequence in tokens.
    pub max_context: usize,
    /// The head is the embedding, and there is no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// `q_proj`, `k_proj` and `v_proj` have a bias.
    pub attention_bias: bool,
    /// `o_proj` has a bias.
    pub attention_output_bias: bool,
    /// `gate_proj`, `up_proj` and `down_proj` have a bias.
    pub mlp_bias: bool,
    /// Queries and keys are RMS-normalised by head before the rotation (Qwen3).
    pub qk_norm: bool,
    /// Query `i` sees keys `j` with `i - j < window`, in every layer. `None` where no window can bind within
    /// `max_context`.
    pub sliding_window: Option<usize>,
    /// The type that the configuration names, if it does: the one the model was trained in.
    pub dtype: Option<StoredKind>,
}

/// No dimension of a real model comes near this; larger ones would only make products overflow.
const MAX_SIZE: usize = 1 << 28;
const MAX_LAYERS: usize = 4096;

impl ModelConfig {
    /// Checks what both kinds of file have in common. `source` begins the messages.
    pub(super) fn checked(self, source: &str) -> Result<Self, EngineError> {
        let fail = |message: String| Err(EngineError::Load(format!("{source}: {message}")));
        let sizes = [
            ("the vocabulary size", self.vocab_size),
            ("the hidden size", self.hidden_size),
            ("the intermediate size", self.intermediate_size),
            ("the number of attention heads", self.num_heads),
            ("the number of key-value heads", self.num_kv_heads),
            ("the head dimension", self.head_dim),
            ("the context length", self.max_context),
            ("the number of layers", self.num_layers),
        ];
        for (name, size) in sizes {
            if size == 0 || size > MAX_SIZE {
                return fail(format!("{name} is {size}"));
            }
        }
        if self.num_layers > MAX_LAYERS {
            return fail(format!("the number of layers is {}", self.num_layers));
        }
        if self.num_heads.saturating_mul(self.head_dim) > MAX_SIZE {
            return fail(format!("{} heads of dimension {}", self.num_heads, self.head_dim));
        }
        if !self.head_dim.is_multiple_of(2) {
            return fail(format!(
                "the head dimension {} is odd, and rotary embeddings need an even one",
                self.head_dim
            ));
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return fail(format!(
                "{} attention heads are no multiple of {} key-value heads",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return fail(format!("rms_norm_eps is {}", self.rms_norm_eps));
        }
        if !(self.rope.theta.is_finite() && self.rope.theta > 0.0) {
            return fail(format!("rope_theta is {}", self.rope.theta));
        }
        if self.rope.inv_freq(self.head_dim).iter().any(|freq| !freq.is_finite()) {
            return fail("the rope parameters give a frequency that is not finite".to_owned());
        }
        Ok(self)
    }

    /// Number of weights, a tied head counted once.
    pub fn parameters(&self) -> u64 {
        self.expected_shapes().iter().map(|tensor| tensor.shape.iter().map(|&dim| dim as u64).product::<u64>()).sum()
    }
}

/// A window that reaches as far as the context does not bind.
pub(super) fn binding_window(window: Option<usize>, max_context: usize) -> Option<usize> {
    window.filter(|&window| window < max_context)
}
