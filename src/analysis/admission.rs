//! Places in the engine's queue: a request's first, which a full queue refuses, and its later ones, which wait.

use std::future::ready;
use std::time::Duration;

use super::AnalysisError;
use crate::domain::model::ModelRef;
use crate::engine::{Engine, EngineError, GenerateRequest, Generation};

/// Between two looks at a queue that is full for a request under way.
const PAUSE: Duration = Duration::from_millis(25);

/// Which of a request's places in the queue is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing was done for the request yet: its client may as well come again.
    First,
    /// The request was let in, and its work so far must not be lost to others that came later. It waits as long as it
    /// takes; whoever does not want to drops the future.
    Later,
}

/// Begins a generation with the model that the request's name was found to mean, and refuses another: draws from
/// different weights tell of neither.
pub(super) async fn admitted(
    engine: &dyn Engine,
    request: GenerateRequest,
    model: &ModelRef,
    place: Place,
) -> Result<Generation, AnalysisError> {
    let generation = placed(place, || ready(engine.generate(request.clone()))).await?;
    same_model(&generation.model, model)?;
    Ok(generation)
}

/// Asks the engine, and asks again for as long as its queue is full if that may be waited for.
pub(crate) async fn placed<T, F>(place: Place, ask: impl Fn() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    loop {
        match (ask().await, place) {
            (Err(EngineError::Overloaded { capacity: _ }), Place::Later) => tokio::time::sleep(PAUSE).await,
            (outcome, Place::First | Place::Later) => return outcome,
        }
    }
}

/// Refuses a model that is not the one that a request was begun with.
pub(super) fn same_model(found: &ModelRef, begun_with: &ModelRef) -> Result<(), AnalysisError> {
    match found == begun_with {
        true => Ok(()),
        false => {
            let message = format!("model {:?} was exchanged while the request was served", begun_with.id);
            Err(AnalysisError::invalid("model", message))
        }
    }
}
