//! `POST /v1/verify`: grade responses against reference answers. No model takes part, so the route also answers while the
//! models are loading.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::dto_trace::VerdictDto;
use super::error::{ApiError, BodyErrors, CommonErrors};
use super::extract::{JsonBytes, parse_json};
use crate::domain::verifier;

const MAX_ITEMS: usize = 1024;
const MAX_RESPONSE_BYTES: usize = 4 << 20;
/// A reference may be a whole solution that ends in the answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// One response to grade, or a batch of them.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub(super) enum VerifyBody {
    One(VerifyRequest),
    Many(VerifyBatch),
}

/// Several responses, graded in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBatch {
    /// The whole batch is refused if one of them is invalid.
    #[schema(min_items = 1, max_items = 1024)]
    items: Vec<VerifyRequest>,
}

/// A response and the reference answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    /// What a model wrote, at most 4 MiB; its first final answer counts. It may be empty.
    #[schema(example = " 4 pens cost 3 * 4 = 12 coins. The answer is 12.")]
    response: String,
    /// The reference: an answer in plain text or LaTeX, or a solution that ends in `#### 12` or `\boxed{12}`. At most
    /// 64 KiB.
    #[schema(example = "12", min_length = 1)]
    answer: String,
}

/// The verdict of one response, or the verdicts of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum VerifyAnswer {
    One(VerdictDto),
    Many(VerdictList),
}

/// The verdicts of a batch, in the order of its items.
#[derive(Serialize, ToSchema)]
pub(super) struct VerdictList {
    data: Vec<VerdictDto>,
}

/// Verify a response
///
/// Finds the final answer of a response and compares it with the reference: numbers exactly, formulas up to equivalence,
/// anything else as text. No model is involved. With `items` it grades a batch.
#[utoipa::path(
    post, path = "/v1/verify", tag = "verify", security(("api_key" = [])),
    request_body = VerifyBody,
    responses(
        (status = 200, description = "The verdict, or a batch's verdicts in order", body = VerifyAnswer),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn verify(JsonBytes(bytes): JsonBytes) -> Result<axum::Json<VerifyAnswer>, ApiError> {
    // When the client goes away, this future is dropped, and the work ends before its next item.
    let gone = CancellationToken::new();
    let _guard = gone.clone().drop_guard();
    let work = move || match VerifyBody::parse(&bytes)? {
        VerifyBody::One(request) => Ok(VerifyAnswer::One(request.grade())),
        VerifyBody::Many(batch) => {
            let data = batch.items.iter().take_while(|_| !gone.is_cancelled()).map(VerifyRequest::grade).collect();
            Ok(VerifyAnswer::Many(VerdictList { data }))
        }
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map(axum::Json),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

impl VerifyBody {
    /// Reads a body and checks its sizes. The presence of `items` decides which of the two it is, so that errors name
    /// their field.
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Peek {
            items: Option<IgnoredAny>,
        }
        let is_batch = serde_json::from_slice::<Peek>(bytes).is_ok_and(|peek| peek.items.is_some());
        if !is_batch {
            let request: VerifyRequest = parse_json(bytes)?;
            request.check()?;
            return Ok(Self::One(request));
        }
        let batch: VerifyBatch = parse_json(bytes)?;
        let count = batch.items.len();
        if count == 0 || count > MAX_ITEMS {
            let message = format!("a batch holds 1 to {MAX_ITEMS} items, not {count}");
            return Err(ApiError::invalid("items", "invalid_batch_size", message));
        }
        for (index, item) in batch.items.iter().enumerate() {
            item.check().map_err(|error| error.inside(&format!("items[{index}]")))?;
        }
        Ok(Self::Many(batch))
    }
}

impl VerifyRequest {
    fn check(&self) -> Result<(), ApiError> {
        if self.response.len() > MAX_RESPONSE_BYTES {
            let message = format!("response must have at most {MAX_RESPONSE_BYTES} bytes, not {}", self.response.len());
            return Err(ApiError::invalid("response", "out_of_range", message));
        }
        if self.answer.trim().is_empty() || self.answer.len() > MAX_ANSWER_BYTES {
            let message =
                format!("answer must have 1 to {MAX_ANSWER_BYTES} bytes and not be blank, not {}", self.answer.len());
            return Err(ApiError::invalid("answer", "out_of_range", message));
        }
        Ok(())
    }

    fn grade(&self) -> VerdictDto {
        verifier::grade(&self.response, &self.answer).into()
    }
}
