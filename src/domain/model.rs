//! The models that a score compares, and what is known of a loaded one.

use serde::{Deserialize, Serialize};

/// The part a model plays in contrastive estimation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The model under study.
    Base,
    /// The base fine-tuned on correct trajectories, `p` in equation (3).
    Positive,
    /// The base fine-tuned on incorrect trajectories, `q` in equation (3).
    Negative,
}

impl Role {
    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Role::Base => "base",
            Role::Positive => "positive",
            Role::Negative => "negative",
        }
    }
}

/// One value for each model. `positive` and `negative` are `None` while those roles are not filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerModel<T> {
    pub base: T,
    pub positive: Option<T>,
    pub negative: Option<T>,
}

/// A model's name and the SHA-256 of its weights, so that a number can be traced to what made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    pub id: String,
    pub sha256: String,
}

/// What a loaded model or adapter is.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    pub id: String,
    /// The roles it plays now: an adapter may play two, or none.
    pub roles: Vec<Role>,
    pub kind: ModelKind,
    /// `llama`, `mistral`, `qwen2` or `qwen3`.
    pub architecture: String,
    /// Number of weights; an adapter counts its own only.
    pub parameters: u64,
    /// Bytes of the matrices as they are held; those that are read in place from a file count too.
    pub memory_bytes: u64,
    /// `f32`, `bf16`, `f16` or the name of a quantisation.
    pub dtype: String,
    /// `cpu` or `cuda:0`.
    pub device: String,
    pub sha256: String,
    /// Longest trajectory in tokens.
    pub max_context: usize,
    /// Unix seconds.
    pub created: i64,
}

impl ModelInfo {
    /// What its numbers are traced to.
    pub fn reference(&self) -> ModelRef {
        ModelRef { id: self.id.clone(), sha256: self.sha256.clone() }
    }
}

/// Whether a model stands alone or rides on the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    Checkpoint,
    Adapter,
}

/// Which model plays the positive and the negative part. `None` leaves a role empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    pub positive: Option<String>,
    pub negative: Option<String>,
}
