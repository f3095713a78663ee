"""A model of a published shape with random weights in bf16, for measuring speed where the real one cannot be fetched.

    python benches/gpu_model.py OUT --tokenizer FOLDER [--shape llama-3.1-8b]

Needs torch and safetensors. The tokenizer is FOLDER's, with made-up words up to the shape's vocabulary.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SHAPES = {
    "llama-3.1-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "rope_theta": 500000.0,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 50000,
        "rope_theta": 500000.0,
    },
}


def tensors(shape: dict, device: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    width, inner, vocabulary = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
    keys = width // shape["num_attention_heads"] * shape["num_key_value_heads"]

    def random(rows: int, columns: int) -> torch.Tensor:
        weight = torch.empty(rows, columns, dtype=torch.bfloat16, device=device)
        return weight.normal_(std=0.02).cpu()

    one = torch.ones(width, dtype=torch.bfloat16)
    made = {"model.embed_tokens.weight": random(vocabulary, width), "lm_head.weight": random(vocabulary, width)}
    made["model.norm.weight"] = one.clone()
    for layer in range(shape["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name, (rows, columns) in {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }.items():
            made[f"{prefix}.{name}.weight"] = random(rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            made[f"{prefix}.{name}.weight"] = one.clone()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    options.out.mkdir(parents=True, exist_ok=True)
    config = shape | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (options.out / "config.json").write_text(json.dumps(config, indent=2))
    tokenizer = json.loads((options.tokenizer / "tokenizer.json").read_text())
    taken = 1 + max(
        [*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer.get("added_tokens", []))]
    )
    for number in range(taken, shape["vocab_size"]):
        tokenizer["model"]["vocab"][f"w{number}"] = number
    (options.out / "tokenizer.json").write_text(json.dumps(tokenizer))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    save_file(tensors(shape, device), options.out / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
