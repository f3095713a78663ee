"""The demo's tokenizer and its untrained model, as the files of a Hugging Face folder.

A token is a word with the space before it, a digit, or a mark. Texts come back byte for byte.
"""

import json
import math
import random
import struct
from pathlib import Path

from problems import ITEMS, LESS, MORE, NAMES, PLACES

END = "<|end|>"
# A word or a mark with its space, digits one by one, and newlines.
PATTERN = r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s"

WORDS = (
    "Then How many does do they have has now in all with each more fewer than as before gets times twice one the other"
).split()
MARKS = [".", ",", "?", ":", " +", " -", " *", " =", " ####", "\n", " "]

SIZES = {"hidden": 128, "layers": 4, "heads": 4, "intermediate": 352, "context": 256}


def vocabulary() -> dict[str, int]:
    words = [*NAMES, *ITEMS, *PLACES, *WORDS, *(word for phrase in MORE + LESS for word in phrase.split())]
    words = list(dict.fromkeys(words))
    first = [*NAMES, "Then", "How"]
    digits = [str(digit) for digit in range(10)]
    texts = [*MARKS, *digits, *(" " + digit for digit in digits), *first, *(" " + word for word in words)]
    entries = [END, "<|unknown|>", *(text.replace(" ", "\u0120").replace("\n", "\u010a") for text in texts)]
    return {entry: number for number, entry in enumerate(dict.fromkeys(entries))}


def write_tokenizer(folder: Path) -> None:
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": 0, "content": END, **special}, {"id": 1, "content": "<|unknown|>", **special}],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {"type": "WordLevel", "vocab": vocabulary(), "unk_token": "<|unknown|>"},
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END, "unk_token": "<|unknown|>",
        "model_max_length": SIZES["context"], "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def write_model(folder: Path, seed: int) -> int:
    """Writes an untrained model, every matrix normal with deviation 0.02, and gives its number of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    vocab, size, wide, layers = len(vocabulary()), SIZES["hidden"], SIZES["intermediate"], SIZES["layers"]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": size,
        "intermediate_size": wide, "num_hidden_layers": layers, "num_attention_heads": SIZES["heads"],
        "num_key_value_heads": SIZES["heads"], "head_dim": size // SIZES["heads"], "hidden_act": "silu",
        "max_position_embeddings": SIZES["context"], "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "eos_token_id": 0,
        "bos_token_id": None, "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    generation = {"eos_token_id": 0, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1))
    shapes = {"model.embed_tokens.weight": [vocab, size], "model.norm.weight": [size]}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        shapes |= {f"{prefix}.self_attn.{name}_proj.weight": [size, size] for name in "qkvo"}
        shapes |= {f"{prefix}.mlp.{name}_proj.weight": [wide, size] for name in ("gate", "up")}
        shapes[f"{prefix}.mlp.down_proj.weight"] = [size, wide]
        shapes |= {f"{prefix}.{name}_layernorm.weight": [size] for name in ("input", "post_attention")}
    rng = random.Random(seed)
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for name, shape in sorted(shapes.items()):
        count = math.prod(shape)
        values = [1.0] * count if len(shape) == 1 else [rng.gauss(0.0, 0.02) for _ in range(count)]
        start = len(data)
        data += struct.pack(f"<{count}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return len(data) // 4
