"""What `benches/gpu` times, by transformers on the same GPU: to be run beside it.

    python benches/gpu_transformers.py MODEL_FOLDER [--dtype bfloat16] [--rounds 5]

Scores are one model's (logits where the response is, log-softmax, each token's own), samples those of generate(). Both on
PyTorch's scaled-dot-product attention.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers_samples import draw

PREFIX, DRAWN = 300, 64


def median_seconds(rounds: int, call) -> float:
    """Of so many calls after one that warms up."""
    taken = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def score(model, ids: torch.Tensor) -> list:
    half = ids.shape[1] // 2
    logits = model(ids, logits_to_keep=half + 1, use_cache=False).logits[:, :-1].float()
    return torch.log_softmax(logits, -1).gather(-1, ids[:, -half:, None]).squeeze(-1).tolist()


def sample(model, number: int) -> None:
    ids = torch.randint(100, 45000, (1, PREFIX), device=model.device)
    assert draw(model, ids, number, DRAWN) == number * DRAWN


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=getattr(torch, options.dtype), attn_implementation="sdpa"
    )
    model = model.cuda().eval()
    print(f"transformers on {torch.cuda.get_device_name()}, {options.dtype}\n  scores: tokens, trajectories, ms, tokens/s")
    for length in (64, 512, 2048):
        for batch in (1, 16):
            ids = torch.randint(100, 45000, (batch, length), device="cuda")
            # As one would: 8192 tokens a pass at most, so that the logits fit.
            parts = ids.split(max(1, 8192 // length))
            seconds = median_seconds(options.rounds, lambda: [score(model, part) for part in parts])
            print(f"  {length:7} {batch:6} {1000 * seconds:10.1f} {batch * length / seconds:10.0f}", flush=True)
    print(f"  samples of {DRAWN} tokens after {PREFIX}: samples, ms, tokens/s")
    for number in (1, 16, 64, 128):
        seconds = median_seconds(min(options.rounds, 2), lambda: sample(model, number))
        print(f"  {number:14} {1000 * seconds:10.1f} {number * DRAWN / seconds:10.0f}", flush=True)


if __name__ == "__main__":
    main()
