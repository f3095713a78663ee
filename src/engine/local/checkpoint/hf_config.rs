//! `config.json` in both spellings: `rope_theta`, `rope_scaling`, `torch_dtype` (transformers 4) and
//! `rope_parameters`, `dtype` (transformers 5).
//!
//! Where a key is absent, the value is the one that transformers' configuration class has as its default.

use serde_json::{Map, Value};

use super::config::{Architecture, ModelConfig, binding_window};
use super::rope::{Rope, RopeScaling};
use super::stored::StoredKind;
use crate::engine::EngineError;

/// `config.json` with its place, for messages.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    source: String,
}

impl Fields<'_> {
    fn error(&self, message: impl std::fmt::Display) -> EngineError {
        EngineError::Load(format!("{}: {message}", self.source))
    }

    /// A key's value; JSON's null counts as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        self.get(key)
            .map(|value| {
                value
                    .as_u64()
                    .and_then(|size| usize::try_from(size).ok())
                    .ok_or_else(|| self.error(format_args!("`{key}` is {value}, not a whole number")))
            })
            .transpose()
    }

    fn needed_size(&self, key: &str) -> Result<usize, EngineError> {
        self.size(key)?.ok_or_else(|| self.error(format_args!("`{key}` is missing")))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, EngineError> {
        self.get(key)
            .map(|value| value.as_f64().ok_or_else(|| self.error(format_args!("`{key}` is {value}, not a number"))))
            .transpose()
    }

    fn needed_number(&self, key: &str) -> Result<f64, EngineError> {
        self.number(key)?.ok_or_else(|| self.error(format_args!("`{key}` is missing")))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, EngineError> {
        self.get(key)
            .map(|value| value.as_bool().ok_or_else(|| self.error(format_args!("`{key}` is {value}, not a boolean"))))
            .transpose()
    }

    fn text(&self, key: &str) -> Result<Option<&str>, EngineError> {
        self.get(key)
            .map(|value| value.as_str().ok_or_else(|| self.error(format_args!("`{key}` is {value}, not a string"))))
            .transpose()
    }

    fn child<'b>(&self, key: &str, value: &'b Value) -> Result<Fields<'b>, EngineError> {
        let object = value.as_object().ok_or_else(|| self.error(format_args!("`{key}` is not an object")))?;
        Ok(Fields { object, source: format!("{}: `{key}`", self.source) })
    }
}

/// Reads a parsed `config.json`; `source` is its path. `has_head` says whether the weights hold `lm_head.weight`:
/// it settles the tie where the configuration does not speak of it.
pub(crate) fn parse(config: &Value, source: &str, has_head: bool) -> Result<ModelConfig, EngineError> {
    let object =
        config.as_object().ok_or_else(|| EngineError::Load(format!("{source}: the file is not a JSON object")))?;
    let fields = Fields { object, source: source.to_owned() };
    let architecture = architecture(&fields)?;
    refuse_unknown_variants(&fields)?;

    let hidden_size = fields.needed_size("hidden_size")?;
    let num_heads = fields.needed_size("num_attention_heads")?;
    let num_kv_heads = match (fields.object.contains_key("num_key_value_heads"), architecture) {
        (true, _) | (false, Architecture::Llama) => fields.size("num_key_value_heads")?.unwrap_or(num_heads),
        (false, Architecture::Mistral) => 8,
        (false, Architecture::Qwen2 | Architecture::Qwen3) => 32,
    };
    let head_dim = match (fields.size("head_dim")?, architecture) {
        (Some(head_dim), _) => head_dim,
        (None, Architecture::Qwen3) => 128,
        (None, Architecture::Llama | Architecture::Mistral | Architecture::Qwen2) => {
            hidden_size.checked_div(num_heads).unwrap_or(0)
        }
    };
    let max_context = fields.size("max_position_embeddings")?.unwrap_or(match architecture {
        Architecture::Llama => 2048,
        Architecture::Mistral => 4096 * 32,
        Architecture::Qwen2 | Architecture::Qwen3 => 32_768,
    });
    let num_layers = fields.needed_size("num_hidden_layers")?;
    let own_bias = fields.flag("attention_bias")?.unwrap_or(false);
    let (attention_bias, attention_output_bias, mlp_bias) = match architecture {
        Architecture::Llama => (own_bias, own_bias, fields.flag("mlp_bias")?.unwrap_or(false)),
        Architecture::Mistral => (false, false, false),
        Architecture::Qwen2 => (true, false, false),
        Architecture::Qwen3 => (own_bias, own_bias, false),
    };
    ModelConfig {
        architecture,
        vocab_size: fields.needed_size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.needed_size("intermediate_size")?,
        num_layers,
        num_heads,
        num_kv_heads,
        head_dim,
        rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope: rope(&fields, max_context)?,
        max_context,
        tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(!has_head),
        attention_bias,
        attention_output_bias,
        mlp_bias,
        qk_norm: architecture == Architecture::Qwen3,
        sliding_window: sliding_window(&fields, architecture, num_layers, max_context)?,
        dtype: dtype(&fields)?,
    }
    .checked(source)
}

fn architecture(fields: &Fields<'_>) -> Result<Architecture, EngineError> {
    let class = fields.get("architectures").and_then(|classes| classes.get(0)).and_then(Value::as_str);
    if let Some(model_type) = fields.text("model_type")? {
        let architecture = Architecture::parse(model_type).map_err(|error| fields.error(error))?;
        return match class {
            // A classifier's or an embedder's head is not a language model's.
            Some(class) if !class.ends_with("ForCausalLM") => Err(fields.error(format_args!(
                "the model class {class:?} is not a causal language model, and only those give token probabilities"
            ))),
            Some(_) | None => Ok(architecture),
        };
    }
    let Some(class) = class else {
        return Err(fields.error("neither `model_type` nor `architectures` says what the model is"));
    };
    let name = class.strip_suffix("ForCausalLM").unwrap_or(class).to_lowercase();
    Architecture::parse(&name).map_err(|error| fields.error(error))
}

/// Refuses what would load and then compute something else.
fn refuse_unknown_variants(fields: &Fields<'_>) -> Result<(), EngineError> {
    if let Some(act) = fields.text("hidden_act")?
        && !matches!(act, "silu" | "swish")
    {
        return Err(fields.error(format_args!("the activation {act:?} (`hidden_act`) is not supported; silu is")));
    }
    if let Some(quantization) = fields.get("quantization_config") {
        let method = quantization.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
        return Err(fields.error(format_args!(
            "the weights are quantised by {method:?} (`quantization_config`), which is not supported; use the \
             unquantised checkpoint or a GGUF file"
        )));
    }
    Ok(())
}

fn rope(fields: &Fields<'_>, max_context: usize) -> Result<Rope, EngineError> {
    // transformers prefers a non-empty `rope_scaling` to `rope_parameters`, and keys within to those at the top.
    let key = ["rope_scaling", "rope_parameters"]
        .into_iter()
        .find(|key| fields.get(key).is_some_and(|value| value.as_object().is_none_or(|object| !object.is_empty())));
    let empty = Map::new();
    let mut inner = match key {
        Some(key) => fields.child(key, &fields.object[key])?,
        None => Fields { object: &empty, source: fields.source.clone() },
    };
    // Written by layer type where the configuration has `layer_types`; sliding layers are dealt with elsewhere.
    if let Some(nested) = inner.object.get("full_attention") {
        inner = inner.child("full_attention", nested)?;
    }
    for partial in [fields.number("partial_rotary_factor")?, inner.number("partial_rotary_factor")?] {
        if partial.is_some_and(|factor| factor != 1.0) {
            return Err(fields.error("a `partial_rotary_factor` other than 1 is not supported"));
        }
    }
    if inner.get("mrope_section").is_some() {
        return Err(inner.error("multimodal rope (`mrope_section`) is not supported"));
    }
    let theta = match inner.number("rope_theta")? {
        Some(theta) => theta,
        None => fields.number("rope_theta")?.unwrap_or(10_000.0),
    };
    let kind = match inner.text("rope_type")? {
        Some(kind) => kind,
        None => inner.text("type")?.unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: positive(&inner, "factor")? },
        "llama3" => {
            let original = match fields.size("original_max_position_embeddings")? {
                Some(original) => original,
                None => inner.size("original_max_position_embeddings")?.unwrap_or(max_context),
            };
            let (low, high) = (positive(&inner, "low_freq_factor")?, positive(&inner, "high_freq_factor")?);
            if low >= high {
                return Err(inner.error(format_args!("`low_freq_factor` {low} is not below `high_freq_factor` {high}")));
            }
            RopeScaling::Llama3 {
                factor: positive(&inner, "factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            }
        }
        other => {
            return Err(inner.error(format_args!(
                "the rope type {other:?} is not supported; supported are default, linear and llama3"
            )));
        }
    };
    Ok(Rope { theta, scaling })
}

fn positive(fields: &Fields<'_>, key: &str) -> Result<f64, EngineError> {
    let number = fields.needed_number(key)?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err(fields.error(format_args!("`{key}` is {number}, and must be positive")))
    }
}

/// The window that all layers share. Qwen may window the upper layers only; that is refused unless it cannot bind.
fn sliding_window(
    fields: &Fields<'_>,
    architecture: Architecture,
    num_layers: usize,
    max_context: usize,
) -> Result<Option<usize>, EngineError> {
    let window = match (architecture, fields.object.get("sliding_window")) {
        (Architecture::Llama, _) => return Ok(None),
        (_, None) => Some(4096),
        (_, Some(_)) => fields.size("sliding_window")?,
    };
    if window == Some(0) {
        return Err(fields.error("`sliding_window` is 0"));
    }
    let window = binding_window(window, max_context);
    if architecture == Architecture::Mistral {
        return Ok(window);
    }
    if !fields.flag("use_sliding_window")?.unwrap_or(false) || window.is_none() {
        return Ok(None);
    }
    let sliding = match fields.get("layer_types").and_then(Value::as_array) {
        Some(types) => types.iter().filter(|kind| kind.as_str() == Some("sliding_attention")).count(),
        None => num_layers.saturating_sub(fields.size("max_window_layers")?.unwrap_or(28)),
    };
    match sliding {
        0 => Ok(None),
        all if all == num_layers => Ok(window),
        some => Err(fields.error(format_args!(
            "{some} of {num_layers} layers use sliding-window attention and the others do not, which is not supported"
        ))),
    }
}

fn dtype(fields: &Fields<'_>) -> Result<Option<StoredKind>, EngineError> {
    let name = match fields.text("dtype")? {
        Some(name) => Some(name),
        None => fields.text("torch_dtype")?,
    };
    Ok(match name {
        Some("float32") => Some(StoredKind::F32),
        Some("float16") => Some(StoredKind::F16),
        Some("bfloat16") => Some(StoredKind::BF16),
        // Only a hint: what counts is the type of each stored tensor.
        Some(_) | None => None,
    })
}
