//! An engine without models: its numbers follow from the token ids, and a test may make it full, slow or faulty.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use linchpin::domain::model::{ModelInfo, ModelKind, ModelRef, PerModel, Role, Roles};
use linchpin::domain::score::{Alternative, Normalizer, TokenScore};
use linchpin::engine::{
    AdapterSource, Engine, EngineError, GenerateRequest, Generation, GenerationState, QueueState, ScoreRequest,
    ScoredResponse, Scorers, TextCodec,
};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest trajectory.
pub(crate) const MAX_CONTEXT: usize = 512;

/// Tokens of the vocabulary: the bytes.
const VOCABULARY: u32 = 256;

pub(crate) struct FakeEngine {
    codec: TextCodec,
    roles: Mutex<Roles>,
    adapters: Mutex<Vec<String>>,
    /// Answers `Overloaded`.
    pub(crate) full: AtomicBool,
    /// Tokens of a sequence that the cache holds, each a MiB.
    pub(crate) cache: AtomicUsize,
    /// Panics.
    pub(crate) panics: AtomicBool,
    /// Answers an internal error with this text.
    pub(crate) fails: Arc<Mutex<Option<EngineError>>>,
    /// Requests wait for a permit here; there are plenty until a test takes them.
    pub(crate) gate: Arc<Semaphore>,
    /// Requests that wait at the gate.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// Every event of a generation waits for a permit here; there are plenty until a test takes them.
    pub(crate) draws: Arc<Semaphore>,
    /// Whether a permit is spent by its event.
    pub(crate) counted: Arc<AtomicBool>,
    /// Every generation that was let in.
    pub(crate) requests: Mutex<Vec<GenerateRequest>>,
    /// Generations that somebody listens to.
    pub(crate) generating: Arc<AtomicUsize>,
}

/// Generations that are held.
pub(crate) struct Held {
    counted: Arc<AtomicBool>,
    _permits: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counted.store(false, SeqCst);
    }
}

/// Counts a generation for as long as its events live.
struct Generating(Arc<AtomicUsize>);

impl Drop for Generating {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Counts a request at the gate for as long as its future lives.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn among(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl FakeEngine {
    pub(crate) fn new() -> Self {
        Self {
            codec: byte_codec(),
            roles: Mutex::new(Roles { positive: Some("pos".to_owned()), negative: Some("neg".to_owned()) }),
            adapters: Mutex::new(vec!["pos".to_owned(), "neg".to_owned()]),
            full: AtomicBool::new(false),
            cache: AtomicUsize::new(MAX_CONTEXT),
            panics: AtomicBool::new(false),
            fails: Arc::default(),
            gate: Arc::new(Semaphore::new(1 << 20)),
            waiting: Arc::default(),
            draws: Arc::new(Semaphore::new(1 << 20)),
            counted: Arc::default(),
            requests: Mutex::default(),
            generating: Arc::default(),
        }
    }

    /// Holds every request from now on; the guard lets them go.
    pub(crate) async fn hold(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.gate.acquire_many(1 << 20).await.unwrap()
    }

    /// Holds every generation once so many events have come; the guard lets them go on.
    pub(crate) async fn hold_after(&self, events: u32) -> Held {
        let permits = self.draws.clone().acquire_many_owned((1 << 20) - events).await.unwrap();
        self.counted.store(true, SeqCst);
        Held { counted: self.counted.clone(), _permits: permits }
    }

    async fn admit(&self) -> Result<(), EngineError> {
        if self.full.load(SeqCst) {
            return Err(EngineError::Overloaded { capacity: 1 });
        }
        assert!(!self.panics.load(SeqCst), "the secret of the panic");
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        let _waiting = Waiting::among(&self.waiting);
        drop(self.gate.acquire().await.unwrap());
        Ok(())
    }

    fn answer(&self, request: &ScoreRequest) -> Result<ScoredResponse, EngineError> {
        let tokens = request.token_ids.len();
        if tokens > MAX_CONTEXT {
            return Err(EngineError::TooLong { tokens, max: MAX_CONTEXT });
        }
        if let Some(&id) = request.token_ids.iter().find(|&&id| id >= VOCABULARY) {
            return Err(EngineError::UnknownToken { id, vocab: VOCABULARY as usize });
        }
        let roles = self.roles();
        let model = |id: &str| ModelRef { id: id.to_owned(), sha256: format!("sha-of-{id}") };
        let (base, roles) = match &request.scorers {
            Scorers::Roles => ("base".to_owned(), roles),
            Scorers::Alone(name) => (self.named(name)?, Roles::default()),
            Scorers::Named(PerModel { base, positive, negative }) => {
                let named = |name: &Option<String>| name.as_deref().map(|name| self.named(name)).transpose();
                (self.named(base)?, Roles { positive: named(positive)?, negative: named(negative)? })
            }
        };
        Ok(ScoredResponse {
            tokens: request.token_ids[request.response_start..].iter().map(|&id| token(id, &roles, request)).collect(),
            models: PerModel {
                base: model(&base),
                positive: roles.positive.as_deref().map(model),
                negative: roles.negative.as_deref().map(model),
            },
            normalizer: Normalizer::Exact,
            queue_ms: 0.25,
            compute_ms: 1.5,
        })
    }

    /// The id that an id or a role's name stands for.
    fn named(&self, name: &str) -> Result<String, EngineError> {
        let Roles { positive, negative } = self.roles();
        let id = match name {
            "positive" => positive,
            "negative" => negative,
            id => self.models().into_iter().map(|model| model.id).find(|known| known == id),
        };
        id.ok_or_else(|| EngineError::UnknownModel { id: name.to_owned() })
    }

    fn info(&self, id: &str) -> ModelInfo {
        let Roles { positive, negative } = self.roles();
        let plays = |role: Role, player: Option<&str>| (player == Some(id)).then_some(role);
        let roles = [
            plays(Role::Base, Some("base")),
            plays(Role::Positive, positive.as_deref()),
            plays(Role::Negative, negative.as_deref()),
        ];
        ModelInfo {
            id: id.to_owned(),
            roles: roles.into_iter().flatten().collect(),
            kind: if id == "base" { ModelKind::Checkpoint } else { ModelKind::Adapter },
            architecture: "llama".to_owned(),
            parameters: 1000,
            memory_bytes: 4000,
            dtype: "f32".to_owned(),
            device: "cpu".to_owned(),
            sha256: format!("sha-of-{id}"),
            max_context: MAX_CONTEXT,
            created: 1_700_000_000,
        }
    }
}

fn token(id: u32, roles: &Roles, request: &ScoreRequest) -> TokenScore {
    let contrasted = roles.positive.is_some() && roles.negative.is_some();
    let each = |value: f32| PerModel {
        base: value,
        positive: roles.positive.as_ref().map(|_| value / 2.0),
        negative: roles.negative.as_ref().map(|_| value * 2.0),
    };
    let score = |id: u32| contrasted.then(|| f64::from(id) / f64::from(VOCABULARY));
    let others = (0..request.top as u32).map(|step| (id + 1 + step) % VOCABULARY).chain(request.watch.iter().copied());
    TokenScore {
        logprob: each(-(id as f32) / 64.0),
        rank: PerModel {
            base: 1,
            positive: roles.positive.as_ref().map(|_| 0),
            negative: roles.negative.as_ref().map(|_| 2),
        },
        entropy: each(1.25),
        score: score(id),
        top: others.map(|id| Alternative { id, logprob: each(-(id as f32) / 64.0), score: score(id) }).collect(),
    }
}

impl Engine for FakeEngine {
    fn score(&self, request: ScoreRequest) -> BoxFuture<'_, Result<ScoredResponse, EngineError>> {
        async move {
            self.admit().await?;
            self.answer(&request)
        }
        .boxed()
    }

    fn score_batch(
        &self,
        requests: Vec<ScoreRequest>,
    ) -> BoxFuture<'_, Result<Vec<Result<ScoredResponse, EngineError>>, EngineError>> {
        async move {
            self.admit().await?;
            Ok(requests.iter().map(|request| self.answer(request)).collect())
        }
        .boxed()
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), EngineError> {
        let longest = request.forks.iter().map(|fork| fork.keep + usize::from(fork.forced.is_some())).max();
        let (tokens, max_tokens) = (longest.unwrap_or(0), request.max_tokens);
        if tokens + max_tokens > MAX_CONTEXT {
            return Err(EngineError::ContextExceeded { tokens, max_tokens, max: MAX_CONTEXT });
        }
        if tokens + max_tokens > self.cache.load(SeqCst) {
            let (needed_mib, budget_mib) = (tokens + max_tokens, self.cache.load(SeqCst));
            return Err(EngineError::CacheTooSmall { tokens, max_tokens, needed_mib, budget_mib });
        }
        self.named(&request.model).map(|_| ())
    }

    fn generate(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        if self.full.load(SeqCst) {
            return Err(EngineError::Overloaded { capacity: 1 });
        }
        self.check(&request)?;
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        let id = self.named(&request.model)?;
        self.requests.lock().unwrap().push(request.clone());
        let model = ModelRef { sha256: format!("sha-of-{id}"), id };
        let (gate, waiting, fails) = (self.gate.clone(), Waiting::among(&self.waiting), self.fails.clone());
        self.generating.fetch_add(1, SeqCst);
        let listened = Generating(self.generating.clone());
        let (draws, counted) = (self.draws.clone(), self.counted.clone());
        let drawn = async move {
            let _waiting = waiting;
            drop(gate.acquire().await.unwrap());
            match fails.lock().unwrap().clone() {
                Some(error) => Err(error),
                None => Ok(super::generation::events(&request)),
            }
        };
        let events = futures::stream::once(drawn).try_flatten().then(move |event| {
            let (draws, counted, _) = (draws.clone(), counted.clone(), &listened);
            async move {
                let permit = draws.acquire_owned().await.unwrap();
                if counted.load(SeqCst) {
                    permit.forget();
                }
                event
            }
        });
        Ok(Generation { model, events: events.boxed() })
    }

    fn models(&self) -> Vec<ModelInfo> {
        let adapters = self.adapters.lock().unwrap().clone();
        std::iter::once("base").chain(adapters.iter().map(String::as_str)).map(|id| self.info(id)).collect()
    }

    fn roles(&self) -> Roles {
        self.roles.lock().unwrap().clone()
    }

    fn set_roles(&self, roles: Roles) -> BoxFuture<'_, Result<(), EngineError>> {
        let known = self.models();
        let unknown = [&roles.positive, &roles.negative]
            .into_iter()
            .flatten()
            .find(|id| known.iter().all(|model| model.id != **id))
            .cloned();
        let outcome = match unknown {
            Some(id) => Err(EngineError::UnknownModel { id }),
            None => {
                *self.roles.lock().unwrap() = roles;
                Ok(())
            }
        };
        async { outcome }.boxed()
    }

    fn load_adapter(&self, source: AdapterSource) -> BoxFuture<'_, Result<ModelInfo, EngineError>> {
        let AdapterSource { id, path } = source;
        let outcome = if self.models().iter().any(|model| model.id == id) {
            Err(EngineError::NameTaken { id })
        } else if !path.join("adapter_config.json").is_file() {
            Err(EngineError::Load("adapter_config.json is missing".to_owned()))
        } else {
            self.adapters.lock().unwrap().push(id.clone());
            Ok(self.info(&id))
        };
        async { outcome }.boxed()
    }

    fn unload_adapter(&self, id: &str) -> BoxFuture<'_, Result<(), EngineError>> {
        let id = id.to_owned();
        let outcome = match self.models().into_iter().find(|model| model.id == id) {
            None => Err(EngineError::UnknownModel { id }),
            Some(model) if model.kind == ModelKind::Checkpoint => Err(EngineError::NotAnAdapter { id }),
            Some(model) => match model.roles.first() {
                Some(&role) => Err(EngineError::AdapterInUse { id, role }),
                None => {
                    self.adapters.lock().unwrap().retain(|adapter| *adapter != id);
                    Ok(())
                }
            },
        };
        async { outcome }.boxed()
    }

    fn text(&self) -> &TextCodec {
        &self.codec
    }

    fn queue(&self) -> QueueState {
        QueueState { waiting: self.waiting.load(SeqCst), capacity: 7 }
    }

    fn generating(&self) -> GenerationState {
        GenerationState { running: self.generating.load(SeqCst), cache_bytes: 3 << 20, cache_budget: 5 << 20 }
    }
}

/// A tokenizer of 256 tokens, one a byte, that adds nothing, with a chat template.
fn byte_codec() -> TextCodec {
    let folder = tempfile::tempdir().unwrap();
    // Byte-level tokenizers write the bytes that do not print as the characters from U+0100 on.
    let mut spare = 0x100..;
    let vocabulary: Map<String, Value> = (0u8..=255)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if printable { u32::from(byte) } else { spare.next().unwrap() };
            (char::from_u32(code).unwrap().to_string(), byte.into())
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []}
    });
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}<assistant>{% endif %}";
    let write = |name: &str, content: &Value| write(folder.path(), name, content);
    write("tokenizer.json", &tokenizer);
    write("tokenizer_config.json", &json!({"chat_template": template}));
    write("config.json", &json!({"vocab_size": VOCABULARY}));
    TextCodec::from_folder(folder.path()).unwrap()
}

fn write(folder: &Path, name: &str, content: &Value) {
    std::fs::write(folder.join(name), content.to_string()).unwrap();
}
