//! A model in a GGUF file: the configuration from its metadata, the tensors under their Hugging Face names.

use std::collections::HashMap;
use std::path::Path;

use super::catalog::{Catalog, Entry, RowOrder};
use super::config::{Architecture, ModelConfig, binding_window};
use super::gguf_reader::{Head, Metadata, Value};
use super::rope::{Rope, RopeScaling};
use super::stored::StoredKind;
use crate::engine::EngineError;

const OUTSIDE_LAYERS: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

const IN_LAYERS: [(&str, &str); 11] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_norm", "input_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_norm", "post_attention_layernorm"),
];

/// The Hugging Face name of a GGUF tensor; `None` for one that this decoder does not use.
fn hugging_face_name(name: &str) -> Option<String> {
    if let Some((_, outside)) = OUTSIDE_LAYERS.iter().find(|(gguf, _)| *gguf == name) {
        return Some((*outside).to_owned());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (module, part) = rest.rsplit_once('.')?;
    if !matches!(part, "weight" | "bias") {
        return None;
    }
    let (_, hf) = IN_LAYERS.iter().find(|(gguf, _)| *gguf == module)?;
    Some(format!("model.layers.{layer}.{hf}.{part}"))
}

/// Metadata with the file's place, for messages.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'static str,
    source: &'a str,
}

impl Keys<'_> {
    fn error(&self, message: impl std::fmt::Display) -> EngineError {
        EngineError::Load(format!("{}: {message}", self.source))
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn size(&self, name: &str) -> Result<Option<usize>, EngineError> {
        let key = self.key(name);
        match (self.metadata.get(&key), self.metadata.size(&key)) {
            (None, _) => Ok(None),
            (Some(_), Some(size)) => Ok(Some(size)),
            (Some(Value::Integers(_)), None) => Err(self
                .error(format_args!("the metadata key {key:?} differs from layer to layer, which is not supported"))),
            (Some(_), None) => Err(self.error(format_args!("the metadata key {key:?} is not a whole number"))),
        }
    }

    fn needed_size(&self, name: &str) -> Result<usize, EngineError> {
        self.size(name)?.ok_or_else(|| self.error(format_args!("the metadata key {:?} is missing", self.key(name))))
    }

    fn float(&self, name: &str) -> Result<Option<f64>, EngineError> {
        let key = self.key(name);
        match (self.metadata.get(&key), self.metadata.float(&key)) {
            (None, _) => Ok(None),
            (Some(_), Some(number)) => Ok(Some(number)),
            (Some(_), None) => Err(self.error(format_args!("the metadata key {key:?} is not a number"))),
        }
    }
}

/// Reads the configuration from a file's head. `file` is the whole file, for the rope factors kept as a tensor.
pub(super) fn config(head: &Head, file: &[u8], source: &str) -> Result<ModelConfig, EngineError> {
    let name = head
        .metadata
        .text("general.architecture")
        .ok_or_else(|| EngineError::Load(format!("{source}: the metadata key \"general.architecture\" is missing")))?;
    let architecture = Architecture::parse(name).map_err(|error| EngineError::Load(format!("{source}: {error}")))?;
    let keys = Keys { metadata: &head.metadata, architecture: architecture.name(), source };
    if head.metadata.size("split.count").is_some_and(|count| count > 1) {
        return Err(
            keys.error("the model is split over several GGUF files; merge them first with `llama-gguf-split --merge`")
        );
    }
    if keys.size("expert_count")?.is_some_and(|experts| experts > 0) {
        return Err(keys.error("mixtures of experts are not supported"));
    }

    let hidden_size = keys.needed_size("embedding_length")?;
    let num_heads = keys.needed_size("attention.head_count")?;
    let head_dim = match keys.size("attention.key_length")? {
        Some(head_dim) => head_dim,
        None => hidden_size.checked_div(num_heads).unwrap_or(0),
    };
    if keys.size("attention.value_length")?.is_some_and(|values| values != head_dim) {
        return Err(keys.error("values of another head dimension than keys are not supported"));
    }
    if keys.size("rope.dimension_count")?.is_some_and(|rotated| rotated != head_dim) {
        return Err(keys.error("rotary embeddings of a part of the head dimension are not supported"));
    }
    let embedding = head.tensors.get("token_embd.weight").map(|entry| &entry.shape);
    let vocab_size = match embedding.and_then(|shape| shape.first()) {
        Some(&rows) => rows,
        None => return Err(keys.error("the tensor \"token_embd.weight\" is missing")),
    };
    let max_context = keys.needed_size("context_length")?;
    // llama.cpp's `llama` stands for mistral too, the one family here whose files window every layer.
    let window = match architecture {
        Architecture::Llama | Architecture::Mistral => {
            keys.size("attention.sliding_window")?.filter(|&window| window > 0)
        }
        Architecture::Qwen2 | Architecture::Qwen3 => None,
    };
    ModelConfig {
        architecture,
        vocab_size,
        hidden_size,
        intermediate_size: keys.needed_size("feed_forward_length")?,
        num_layers: keys.needed_size("block_count")?,
        num_heads,
        num_kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(num_heads),
        head_dim,
        rms_norm_eps: keys.float("attention.layer_norm_rms_epsilon")?.ok_or_else(|| {
            keys.error(format_args!("the metadata key {:?} is missing", keys.key("attention.layer_norm_rms_epsilon")))
        })?,
        rope: rope(&keys, head, file, head_dim)?,
        max_context,
        tie_word_embeddings: !head.tensors.contains_key("output.weight"),
        attention_bias: head.tensors.contains_key("blk.0.attn_q.bias"),
        attention_output_bias: head.tensors.contains_key("blk.0.attn_output.bias"),
        mlp_bias: head.tensors.contains_key("blk.0.ffn_gate.bias"),
        qk_norm: head.tensors.contains_key("blk.0.attn_q_norm.weight"),
        sliding_window: binding_window(window, max_context),
        dtype: None,
    }
    .checked(source)
}

fn rope(keys: &Keys<'_>, head: &Head, file: &[u8], head_dim: usize) -> Result<Rope, EngineError> {
    let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
    let kind = keys.metadata.text(&keys.key("rope.scaling.type")).unwrap_or("none");
    let linear = match keys.float("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        // The key's name before scaling types were told apart.
        None => keys.float("rope.scale_linear")?,
    };
    let factors = match head.tensors.get("rope_freqs.weight") {
        None => None,
        Some(entry) => {
            if entry.kind != Ok(StoredKind::F32) || entry.shape != [head_dim / 2] {
                return Err(keys.error(format_args!(
                    "the tensor \"rope_freqs.weight\" has the shape {:?}; {} f32 factors are expected",
                    entry.shape,
                    head_dim / 2
                )));
            }
            let numbers = file[entry.range.clone()].chunks_exact(4);
            Some(numbers.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect())
        }
    };
    let scaling = match (kind, factors, linear) {
        ("none" | "linear", Some(_), Some(factor)) if factor != 1.0 => {
            return Err(keys.error("rope factors together with linear rope scaling are not supported"));
        }
        ("none" | "linear", Some(factors), _) => RopeScaling::Factors(factors),
        ("linear", None, Some(factor)) if factor > 0.0 && factor.is_finite() => RopeScaling::Linear { factor },
        ("linear", None, factor) => {
            return Err(keys.error(format_args!("linear rope scaling with the factor {factor:?}")));
        }
        ("none", None, _) => RopeScaling::None,
        (other, _, _) => {
            return Err(keys.error(format_args!(
                "the rope scaling type {other:?} is not supported; supported are none and linear"
            )));
        }
    };
    Ok(Rope { theta, scaling })
}

/// The file's tensors under their Hugging Face names.
pub(super) fn catalog(head: &Head, config: &ModelConfig, path: &Path, file: usize) -> Result<Catalog, EngineError> {
    let mut entries = HashMap::with_capacity(head.tensors.len());
    for (gguf_name, tensor) in &head.tensors {
        let Some(name) = hugging_face_name(gguf_name) else {
            continue;
        };
        let kind = tensor.kind.map_err(|unreadable| {
            EngineError::Load(format!(
                "{}: the tensor {gguf_name:?} is of the type {unreadable}, which is not supported; supported are F32, \
                 F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K",
                path.display()
            ))
        })?;
        let order = match config.architecture {
            Architecture::Llama if gguf_name.contains(".attn_q.") => RowOrder::Interleaved { heads: config.num_heads },
            Architecture::Llama if gguf_name.contains(".attn_k.") => {
                RowOrder::Interleaved { heads: config.num_kv_heads }
            }
            Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::Qwen3 => {
                RowOrder::AsStored
            }
        };
        if let RowOrder::Interleaved { heads } = order
            && !tensor.shape.first().is_some_and(|rows| rows.is_multiple_of(2 * heads))
        {
            return Err(EngineError::Load(format!(
                "{}: the tensor {gguf_name:?} has the shape {:?}, which is no whole number of {heads} heads",
                path.display(),
                tensor.shape
            )));
        }
        let entry = Entry { file, kind, shape: tensor.shape.clone(), range: tensor.range.clone(), order };
        entries.insert(name, entry);
    }
    Ok(Catalog(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated() {
        let cases = [
            ("token_embd.weight", Some("model.embed_tokens.weight")),
            ("blk.12.attn_q.weight", Some("model.layers.12.self_attn.q_proj.weight")),
            ("blk.0.attn_k.bias", Some("model.layers.0.self_attn.k_proj.bias")),
            ("blk.3.attn_q_norm.weight", Some("model.layers.3.self_attn.q_norm.weight")),
            ("blk.3.ffn_norm.weight", Some("model.layers.3.post_attention_layernorm.weight")),
            ("rope_freqs.weight", None),
            ("blk.x.attn_q.weight", None),
            ("blk.0.attn_q.scale", None),
        ];
        for (gguf, expected) in cases {
            assert_eq!(hugging_face_name(gguf).as_deref(), expected, "{gguf}");
        }
    }
}
