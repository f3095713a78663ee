//! `POST /v1/completions` and `POST /v1/chat/completions`, in OpenAI's form.
//!
//! Both are one use case with two forms of request and answer. The handler reads the use case's events itself and
//! detaches nothing: when the client goes away, what has not been drawn is cancelled.

use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use ulid::Ulid;
use utoipa::ToSchema;

use super::dto_chat::{ChatChoice, ChatChunkChoice, ChatRequest};
use super::dto_completions::{CompletionRequest, TextChoice};
use super::dto_drawing::Order;
use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, Ready};
use super::sse;
use super::state::AppState;
use crate::analysis::{
    Analysis, AnalysisError, Choice, CompletionEvent, CompletionRun, CompletionUsage, Piece, collect,
};

/// The finished choices, or one event of a stream of them.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer<C> {
    #[serde(flatten)]
    head: Head,
    choices: Vec<C>,
    /// In a stream only if asked for: null, and in a last event without choices the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

/// What all events of an answer have in common.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = CompletionHead)]
struct Head {
    #[schema(example = "cmpl-01KAXYZ0000000000000000000")]
    id: String,
    #[schema(example = "text_completion")]
    object: &'static str,
    /// Unix seconds.
    created: i64,
    /// The model that drew.
    model: String,
    /// Changes with the model's weights.
    #[schema(example = "fp_0123456789ab")]
    system_fingerprint: String,
    /// The seed of the draws, given or chosen: with it the same request gives the same choices.
    seed: i64,
}

/// What an answer cost, in tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = CompletionUsage)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokensDetails,
}

/// What is known of the prompt's tokens.
#[derive(Serialize, ToSchema)]
struct PromptTokensDetails {
    /// Those that the engine had read before.
    cached_tokens: usize,
}

/// Complete
///
/// Draws what goes on after one or several prompts, as OpenAI's completions do.
#[utoipa::path(
    post, path = "/v1/completions", tag = "completions", security(("api_key" = [])), request_body = CompletionRequest,
    responses(
        (status = 200, description = "The choices, or with `stream` their parts as they are drawn and then `[DONE]`", content(
            (Answer<TextChoice> = "application/json"), (Answer<TextChoice> = "text/event-stream")
        )),
        (status = 404, description = "No model has this name", body = ErrorBody),
        (status = 429, description = "The queue is full; ask again after `Retry-After` seconds", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn complete(
    State(state): State<AppState>,
    Ready(analysis): Ready,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, ApiError> {
    let order = Order::try_from(request)?;
    let logprobs = order.input.logprobs.is_some();
    let work = Work::begin(&state, &analysis, order, ("cmpl", "text_completion")).await?;
    if work.stream {
        return Ok(work.send("text_completion", vec![], move |piece| TextChoice::part(piece, logprobs)));
    }
    work.whole(move |index, choice| TextChoice::whole(index, choice, logprobs)).await
}

/// Chat
///
/// Draws an assistant's next message, as OpenAI's chat completions do. The chat goes through the model's own template.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "completions", security(("api_key" = [])), request_body = ChatRequest,
    responses(
        (status = 200, description = "The messages, or with `stream` their parts as they are drawn and then `[DONE]`", content(
            (Answer<ChatChoice> = "application/json"), (Answer<ChatChunkChoice> = "text/event-stream")
        )),
        (status = 404, description = "No model has this name", body = ErrorBody),
        (status = 429, description = "The queue is full; ask again after `Retry-After` seconds", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn chat(
    State(state): State<AppState>,
    Ready(analysis): Ready,
    Json(request): Json<ChatRequest>,
) -> Result<Response, ApiError> {
    let order = Order::try_from(request)?;
    let logprobs = order.input.logprobs.is_some();
    let work = Work::begin(&state, &analysis, order, ("chatcmpl", "chat.completion")).await?;
    if work.stream {
        let roles = (0..work.run.choices).map(ChatChunkChoice::role).collect();
        return Ok(work.send("chat.completion.chunk", roles, move |piece| ChatChunkChoice::part(piece, logprobs)));
    }
    work.whole(move |index, choice| ChatChoice::whole(index, choice, logprobs)).await
}

/// A request that the engine works on.
struct Work {
    state: AppState,
    began: Instant,
    run: CompletionRun,
    head: Head,
    stream: bool,
    include_usage: bool,
}

impl Work {
    /// `prefix` begins the answer's id; `object` is what the whole answer is called.
    async fn begin(
        state: &AppState,
        analysis: &Analysis,
        order: Order,
        (prefix, object): (&str, &'static str),
    ) -> Result<Self, ApiError> {
        let began = Instant::now();
        let Order { input, include_usage } = order;
        let stream = input.every_token;
        let run = analysis.complete(input).await.map_err(|error| counted_error(state, error))?;
        let head = Head {
            id: format!("{prefix}-{}", Ulid::generate()),
            object,
            created: run.created,
            model: run.model.id.clone(),
            system_fingerprint: format!("fp_{}", run.model.sha256.chars().take(12).collect::<String>()),
            seed: run.seed.cast_signed(),
        };
        Ok(Self { state: state.clone(), began, run, head, stream, include_usage })
    }

    /// Waits for all choices and answers with them.
    async fn whole<C: Serialize>(self, choice: impl Fn(usize, Choice) -> C) -> Result<Response, ApiError> {
        let Self { state, run, head, .. } = self;
        let events = counted(state.clone(), run.events, None);
        let collected = collect(run.choices, events).await;
        let (choices, usage) = collected.map_err(|error| counted_error(&state, error))?;
        let choices = choices.into_iter().enumerate().map(|(index, part)| choice(index, part)).collect();
        Ok(axum::Json(Answer { head, choices, usage: Some(Some(usage.into())) }).into_response())
    }

    /// Answers with an event for each of `first`, and then for what is drawn as it is drawn. `object` is what an event
    /// is called.
    fn send<C: Serialize + Send + 'static>(
        self,
        object: &'static str,
        first: Vec<C>,
        mut part: impl FnMut(Piece) -> C + Send + 'static,
    ) -> Response {
        let Self { state, began, run, head, include_usage, .. } = self;
        let head = Head { object, ..head };
        // OpenAI's clients expect a null in every event but the last.
        let no_usage = move || include_usage.then_some(None);
        let opening = {
            let head = head.clone();
            stream::iter(first)
                .map(move |choice| Ok(Answer { head: head.clone(), choices: vec![choice], usage: no_usage() }))
        };
        let events = counted(state.clone(), run.events, Some(began)).filter_map(move |event| {
            let choices = match event {
                // A character or a stop text is open: there is nothing to show yet.
                Ok(CompletionEvent::Piece(Piece { text, tokens, finish: None, .. }))
                    if text.is_empty() && tokens.is_empty() =>
                {
                    None
                }
                Ok(CompletionEvent::Piece(piece)) => Some(Ok((vec![part(piece)], no_usage()))),
                Ok(CompletionEvent::Done(done)) => include_usage.then(|| Ok((vec![], Some(Some(done.into()))))),
                Err(error) => Some(Err(counted_error(&state, error))),
            };
            let head = &head;
            let answer =
                choices.map(|choices| choices.map(|(choices, usage)| Answer { head: head.clone(), choices, usage }));
            std::future::ready(answer)
        });
        sse::events(opening.chain(events))
    }
}

/// Counts what is drawn, and the time to the first of it where it is told as it is drawn.
fn counted(
    state: AppState,
    events: impl Stream<Item = Result<CompletionEvent, AnalysisError>>,
    mut began: Option<Instant>,
) -> impl Stream<Item = Result<CompletionEvent, AnalysisError>> {
    events.inspect(move |event| {
        if let Ok(CompletionEvent::Piece(piece)) = event {
            let first = if piece.drawn > 0 { began.take() } else { None };
            state.metrics().drawn(piece.drawn, piece.finish, first.map(|began| began.elapsed()));
        }
    })
}

fn counted_error(state: &AppState, error: AnalysisError) -> ApiError {
    let error = ApiError::from(error);
    state.metrics().completion_failed(error.code());
    error
}

impl From<CompletionUsage> for Usage {
    fn from(CompletionUsage { prompt, cached, drawn }: CompletionUsage) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: drawn,
            total_tokens: prompt + drawn,
            prompt_tokens_details: PromptTokensDetails { cached_tokens: cached },
        }
    }
}
