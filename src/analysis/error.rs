//! What can go wrong in a use case. The HTTP layer maps every variant to a status, exhaustively.

use crate::domain::critical::RuleError;
use crate::engine::EngineError;
use crate::store::StoreError;

/// A use case's refusal or failure.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request is well-formed and cannot be served as it is.
    #[error("{message}")]
    Invalid {
        /// The field at fault, such as `token_ids[2]`.
        param: String,
        message: String,
    },
    #[error("there is no {kind} {id:?}")]
    NotFound { kind: &'static str, id: String },
    /// An upload broke off; what came before is kept. The source is the transport's own error.
    #[error("the upload broke off: {0}")]
    Upload(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A defect of ours; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

impl AnalysisError {
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        AnalysisError::Invalid { param: param.into(), message: message.into() }
    }
}

impl From<RuleError> for AnalysisError {
    fn from(error: RuleError) -> Self {
        AnalysisError::invalid("critical.value", error.to_string())
    }
}
