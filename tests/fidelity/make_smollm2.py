"""SmolLM2 as a Hugging Face folder in f32, dequantised from its GGUF file by transformers."""

from pathlib import Path

import torch
from cache import digest, fetched_model, once
from transformers import AutoModelForCausalLM, AutoTokenizer


def smollm2() -> tuple[Path, Path]:
    """The folder and the GGUF file that it was made from."""
    gguf = fetched_model("smollm2-135m")
    return once("fidelity", f"smollm2-f32-{digest(Path(__file__), gguf.name)}", lambda out: dequantise(gguf, out)), gguf


def dequantise(gguf: Path, folder: Path) -> None:
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = loaded.config
    del config.quantization_config  # a model that came from GGUF refuses to be saved: move its weights to one that did not
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
