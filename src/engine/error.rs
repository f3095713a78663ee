//! What can go wrong in an engine.

use crate::domain::model::Role;

/// An engine's refusal or failure. The texts are meant for the client, but for [`EngineError::Internal`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The queue is full; nothing was begun.
    #[error("the queue is full ({capacity} requests wait already)")]
    Overloaded { capacity: usize },
    /// The engine is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error("the trajectory has {tokens} tokens, and the model's context holds {max}")]
    TooLong { tokens: usize, max: usize },
    /// A generation that would run past the context.
    #[error("{tokens} tokens and up to {max_tokens} more are asked for, and the model's context holds {max}")]
    ContextExceeded { tokens: usize, max_tokens: usize, max: usize },
    /// A generation whose keys and values could not be held even alone.
    #[error(
        "{tokens} tokens and up to {max_tokens} more need {needed_mib} MiB of cache, and the budget is {budget_mib} MiB"
    )]
    CacheTooSmall { tokens: usize, max_tokens: usize, needed_mib: usize, budget_mib: usize },
    #[error("token id {id} is outside the model's vocabulary of {vocab}")]
    UnknownToken { id: u32, vocab: usize },
    #[error("no model or adapter is called {id:?}")]
    UnknownModel { id: String },
    #[error("an adapter or model is already called {id:?}")]
    NameTaken { id: String },
    #[error("adapter {id:?} plays the {} part; give that role to another first", .role.name())]
    AdapterInUse { id: String, role: Role },
    #[error("{id:?} is not an adapter and cannot be unloaded")]
    NotAnAdapter { id: String },
    /// The files do not fit the base, are damaged, or are of an unsupported kind.
    #[error("{0}")]
    Load(String),
    /// The text cannot be tokenised or a template cannot be rendered.
    #[error("{0}")]
    Text(String),
    /// The model computed NaN or infinity.
    #[error("the {} model gave a logit that is not finite at response position {position}: its weights are damaged or overflow", .role.name())]
    NonFinite { role: Role, position: usize },
    /// As above, while drawing after this many tokens.
    #[error(
        "model {model:?} gave a logit that is not finite after {tokens} tokens: its weights are damaged or overflow"
    )]
    NonFiniteDraw { model: String, tokens: usize },
    /// The caller has gone.
    #[error("the request was cancelled")]
    Cancelled,
    /// A defect of ours or of the device; the text is for the log.
    #[error("{0}")]
    Internal(String),
}
