//! PEFT adapters: read a folder, refuse what would give wrong numbers, and keep the low-rank matrices in f32.
//!
//! An adapter's identity is the hash of its configuration and weights, never its name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::checkpoint::{ModelConfig, hex};
use super::projection::Projection;
use crate::engine::error::EngineError;

/// A LoRA adapter that fits the base it was checked against.
pub(crate) struct Adapter {
    pub(crate) sha256: String,
    /// Numbers in its own matrices.
    pub(crate) parameters: u64,
    parts: HashMap<(usize, Projection), LoraWeights>,
    head: Option<LoraWeights>,
}

/// One module's matrices: `W' = W + scale * B A`.
pub(crate) struct LoraWeights {
    pub(crate) rank: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// `[rank, inputs]`
    pub(crate) a: Vec<f32>,
    /// `[outputs, rank]`
    pub(crate) b: Vec<f32>,
    pub(crate) scale: f32,
}

impl LoraWeights {
    /// `scale * B`, so that a pass need not know the scale.
    pub(crate) fn scaled_b(&self) -> Vec<f32> {
        self.b.iter().map(|b| b * self.scale).collect()
    }
}

/// The parts of `adapter_config.json` that change numbers.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    rank_pattern: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    alpha_pattern: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// Settings of PEFT that this engine does not compute, with the values that leave them off.
const UNSUPPORTED: [(&str, &[&str]); 13] = [
    ("use_dora", &["false"]),
    ("use_qalora", &["false"]),
    ("use_bdlora", &["null", "false"]),
    ("lora_bias", &["false"]),
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
    ("modules_to_save", &["null", "[]"]),
    ("trainable_token_indices", &["null", "[]", "{}"]),
    ("target_parameters", &["null", "[]"]),
    ("layer_replication", &["null", "[]"]),
    ("alora_invocation_tokens", &["null", "[]"]),
    ("arrow_config", &["null"]),
    ("megatron_config", &["null"]),
];

impl Adapter {
    /// Reads a PEFT folder and checks every tensor against the base.
    pub(crate) fn open(folder: &Path, config: &ModelConfig) -> Result<Self, EngineError> {
        let fail = |message: String| EngineError::Load(format!("adapter {}: {message}", folder.display()));
        let config_path = folder.join("adapter_config.json");
        let config_bytes = read(&config_path)?;
        let peft: PeftConfig = serde_json::from_slice(&config_bytes)
            .map_err(|error| fail(format!("adapter_config.json is not PEFT's: {error}")))?;
        peft.check().map_err(fail)?;
        let weights_path = folder.join("adapter_model.safetensors");
        if !weights_path.exists() && folder.join("adapter_model.bin").exists() {
            return Err(fail(
                "it holds a pickle file (adapter_model.bin), which can run code when it is read; save it as safetensors"
                    .to_owned(),
            ));
        }
        let weight_bytes = read(&weights_path)?;
        let tensors = SafeTensors::deserialize(&weight_bytes)
            .map_err(|error| fail(format!("adapter_model.safetensors is damaged: {error}")))?;
        let mut modules: HashMap<String, [Option<Values>; 2]> = HashMap::new();
        let mut names: Vec<_> = tensors.names();
        names.sort_unstable();
        for name in names {
            let (module, side) = split_name(name)
                .ok_or_else(|| fail(format!("the tensor {name:?} is no LoRA matrix of a linear layer")))?;
            let tensor = tensors.tensor(name).map_err(|error| fail(error.to_string()))?;
            modules.entry(module.to_owned()).or_default()[side] = Some(Values::read(name, &tensor).map_err(fail)?);
        }
        if modules.is_empty() {
            return Err(fail("it holds no tensors".to_owned()));
        }
        let mut adapter = Self {
            sha256: hex(&Sha256::new().chain_update(&config_bytes).chain_update(&weight_bytes).finalize()),
            parameters: 0,
            parts: HashMap::new(),
            head: None,
        };
        let mut sorted: Vec<_> = modules.into_iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (module, sides) in sorted {
            adapter.add(&peft, config, &module, sides).map_err(fail)?;
        }
        Ok(adapter)
    }

    fn add(
        &mut self,
        peft: &PeftConfig,
        config: &ModelConfig,
        module: &str,
        sides: [Option<Values>; 2],
    ) -> Result<(), String> {
        let [Some(a), Some(b)] = sides else {
            return Err(format!("{module} has only one of lora_A and lora_B"));
        };
        let target = Target::parse(module, config)?;
        let [outputs, inputs] = target.shape(config);
        let rank = peft.rank(module)?;
        if a.shape != [rank, inputs] || b.shape != [outputs, rank] {
            return Err(format!(
                "it was made for another base: {module} has lora_A {:?} and lora_B {:?}, and with rank {rank} this base asks for [{rank}, {inputs}] and [{outputs}, {rank}]",
                a.shape, b.shape
            ));
        }
        if let Some(bad) = [&a, &b].into_iter().flat_map(|side| &side.values).find(|value| !value.is_finite()) {
            return Err(format!("{module} holds {bad}"));
        }
        self.parameters += (a.values.len() + b.values.len()) as u64;
        let scale = peft.scale(module, rank)? as f32;
        let weights = LoraWeights { rank, inputs, outputs, a: a.values, b: b.values, scale };
        match target {
            Target::Layer(layer, projection) => {
                self.parts.insert((layer, projection), weights);
            }
            Target::Head => self.head = Some(weights),
        }
        Ok(())
    }

    /// The matrices for a layer's projection, if the adapter has any.
    pub(crate) fn part(&self, layer: usize, projection: Projection) -> Option<&LoraWeights> {
        self.parts.get(&(layer, projection))
    }

    /// The matrices for the LM head.
    pub(crate) fn head(&self) -> Option<&LoraWeights> {
        self.head.as_ref()
    }
}

/// Whether a folder holds an adapter rather than a whole model.
pub(crate) fn is_adapter(path: &Path) -> bool {
    path.join("adapter_config.json").is_file()
}

impl PeftConfig {
    fn check(&self) -> Result<(), String> {
        if self.peft_type != "LORA" {
            return Err(format!("peft_type {:?} is not supported; LORA is", self.peft_type));
        }
        for (name, off) in UNSUPPORTED {
            if let Some(value) = self.rest.get(name) {
                let value = value.to_string();
                if value != "null" && !off.contains(&value.as_str()) {
                    return Err(format!("{name} = {value} is not supported"));
                }
            }
        }
        // These start from a changed base, so that the adapter means nothing on the base as published.
        if let Some(init) = self.rest.get("init_lora_weights").and_then(|value| value.as_str())
            && ["pissa", "olora", "corda", "loftq"].iter().any(|changed| init.to_lowercase().starts_with(changed))
        {
            return Err(format!("init_lora_weights = {init:?} changes the base's weights and is not supported"));
        }
        if !self.lora_alpha.is_finite() {
            return Err(format!("lora_alpha = {} is not a finite number", self.lora_alpha));
        }
        Ok(())
    }

    fn rank(&self, module: &str) -> Result<usize, String> {
        let rank = match pattern(self.rank_pattern.as_ref(), module)? {
            Some(value) => value.as_u64().ok_or_else(|| format!("rank_pattern holds {value}"))? as usize,
            None => self.r,
        };
        if rank == 0 { Err(format!("{module} has rank 0")) } else { Ok(rank) }
    }

    fn scale(&self, module: &str, rank: usize) -> Result<f64, String> {
        let alpha = match pattern(self.alpha_pattern.as_ref(), module)? {
            Some(value) => value.as_f64().ok_or_else(|| format!("alpha_pattern holds {value}"))?,
            None => self.lora_alpha,
        };
        let rank = rank as f64;
        Ok(alpha / if self.use_rslora { rank.sqrt() } else { rank })
    }
}

/// The first entry whose key matches the module, by PEFT's rule (`get_pattern_key`): `(.*\.)?(key)$`.
fn pattern<'a>(
    patterns: Option<&'a serde_json::Map<String, serde_json::Value>>,
    module: &str,
) -> Result<Option<&'a serde_json::Value>, String> {
    for (key, value) in patterns.into_iter().flatten() {
        let regex =
            Regex::new(&format!(r"^(?:.*\.)?(?:{key})$")).map_err(|_| format!("the pattern {key:?} cannot be read"))?;
        if regex.is_match(module) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// What a module of an adapter changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Layer(usize, Projection),
    Head,
}

impl Target {
    fn parse(module: &str, config: &ModelConfig) -> Result<Self, String> {
        if module == "lm_head" {
            return Ok(Target::Head);
        }
        let (layer, name) = module
            .strip_prefix("model.layers.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(layer, name)| Some((layer.parse::<usize>().ok()?, name)))
            .ok_or_else(|| format!("the target module {module} is not supported; {}", supported()))?;
        let projection = Projection::ALL
            .into_iter()
            .find(|projection| projection.module() == name)
            .ok_or_else(|| format!("the target module {module} is not supported; {}", supported()))?;
        if layer >= config.num_layers {
            return Err(format!(
                "it was made for another base: it has a part for {module}, and this base has {} layers",
                config.num_layers
            ));
        }
        Ok(Target::Layer(layer, projection))
    }

    fn shape(self, config: &ModelConfig) -> [usize; 2] {
        match self {
            Target::Layer(_, projection) => projection.shape(config),
            Target::Head => [config.vocab_size, config.hidden_size],
        }
    }
}

fn supported() -> String {
    let names: Vec<_> =
        Projection::ALL.iter().filter_map(|projection| projection.module().split('.').next_back()).collect();
    format!("supported are {} and lm_head", names.join(", "))
}

/// `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight` to `model.layers.0.mlp.up_proj` and 0 for A, 1 for B.
fn split_name(name: &str) -> Option<(&str, usize)> {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    [".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_B.default.weight"]
        .iter()
        .enumerate()
        .find_map(|(index, suffix)| Some((name.strip_suffix(suffix)?, index % 2)))
}

/// A matrix read from an adapter's file.
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Values {
    fn read(name: &str, tensor: &safetensors::tensor::TensorView<'_>) -> Result<Self, String> {
        let bytes = tensor.data();
        let dtype = tensor.dtype();
        let values = if dtype == Dtype::F32 {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        } else if dtype == Dtype::F16 {
            halves(bytes).map(|bits| half::f16::from_bits(bits).to_f32()).collect()
        } else if dtype == Dtype::BF16 {
            halves(bytes).map(|bits| half::bf16::from_bits(bits).to_f32()).collect()
        } else {
            return Err(format!("{name} is stored as {dtype:?}; F32, F16 and BF16 are supported"));
        };
        Ok(Self { shape: tensor.shape().to_vec(), values })
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, EngineError> {
    std::fs::read(path).map_err(|error| EngineError::Load(format!("{}: {error}", path.display())))
}
