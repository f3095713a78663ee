//! Which numbers of a model are trained, where they belong, and what they begin as.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::TrainError;
use super::parameters::{Parameter, Parameters};
use super::plan::{LoraConfig, Method};
use crate::engine::EngineError;
use crate::engine::local::adapter::{Adapter, LoraWeights};
use crate::engine::local::checkpoint::{Checkpoint, ModelConfig};
use crate::engine::local::cpu::matrix::{Precision, read_all};
use crate::engine::local::projection::{Projection, ProjectionMap};

/// Beginning of PEFT's names.
const PEFT: &str = "base_model.model";
/// The head's module.
const HEAD: &str = "lm_head";

/// What is trained of one linear layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trained {
    Nothing,
    Lora(Lora),
    Full { weight: usize, bias: Option<usize> },
}

/// An adapter's part of a linear layer: the numbers of its matrices among the parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lora {
    /// `[rank, inputs]`
    pub(super) a: usize,
    /// `[outputs, rank]`
    pub(super) b: usize,
    pub(super) rank: usize,
    pub(super) scale: f32,
    /// Chance that an input is left out.
    pub(super) dropout: f32,
}

/// Where the parameters belong.
pub(super) struct Layout {
    pub(super) layers: Vec<LayerLayout>,
    pub(super) head: Trained,
    /// Set in full training; the head's too where they are one.
    pub(super) embedding: Option<usize>,
    pub(super) norm: Option<usize>,
}

/// One decoder block's part.
pub(super) struct LayerLayout {
    pub(super) projections: ProjectionMap<Trained>,
    pub(super) attention_norm: Option<usize>,
    pub(super) mlp_norm: Option<usize>,
    pub(super) head_norms: Option<[usize; 2]>,
}

/// What a layout is made from.
pub(super) struct Origin<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) precision: Precision,
    /// An adapter to go on from.
    pub(super) adapter: Option<&'a Adapter>,
    pub(super) seed: u64,
}

impl Layout {
    /// The parameters of a method at the start, and where they belong.
    pub(super) fn new(origin: &Origin<'_>, method: &Method) -> Result<(Self, Parameters), TrainError> {
        match method {
            Method::Lora(lora) => Self::lora(origin, lora),
            Method::Full => Self::full(origin),
        }
    }

    fn lora(origin: &Origin<'_>, settings: &LoraConfig) -> Result<(Self, Parameters), TrainError> {
        let config = &origin.checkpoint.config;
        let targets = Targets::new(settings, config)?;
        let mut parameters = Parameters::default();
        let mut random = ChaCha12Rng::seed_from_u64(origin.seed);
        let mut site = |module: &str, [outputs, inputs]: [usize; 2], given: Option<&LoraWeights>| {
            if !targets.has(module) {
                return match given {
                    Some(_) => Err(other_adapter(format!("it adapts {module}, which is no target module"))),
                    None => Ok(Trained::Nothing),
                };
            }
            let scale = (settings.lora_alpha / settings.r as f64) as f32;
            let (a, b) = match (origin.adapter, given) {
                (Some(_), None) => return Err(other_adapter(format!("it does not adapt {module}"))),
                (Some(_), Some(given)) => {
                    if given.rank != settings.r || given.scale != scale {
                        let (rank, found) = (given.rank, given.scale);
                        let wanted = settings.r;
                        return Err(other_adapter(format!(
                            "{module} has rank {rank} and scale {found}, and {wanted} and {scale} are asked for"
                        )));
                    }
                    (given.a.clone(), given.b.clone())
                }
                // PEFT's start: Kaiming-uniform with a = sqrt(5) is uniform within 1 / sqrt(inputs), and B is zero.
                (None, _) => {
                    let bound = 1.0 / (inputs as f32).sqrt();
                    let a = (0..settings.r * inputs).map(|_| (2.0 * uniform(&mut random) - 1.0) * bound).collect();
                    (a, vec![0.0; outputs * settings.r])
                }
            };
            let name = |side| format!("{PEFT}.{module}.{side}.weight");
            let a = parameters.push(Parameter::new(name("lora_A"), vec![settings.r, inputs], a));
            let b = parameters.push(Parameter::new(name("lora_B"), vec![outputs, settings.r], b));
            let dropout = settings.lora_dropout as f32;
            Ok(Trained::Lora(Lora { a, b, rank: settings.r, scale, dropout }))
        };
        let layers = (0..config.num_layers)
            .map(|layer| {
                let projections = ProjectionMap::try_from_fn(|projection| {
                    let module = format!("model.layers.{layer}.{}", projection.module());
                    site(&module, projection.shape(config), origin.adapter.and_then(|a| a.part(layer, projection)))
                })?;
                Ok(LayerLayout { projections, attention_norm: None, mlp_norm: None, head_norms: None })
            })
            .collect::<Result<_, TrainError>>()?;
        let head =
            site(HEAD, [config.vocab_size, config.hidden_size], origin.adapter.and_then(|adapter| adapter.head()))?;
        Ok((Self { layers, head, embedding: None, norm: None }, parameters))
    }

    fn full(origin: &Origin<'_>) -> Result<(Self, Parameters), TrainError> {
        if origin.adapter.is_some() {
            return Err(other_adapter("an adapter cannot be trained on in full".to_owned()));
        }
        let checkpoint = origin.checkpoint;
        let config = &checkpoint.config;
        let mut parameters = Parameters::default();
        let mut tensor = |name: String| {
            let stored = checkpoint.tensor(&name)?;
            let values = read_all(&stored, origin.precision)?;
            Ok::<_, EngineError>(parameters.push(Parameter::new(name, stored.shape.clone(), values)))
        };
        let embedding = tensor("model.embed_tokens.weight".to_owned())?;
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let prefix = format!("model.layers.{layer}");
            let projections = ProjectionMap::try_from_fn(|projection| {
                let module = format!("{prefix}.{}", projection.module());
                let weight = tensor(format!("{module}.weight"))?;
                let bias = projection.has_bias(config).then(|| tensor(format!("{module}.bias"))).transpose()?;
                Ok::<_, EngineError>(Trained::Full { weight, bias })
            })?;
            let mut norm = |name: &str| tensor(format!("{prefix}.{name}.weight"));
            layers.push(LayerLayout {
                projections,
                attention_norm: Some(norm("input_layernorm")?),
                mlp_norm: Some(norm("post_attention_layernorm")?),
                head_norms: match config.qk_norm {
                    true => Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]),
                    false => None,
                },
            });
        }
        let norm = tensor("model.norm.weight".to_owned())?;
        let weight = if config.tie_word_embeddings { embedding } else { tensor(format!("{HEAD}.weight"))? };
        let head = Trained::Full { weight, bias: None };
        Ok((Self { layers, head, embedding: Some(embedding), norm: Some(norm) }, parameters))
    }
}

fn other_adapter(message: String) -> TrainError {
    TrainError::invalid("start_adapter", message)
}

/// A number from 0 to below 1, with the 24 bits that an f32 holds.
fn uniform(random: &mut ChaCha12Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// The modules that an adapter adapts.
struct Targets(Vec<String>);

impl Targets {
    /// Refuses names that no module of the model has.
    fn new(settings: &LoraConfig, config: &ModelConfig) -> Result<Self, TrainError> {
        const FIELD: &str = "lora.target_modules";
        let all = Projection::ALL.map(Projection::module);
        if settings.target_modules.is_empty() {
            return Err(TrainError::invalid(FIELD, "names no module"));
        }
        if settings.target_modules.iter().any(|name| name == "all-linear") {
            if settings.target_modules.len() > 1 {
                return Err(TrainError::invalid(FIELD, "`all-linear` stands alone"));
            }
            // PEFT leaves the head out.
            return Ok(Self(all.iter().map(|module| (*module).to_owned()).collect()));
        }
        let modules: Vec<String> = (0..config.num_layers)
            .flat_map(|layer| all.iter().map(move |module| format!("model.layers.{layer}.{module}")))
            .chain([HEAD.to_owned()])
            .collect();
        for name in &settings.target_modules {
            if !modules.iter().any(|module| names(name, module)) {
                let known: Vec<_> = all.iter().filter_map(|module| module.rsplit('.').next()).collect();
                let message = format!("{name:?} is no linear layer of this model: {}, {HEAD}", known.join(", "));
                return Err(TrainError::invalid(FIELD, message));
            }
        }
        Ok(Self(settings.target_modules.clone()))
    }

    fn has(&self, module: &str) -> bool {
        self.0.iter().any(|name| names(name, module))
    }
}

/// Whether a target names a module, as PEFT matches a list: the whole name, or its end after a point.
fn names(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}
