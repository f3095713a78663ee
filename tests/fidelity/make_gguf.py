"""Tiny GGUF files of every supported architecture in every supported kind of quantisation, and the same weights unpacked.

Each file is written with the gguf package; beside it lies a Hugging Face folder with the dequantised weights in f32,
which is what the reference runs. So a difference can only come from how the file is read or multiplied.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from cache import digest, once
from make_models import LLAMA3_ROPE, SIZES
from tiny_tokenizers import byte_level
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

Q = gguf.GGMLQuantizationType

WIDE = SIZES | {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
"""k-quants come in blocks of 256."""


@dataclass(frozen=True)
class Spec:
    """An architecture and the kinds of quantisation that its matrices take in turn."""

    config: PretrainedConfig
    architecture: str
    kinds: tuple[gguf.GGMLQuantizationType, ...]


SPECS = {
    "llama-q4_0-q8_0": Spec(
        LlamaConfig(**WIDE, tie_word_embeddings=False, rope_parameters=LLAMA3_ROPE), "llama", (Q.Q4_0, Q.Q8_0)
    ),
    "mistral-q4_1-f16": Spec(
        MistralConfig(**WIDE, tie_word_embeddings=False, sliding_window=None), "llama", (Q.Q4_1, Q.F16)
    ),
    "qwen2-q4_k-q6_k": Spec(Qwen2Config(**WIDE, tie_word_embeddings=True), "qwen2", (Q.Q4_K, Q.Q6_K)),
    "qwen3-q2_k-q3_k-q5_k": Spec(
        Qwen3Config(**WIDE, tie_word_embeddings=False, head_dim=128), "qwen3", (Q.Q2_K, Q.Q3_K, Q.Q5_K)
    ),
    "qwen2-q5_0-q5_1-bf16": Spec(Qwen2Config(**WIDE, tie_word_embeddings=False), "qwen2", (Q.Q5_0, Q.Q5_1, Q.BF16)),
}

# In a k-quant block: the byte offset of the f16 scale, that of the f16 minimum, and the minimum that centres the values.
BLOCK_SCALES = {
    Q.Q2_K: (80, 82, 1.5),
    Q.Q3_K: (108, None, 0.0),
    Q.Q4_K: (0, 2, 7.5),
    Q.Q5_K: (0, 2, 15.5),
    Q.Q6_K: (208, None, 0.0),
}


def gguf_pair(name: str) -> tuple[Path, Path]:
    """The GGUF file of one of `SPECS`, and the folder with the same weights in f32."""
    here = Path(__file__)
    key = digest(here, *(here.with_name(f"{other}.py") for other in ("make_models", "tiny_tokenizers")), name)
    folder = once("fidelity", f"gguf-{key}", lambda folder: make(SPECS[name], len(name), folder))
    return folder / "model.gguf", folder / "unpacked"


def make(spec: Spec, seed: int, folder: Path) -> None:
    draw = np.random.default_rng(seed)
    model = AutoModelForCausalLM.from_config(spec.config, dtype=torch.float32)
    writer = gguf.GGUFWriter(folder / "model.gguf", spec.architecture)
    tokenizer = byte_level()
    write_settings(writer, spec)
    write_vocabulary(writer, tokenizer)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, spec.architecture.upper()), spec.config.num_hidden_layers)
    weights = {}
    for number, (name, weight) in enumerate(model.named_parameters()):
        stem, suffix = name.rsplit(".", 1)
        stored_name = f"{names.get_name(stem)}.{suffix}"
        if weight.ndim == 1:
            centre, spread = (1.0, 0.2) if "norm" in name else (0.0, 0.5)
            stored = (centre + spread * draw.standard_normal(weight.shape)).astype(np.float32)
            weights[name] = stored
            writer.add_tensor(stored_name, stored)
            continue
        kind = spec.kinds[number % len(spec.kinds)]
        packed = random_matrix(draw, weight.shape, kind)
        weights[name] = gguf.dequantize(packed, kind).astype(np.float32)
        if spec.architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = spec.config.num_attention_heads if "q_proj" in name else spec.config.num_key_value_heads
            packed = interleave(packed, heads)
        writer.add_tensor(stored_name, packed, raw_dtype=kind)
    if (getattr(spec.config, "rope_parameters", None) or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(spec.config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()}, strict=False)
    model.tie_weights()
    model.save_pretrained(folder / "unpacked")
    tokenizer.save_pretrained(folder / "unpacked")


def random_matrix(draw: np.random.Generator, shape: torch.Size, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """A packed matrix of values around zero: [rows, bytes a row], or a plain array for the float kinds."""
    values = (0.1 * draw.standard_normal(tuple(shape))).astype(np.float32)
    if kind == Q.F16:
        return values.astype(np.float16)
    if kind not in BLOCK_SCALES:
        return gguf.quantize(values, kind)
    # gguf cannot pack k-quants, but any bytes are a valid block once its scales are sane.
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = draw.integers(0, 256, (shape[0], shape[1] // block, size), dtype=np.uint8)
    at, minimum_at, minimum = BLOCK_SCALES[kind]

    def scaled(by: float) -> np.ndarray:
        blocks[..., at : at + 2] = np.frombuffer(np.float16(by).tobytes(), np.uint8)
        if minimum_at is not None:
            blocks[..., minimum_at : minimum_at + 2] = np.frombuffer(np.float16(by * minimum).tobytes(), np.uint8)
        return blocks.reshape(shape[0], -1)

    spread = gguf.dequantize(scaled(0.01), kind).std()
    return scaled(0.01 * 0.1 / spread)


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """Llama's query and key rows in the order of GGUF, which rotates neighbours instead of halves."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def llama3_divisors(config: PretrainedConfig) -> np.ndarray:
    """What llama.cpp's converter stores of Llama 3's rope scaling: by how much each frequency is divided."""
    rope = config.rope_parameters
    width = config.hidden_size // config.num_attention_heads
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    context, low, high = (rope[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    smooth = (context / wavelengths - low) / (high - low)
    between = 1 / ((1 - smooth) / rope["factor"] + smooth)
    divisors = np.where(wavelengths < context / high, 1.0, np.where(wavelengths > context / low, rope["factor"], between))
    return divisors.astype(np.float32)


def write_settings(writer: gguf.GGUFWriter, spec: Spec) -> None:
    config = spec.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    if spec.architecture == "llama":
        writer.add_rope_dimension_count(head_dim)
        writer.add_vocab_size(config.vocab_size)


def write_vocabulary(writer: gguf.GGUFWriter, tokenizer) -> None:
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    known = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    tokens = [known.get(i, f"[unused{i}]") for i in range(SIZES["vocab_size"])]
    special = set(tokenizer.all_special_ids) | {0}
    kinds = [
        gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL if i in known else gguf.TokenType.UNUSED
        for i in range(len(tokens))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
