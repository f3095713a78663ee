"""Peak memory and start-up time.

    LINCHPIN_BIN=target/release/linchpin python benches/lean.py

Peak memory is the kernel's VmHWM of the server after a trajectory of 2048 tokens (half response) with
Qwen2.5-Coder-1.5B, whose vocabulary has 151,936 words, kept quantised as its GGUF file is, alone and with
two adapters over it. It is held against the weights: the file's size, and with them what the adapters weigh.
Start-up is from the start of the process to the first `200` of `/ready`, with SmolLM2-135M, median of several.
"""

import argparse
import json
import tempfile
from pathlib import Path

from workload import median, trajectories

import torch
from cache import fetched_model
from safetensors.torch import save_file
from server import Server, binary

LIMIT_MIB = 600
QWEN = {"layers": 28, "hidden": 1536, "intermediate": 8960, "vocabulary": 151936}


def write_adapter(folder: Path, seed: int, rank: int = 8) -> Path:
    """A PEFT folder for Qwen2.5-Coder-1.5B on the gate, up and down projections, with random weights."""
    generator = torch.Generator().manual_seed(seed)
    hidden, intermediate = QWEN["hidden"], QWEN["intermediate"]
    shapes = {"gate_proj": (hidden, intermediate), "up_proj": (hidden, intermediate), "down_proj": (intermediate, hidden)}
    weights = {}
    for layer in range(QWEN["layers"]):
        for module, (inputs, outputs) in shapes.items():
            name = f"base_model.model.model.layers.{layer}.mlp.{module}"
            weights[f"{name}.lora_A.weight"] = 0.01 * torch.randn(rank, inputs, generator=generator)
            weights[f"{name}.lora_B.weight"] = 0.01 * torch.randn(outputs, rank, generator=generator)
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": list(shapes)}))
    return folder


def peak_memory(weights: list[Path], *flags, length: int) -> bool:
    """Prints the peak of a server after one long trajectory; whether it is within the limit."""
    ((prompt, response),) = trajectories(QWEN["vocabulary"] - 400, length)
    with Server(weights[0], "--device", "cpu", *flags) as server:
        ready = server.status_kib("VmHWM") / 1024
        server.score({"prompt_token_ids": prompt, "response_token_ids": response, "top_logprobs": 5, "save": False})
        peak = server.status_kib("VmHWM") / 1024
    stored = sum(path.stat().st_size for path in weights) / 2**20
    print(
        f"  weights {stored:6.0f} MiB, peak when ready {ready:6.0f}, after {length} tokens {peak:6.0f}:"
        f" {peak - stored:+.0f} MiB (limit +{LIMIT_MIB})",
        flush=True,
    )
    return peak - stored <= LIMIT_MIB


def start_up(rounds: int) -> float:
    model = fetched_model("smollm2-135m")
    times = []
    for _ in range(rounds):
        with Server(model, "--device", "cpu") as server:
            times.append(server.seconds_to_ready)
    print(f"  {', '.join(f'{t:.2f}' for t in times)} s, median {median(times):.2f} s (limit 2 s)")
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=2048)
    options = parser.parse_args()
    print(f"{binary()}\nstart-up, SmolLM2-135M GGUF:")
    quick = start_up(options.rounds) <= 2
    qwen = fetched_model("qwen2.5-coder-1.5b")
    print("peak memory, Qwen2.5-Coder-1.5B GGUF:")
    lean = peak_memory([qwen], length=options.length)
    with tempfile.TemporaryDirectory() as folder:
        pair = [write_adapter(Path(folder) / role, seed) for seed, role in enumerate(("positive", "negative"))]
        print("the same with two adapters:")
        files = [qwen, *(path / "adapter_model.safetensors" for path in pair)]
        lean &= peak_memory(files, "--positive", pair[0], "--negative", pair[1], length=options.length)
    raise SystemExit(0 if quick and lean else "over a limit")


if __name__ == "__main__":
    main()
