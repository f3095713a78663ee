"""Linchpin against transformers + peft, side by side: the same weights, adapters, trajectories, threads and machine.

    LINCHPIN_BIN=target/release/linchpin python benches/score_transformers.py [--rounds 5] [--threads 2]

Run it with the Python that tests/run sets up (~/.cache/linchpin/venv/bin/python) and nothing else on the machine.

Both sides score SmolLM2-135M in f32 with two LoRA adapters (gate, up and down projections, r = 8), trajectories of 64, 512
and 2048 tokens of which half are response, one at a time, and alternate (A B A B ...) so that a drift of the machine
hits both. One score is three forward passes over the trajectory (base, positive, negative), log-softmax over the
vocabulary at every response position, and the three logprobs and s_t of every response token. Linchpin's times are those
that an HTTP client sees.

  transformers, plain       logits at every position, which is the default of a forward pass
  transformers, response    logits where the response is only (`logits_to_keep`): what a careful script does

tokens/s counts the trajectory's tokens three times, once a model: 3 x length / seconds.
"""

import argparse
import sys
import time
from collections.abc import Callable

from workload import LENGTHS, median, solved_problems

import torch
from make_smollm2 import smollm2
from peft import PeftModel
from server import Server, binary
from trained import trained_adapters
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


class Transformers:
    """A well-written reference: inference mode, fused attention, adapters switched and not reloaded."""

    def __init__(self, folder, adapters):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        self.model = PeftModel.from_pretrained(model, adapters / "positive", adapter_name="positive")
        self.model.load_adapter(adapters / "negative", adapter_name="negative")
        self.model.eval()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    def score(self, prompt: list[int], response: list[int], response_only: bool) -> dict[str, torch.Tensor]:
        """Logprobs of the response's tokens by model, and s_t by equation (3) with beta = 1."""
        ids = torch.tensor([prompt + response])
        targets = torch.tensor(response)[:, None]
        # The last position predicts nothing that is asked for; `logits_to_keep` counts from the end.
        keep = {"logits_to_keep": len(response) + 1} if response_only else {}
        with torch.inference_mode():
            logprobs = {}
            with self.model.disable_adapter():
                logprobs["base"] = self._logprobs(ids, len(response), keep)
            for role in ("positive", "negative"):
                self.model.set_adapter(role)
                logprobs[role] = self._logprobs(ids, len(response), keep)
            log_scores = torch.log_softmax(2 * logprobs["positive"] - logprobs["negative"], dim=-1)
            gathered = {role: values.gather(1, targets)[:, 0] for role, values in logprobs.items()}
            return gathered | {"score": log_scores.gather(1, targets)[:, 0].exp()}

    def _logprobs(self, ids, response: int, keep: dict) -> torch.Tensor:
        logits = self.model(input_ids=ids, use_cache=False, **keep).logits[0]
        return torch.log_softmax(logits[-response - 1 : -1], dim=-1)


def linchpin_score(server: Server, prompt: list[int], response: list[int]) -> dict[str, torch.Tensor]:
    trace = server.score({"prompt_token_ids": prompt, "response_token_ids": response, "save": False})
    roles = ("base", "positive", "negative")
    logprobs = {role: torch.tensor([token["logprob"][role] for token in trace["tokens"]]) for role in roles}
    return logprobs | {"score": torch.tensor([token["score"] for token in trace["tokens"]])}


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def agree(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """A benchmark of different numbers would mean nothing."""
    worst = max((one[name] - other[name]).abs().max().item() for name in one)
    if worst > 2e-4:
        sys.exit(f"the two sides differ by {worst:.1e}: the timings would compare different work")
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds a length, after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    adapters, (folder, _) = trained_adapters(), smollm2()
    reference = Transformers(folder, adapters)
    flags = ("--device", "cpu", "--dtype", "f32", "--threads", str(options.threads))
    pair = ("--positive", adapters / "positive", "--negative", adapters / "negative")
    print(f"{binary()}; torch {torch.__version__}, {options.threads} threads, median of {options.rounds} rounds")
    print(f"{'tokens':>6} {'response':>8}  {'side':24} {'seconds':>8} {'min':>7} {'max':>7} {'tokens/s':>9} {'Linchpin is':>12}")
    with Server(folder, *flags, *pair) as server:
        for length in options.lengths:
            compare(reference, server, length, options.rounds)


def compare(reference: Transformers, server: Server, length: int, rounds: int) -> None:
    prompt, response = solved_problems(reference.tokenizer, length)
    sides = {
        "Linchpin": lambda: linchpin_score(server, prompt, response),
        "transformers, plain": lambda: reference.score(prompt, response, response_only=False),
        "transformers, response": lambda: reference.score(prompt, response, response_only=True),
    }
    worst = agree(sides["Linchpin"](), sides["transformers, response"]())
    sides["transformers, plain"]()
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            times[side].append(seconds(run))
    ours = median(times["Linchpin"])
    for side, taken in times.items():
        middle = median(taken)
        ratio = "" if side == "Linchpin" else f"{middle / ours:.2f}x as fast"
        print(
            f"{length:6} {len(response):8}  {side:24} {middle:8.3f} {min(taken):7.3f} {max(taken):7.3f}"
            f" {3 * length / middle:9.0f} {ratio:>14}"
        )
    print(f"{'':17}largest difference between the two: {worst:.1e}", flush=True)


if __name__ == "__main__":
    main()
