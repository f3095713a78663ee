//! What can go wrong in a use case. The HTTP layer maps every variant to a status, exhaustively.

use crate::domain::critical::RuleError;
use crate::domain::run::RunState;
use crate::engine::EngineError;
use crate::store::StoreError;

/// A use case's refusal or failure.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine's refusal of what one field of the request asks for.
    #[error("{error}")]
    Refused {
        /// Such as `sampling.max_tokens`.
        param: String,
        error: EngineError,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request is well-formed and cannot be served as it is.
    #[error("{message}")]
    Invalid {
        /// The field at fault, such as `token_ids[2]`.
        param: String,
        message: String,
    },
    #[error("there is no {} {id:?}", .kind.name())]
    NotFound { kind: RecordKind, id: String },
    /// The run is over already.
    #[error("run {id:?} is over: it has {}", .state.name())]
    RunOver { id: String, state: RunState },
    /// An upload broke off; what came before is kept. The source is the transport's own error.
    #[error("the upload broke off: {0}")]
    Upload(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A defect of ours; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

/// What is stored under an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    Trace,
    Rollouts,
    Search,
    Run,
}

impl RecordKind {
    pub fn name(self) -> &'static str {
        match self {
            RecordKind::Trace => "trace",
            RecordKind::Rollouts => "rollouts",
            RecordKind::Search => "search",
            RecordKind::Run => "run",
        }
    }
}

impl AnalysisError {
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        AnalysisError::Invalid { param: param.into(), message: message.into() }
    }

    /// The engine answered, and not what it was asked.
    pub(super) fn unasked() -> Self {
        AnalysisError::Internal("the engine's answer is not what was asked for".to_owned())
    }

    /// Whether it is a defect or a failure of ours, whose text is for the log.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            AnalysisError::Store(_) | AnalysisError::Internal(_) => true,
            AnalysisError::Engine(error) | AnalysisError::Refused { param: _, error } => {
                matches!(error, EngineError::Internal(_))
            }
            AnalysisError::Invalid { .. }
            | AnalysisError::NotFound { .. }
            | AnalysisError::RunOver { .. }
            | AnalysisError::Upload(_) => false,
        }
    }

    /// Names the field that makes a sequence too long: the one with the text, given the tokens that the context holds,
    /// where that leaves no room for a single token; and else the `limit` of what is drawn after it.
    pub(super) fn of_length<'a>(error: EngineError, limit: &'a str, text: impl FnOnce(usize) -> &'a str) -> Self {
        let param = if let EngineError::TooLong { tokens: _, max } = error {
            text(max)
        } else if let EngineError::ContextExceeded { tokens, max_tokens: _, max } = error {
            if tokens >= max { text(max) } else { limit }
        } else if let EngineError::CacheTooSmall { .. } = error {
            limit
        } else {
            return error.into();
        };
        AnalysisError::Refused { param: param.to_owned(), error }
    }
}

impl From<RuleError> for AnalysisError {
    fn from(error: RuleError) -> Self {
        AnalysisError::invalid("critical.value", error.to_string())
    }
}
