//! What this room's tests share: an engine that makes up its numbers, over a tokenizer of single bytes.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use futures::future::BoxFuture;

use super::*;
use crate::domain::critical::CriticalRule;
use crate::domain::model::{ModelInfo, ModelKind, ModelRef, PerModel, Role, Roles};
use crate::domain::score::{Alternative, Normalizer, TokenScore};
use crate::engine::{
    AdapterSource, EngineError, GenerateRequest, Generation, GenerationEvent, GenerationState, ScoreRequest,
    ScoredResponse, TextCodec,
};
use crate::store::StoreOptions;

/// An engine whose numbers depend on the token ids alone.
pub(super) struct FakeEngine {
    codec: TextCodec,
    roles: Mutex<Roles>,
    pub(super) full: AtomicBool,
    /// Makes every base log probability infinite, as a defect would.
    pub(super) broken: AtomicBool,
    /// Draws with other weights than it names.
    pub(super) exchanged: AtomicBool,
    /// What the next generations come to, in order.
    script: Mutex<VecDeque<Result<Vec<GenerationEvent>, EngineError>>>,
    /// The generations that were asked for.
    pub(super) requests: Mutex<Vec<GenerateRequest>>,
}

/// The use cases over a fresh store and a fake engine.
pub(super) struct Fixture {
    pub(super) analysis: Analysis,
    pub(super) engine: Arc<FakeEngine>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Arc::new(FakeEngine {
            codec: byte_codec(folder.path()),
            roles: Mutex::new(Roles { positive: Some("pos".into()), negative: Some("neg".into()) }),
            full: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            exchanged: AtomicBool::new(false),
            script: Mutex::default(),
            requests: Mutex::default(),
        });
        let store = Store::open(StoreOptions { path: folder.path().join("data/traces.db") }).await.unwrap();
        Fixture { analysis: Analysis::new(engine.clone(), store, None), engine, _folder: folder }
    }

    pub(super) async fn saved(&self, prompt: &str, response: &str) -> crate::domain::trace::Trace {
        self.analysis.score(input(prompt, response)).await.unwrap()
    }
}

/// A saved score with two alternatives and a verdict.
pub(super) fn input(prompt: &str, response: &str) -> ScoreInput {
    ScoreInput {
        prompt: PromptInput::Text(prompt.into()),
        response: ResponseInput::Text(response.into()),
        answer: Some("18".into()),
        models: None,
        beta: 1.0,
        rule: CriticalRule::Lowest { k: 2 },
        top_logprobs: 2,
        token_ids: vec![65],
        save: true,
        tags: vec!["run-1".into()],
    }
}

/// A tokenizer of 256 tokens, one a byte, and one more behind a gap of two ids, that adds nothing.
fn byte_codec(folder: &std::path::Path) -> TextCodec {
    // Byte-level tokenizers write the bytes that do not print as the characters from U+0100 on.
    let mut spare = 0x100..;
    let mut vocab: serde_json::Map<String, serde_json::Value> = (0u8..=255)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if printable { u32::from(byte) } else { spare.next().unwrap() };
            (char::from_u32(code).unwrap().to_string(), byte.into())
        })
        .collect();
    vocab.insert("<gap>".to_owned(), 258.into());
    let byte_level = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
    });
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), "{}").unwrap();
    std::fs::write(folder.join("config.json"), r#"{"vocab_size": 256, "eos_token_id": 0}"#).unwrap();
    TextCodec::from_folder(folder).unwrap()
}

impl FakeEngine {
    /// The next generation is let in and gives these events.
    pub(super) fn will(&self, events: Vec<GenerationEvent>) {
        self.script.lock().unwrap().push_back(Ok(events));
    }

    /// The next generation is refused.
    pub(super) fn refuses(&self, error: EngineError) {
        self.script.lock().unwrap().push_back(Err(error));
    }

    fn answer(&self, request: &ScoreRequest) -> Result<ScoredResponse, EngineError> {
        let Roles { positive, negative } = self.roles();
        let tokens = (request.response_start..request.token_ids.len())
            .map(|at| self.token(request.token_ids[at], at, request))
            .collect();
        let model = |id: String| ModelRef { sha256: format!("sha-of-{id}"), id };
        Ok(ScoredResponse {
            tokens,
            models: PerModel {
                base: model("base".into()),
                positive: positive.map(model),
                negative: negative.map(model),
            },
            normalizer: Normalizer::Exact,
            queue_ms: 0.1,
            compute_ms: 1.0 / 3.0,
        })
    }

    fn token(&self, id: u32, at: usize, request: &ScoreRequest) -> TokenScore {
        let Roles { positive, negative } = self.roles();
        let contrasted = positive.is_some() && negative.is_some();
        let logprob = |id: u32| PerModel {
            base: if self.broken.load(Ordering::Relaxed) { f32::NEG_INFINITY } else { -(id as f32 + 0.1).sqrt() },
            positive: positive.as_ref().map(|_| -1.0 / (id as f32 + 3.0)),
            negative: negative.as_ref().map(|_| -(at as f32 + 1.0).ln() / 7.0),
        };
        let score = |id: u32| contrasted.then(|| 1.0 / (1.0 + f64::from(id * 7919 % 101) / 3.0));
        let others = (0..request.top).map(|i| (id + i as u32) % 256).chain(request.watch.iter().copied());
        TokenScore {
            logprob: logprob(id),
            rank: PerModel {
                base: 1,
                positive: positive.as_ref().map(|_| 0),
                negative: negative.as_ref().map(|_| 200),
            },
            entropy: PerModel {
                base: 0.1 + at as f32 / 3.0,
                positive: positive.as_ref().map(|_| 1e-7),
                negative: negative.as_ref().map(|_| 11.9),
            },
            score: score(id),
            top: others.map(|id| Alternative { id, logprob: logprob(id), score: score(id) }).collect(),
        }
    }
}

impl Engine for FakeEngine {
    fn score(&self, request: ScoreRequest) -> BoxFuture<'_, Result<ScoredResponse, EngineError>> {
        Box::pin(async move {
            if self.full.load(Ordering::Relaxed) {
                return Err(EngineError::Overloaded { capacity: 1 });
            }
            self.answer(&request)
        })
    }

    fn score_batch(
        &self,
        requests: Vec<ScoreRequest>,
    ) -> BoxFuture<'_, Result<Vec<Result<ScoredResponse, EngineError>>, EngineError>> {
        Box::pin(async move {
            if self.full.load(Ordering::Relaxed) {
                return Err(EngineError::Overloaded { capacity: 1 });
            }
            let one = |request: &ScoreRequest| match request.token_ids.len() {
                tokens @ 1000.. => Err(EngineError::TooLong { tokens, max: 999 }),
                _ => self.answer(request),
            };
            Ok(requests.iter().map(one).collect())
        })
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), EngineError> {
        let longest = request.forks.iter().map(|fork| fork.keep + usize::from(fork.forced.is_some())).max();
        let (tokens, max_tokens, max) = (longest.unwrap_or(0), request.max_tokens, 999);
        match tokens + max_tokens > max {
            true => Err(EngineError::ContextExceeded { tokens, max_tokens, max }),
            false => Ok(()),
        }
    }

    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        let nothing = || Err(EngineError::Internal("not made up".to_owned()));
        let events = self.script.lock().unwrap().pop_front().unwrap_or_else(nothing)?;
        self.requests.lock().unwrap().push(request);
        let sha256 = if self.exchanged.load(Ordering::Relaxed) { "sha-of-another" } else { "sha-of-base" };
        let model = ModelRef { id: "base".into(), sha256: sha256.into() };
        Ok(Generation { model, events: futures::stream::iter(events.into_iter().map(Ok)).boxed() })
    }

    fn models(&self) -> Vec<ModelInfo> {
        vec![ModelInfo {
            id: "base".into(),
            roles: vec![Role::Base],
            kind: ModelKind::Checkpoint,
            architecture: "llama".into(),
            parameters: 1,
            memory_bytes: 4,
            dtype: "f32".into(),
            device: "cpu".into(),
            sha256: "sha-of-base".into(),
            max_context: 999,
            created: 0,
        }]
    }

    fn roles(&self) -> Roles {
        self.roles.lock().unwrap().clone()
    }

    fn set_roles(&self, roles: Roles) -> BoxFuture<'_, Result<(), EngineError>> {
        *self.roles.lock().unwrap() = roles;
        Box::pin(async { Ok(()) })
    }

    fn load_adapter(&self, source: AdapterSource) -> BoxFuture<'_, Result<ModelInfo, EngineError>> {
        Box::pin(async move { Err(EngineError::Load(source.path.display().to_string())) })
    }

    fn unload_adapter(&self, id: &str) -> BoxFuture<'_, Result<(), EngineError>> {
        let id = id.to_owned();
        Box::pin(async move { Err(EngineError::UnknownModel { id }) })
    }

    fn text(&self) -> &TextCodec {
        &self.codec
    }

    fn queue(&self) -> QueueState {
        QueueState { waiting: 0, capacity: 1 }
    }

    fn generating(&self) -> GenerationState {
        GenerationState::default()
    }
}
