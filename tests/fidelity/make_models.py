"""Tiny random-weight checkpoints of every supported architecture, with adapters made by peft, from fixed seeds.

Each one has what distinguishes its architecture switched on: grouped heads, rope scaling, a sliding window shorter than
the test trajectories, biases, query and key norms, tied and untied heads, sharded files, both spellings of config.json.
The weights are drawn wide, norms and biases included, so that the distributions are far from uniform and a forgotten
term shows in every number.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as memoised
from pathlib import Path

import torch
from cache import digest, once
from peft import LoraConfig, get_peft_model
from tiny_tokenizers import byte_level, sentencepiece_like
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.utils import logging

logging.disable_progress_bar()

VOCAB = 448
"""More rows than the tokenizers have tokens, as published checkpoints have."""

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}


@dataclass(frozen=True)
class Spec:
    """How to make one checkpoint."""

    config: PretrainedConfig
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    dtype: torch.dtype = torch.float32
    shard: str = "1GB"
    spelling: int | None = None
    """The transformers version whose names config.json is rewritten to use; None leaves what save_pretrained wrote."""


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}

SPECS = {
    "llama2": Spec(
        LlamaConfig(**{**SIZES, "num_key_value_heads": 4}, tie_word_embeddings=False), sentencepiece_like, spelling=4
    ),
    "llama-tied-sharded": Spec(LlamaConfig(**SIZES, tie_word_embeddings=True), byte_level, shard="40KB", spelling=5),
    "llama3": Spec(
        LlamaConfig(**SIZES, tie_word_embeddings=False, rope_parameters=LLAMA3_ROPE), byte_level, shard="60KB"
    ),
    "llama3-old-config": Spec(
        LlamaConfig(**SIZES, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE), byte_level, spelling=4
    ),
    "llama-bf16": Spec(
        LlamaConfig(**SIZES, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
        byte_level,
        dtype=torch.bfloat16,
        spelling=4,
    ),
    "mistral": Spec(
        MistralConfig(**SIZES, tie_word_embeddings=False, sliding_window=48, head_dim=24), sentencepiece_like
    ),
    "qwen2": Spec(
        Qwen2Config(**SIZES, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        byte_level,
    ),
    "qwen2-f16": Spec(
        Qwen2Config(**SIZES, tie_word_embeddings=False, sliding_window=32, use_sliding_window=False),
        byte_level,
        dtype=torch.float16,
        shard="80KB",
    ),
    "qwen3": Spec(Qwen3Config(**SIZES, tie_word_embeddings=True, head_dim=32), byte_level, spelling=5),
    "qwen3-untied": Spec(Qwen3Config(**SIZES, tie_word_embeddings=False, head_dim=24), byte_level, spelling=4),
}

MLP = ["gate_proj", "up_proj", "down_proj"]
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]

ADAPTERS = {
    "query-value": {"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "v_proj"]},
    "mlp": {"r": 8, "lora_alpha": 16, "target_modules": MLP},
    "all-linear": {"r": 3, "lora_alpha": 7, "target_modules": "all-linear"},
    "rank-stabilised": {"r": 8, "lora_alpha": 6, "target_modules": ATTENTION + MLP, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ATTENTION + MLP,
        "rank_pattern": {"gate_proj": 6, "layers.1.self_attn.q_proj": 2},
        "alpha_pattern": {"down_proj": 20, "layers.1.self_attn.q_proj": 3},
    },
    "one-layer": {"r": 4, "lora_alpha": 8, "target_modules": MLP, "layers_to_transform": [1]},
    "regex": {"r": 2, "lora_alpha": 5, "target_modules": r".*\.layers\.[02]\.self_attn\.(k|o)_proj"},
}

UNSUPPORTED = {
    "dora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "use_dora": True},
    "modules-to-save": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "bias": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "all"},
}


def model(name: str) -> Path:
    """The folder of one of `SPECS`, made if it is not in the cache."""
    return _root() / "models" / name


def adapter(name: str, base: str) -> Path:
    """The folder of one of `ADAPTERS` for one of `SPECS`, or of `UNSUPPORTED` for "qwen2"."""
    return _root() / "adapters" / base / name


@memoised
def _root() -> Path:
    here = Path(__file__)
    return once("fidelity", f"tiny-{digest(here, here.with_name('tiny_tokenizers.py'))}", make_all)


def make_all(folder: Path) -> None:
    for seed, (name, spec) in enumerate(SPECS.items()):
        make_model(spec, seed, folder / "models" / name)
        kinds = ADAPTERS | UNSUPPORTED if name == "qwen2" else ADAPTERS
        for number, (kind, settings) in enumerate(kinds.items()):
            make_adapter(folder / "models" / name, settings, 100 * seed + number, folder / "adapters" / name / kind)


def make_model(spec: Spec, seed: int, folder: Path) -> None:
    model = AutoModelForCausalLM.from_config(spec.config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("norm.weight"):
                weight.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                weight.copy_(0.5 * noise)
            else:
                weight.copy_(0.2 * noise)
    model.to(spec.dtype).save_pretrained(folder, max_shard_size=spec.shard)
    spec.tokenizer().save_pretrained(folder)
    if spec.spelling is not None:
        config = folder / "config.json"
        config.write_text(json.dumps(respell(json.loads(config.read_text()), spec.spelling), indent=2))


def respell(config: dict, version: int) -> dict:
    """config.json as transformers 4 or 5 writes it, whichever of them wrote this one."""
    rope = dict(config.pop("rope_parameters", None) or config.pop("rope_scaling", None) or {})
    theta = config.pop("rope_theta", None) or rope.pop("rope_theta", None) or 10000.0
    rope.pop("rope_theta", None)
    dtype = config.pop("torch_dtype", None) or config.pop("dtype", None)
    kind = rope.get("rope_type", "default")
    if version == 4:
        config |= {"rope_theta": theta, "rope_scaling": None if kind == "default" else rope, "torch_dtype": dtype}
    else:
        config |= {"rope_parameters": {"rope_type": kind, **rope, "rope_theta": theta}, "dtype": dtype}
    return config


def make_adapter(base: Path, settings: dict, seed: int, folder: Path) -> None:
    """A PEFT folder with random non-zero A and B, saved by peft."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                weight.copy_(0.15 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(folder)
