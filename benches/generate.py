"""Rollouts of one prefix: Linchpin against transformers and llama.cpp, side by side, and Linchpin by batch size.

    LINCHPIN_BIN=target/release/linchpin python benches/generate.py [--rounds 3] [--threads 2] [--curve]

Run it with the Python that tests/run sets up, and nothing else on the machine. llama.cpp takes part if `llama-cpp-python` is
installed there (`pip install llama-cpp-python` builds it from source).

Everyone draws 64 samples of 128 tokens after the same 300 tokens, at temperature 1 from the whole vocabulary, with nothing
that ends a sample early, from SmolLM2-135M:

  linchpin, f32        one POST /v1/completions with n = 64; the seconds are the HTTP client's
  linchpin, as stored  the same, on the quantised file (widened at every step)
  transformers, f32    generate(num_return_sequences=64)
  llama.cpp, as stored the quantised file, all 64 sequences in one batch a step, each with a copy of the prefix's cache,
                       flash attention on: the fastest of its settings
  llama.cpp, f32       the same on the weights widened to f32
  llama.cpp, unified   the same with one cache that the sequences share, `kv_unified`, flash attention off (with it, slower)

They take turns (A B C, A B C, ...). tokens/s is 64 x 128 over the seconds, reading the prefix included. --curve draws n = 1
to 256 samples of 64 tokens with Linchpin alone.
"""

import argparse
import ctypes
import sys
import time
from pathlib import Path

from workload import median, solved_problems

import torch
from cache import fetched_model, once
from make_smollm2 import smollm2
from server import Server
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers_samples import draw

PREFIX, SAMPLES, TOKENS = 300, 64, 128


class Linchpin:
    def __init__(self, model: Path, threads: int, *flags: str):
        self.server = Server(model, "--device", "cpu", "--threads", str(threads), *flags)

    def __call__(self, prompt: list[int], seed: int, samples: int = SAMPLES, tokens: int = TOKENS) -> int:
        body = {"prompt": prompt, "n": samples, "max_tokens": tokens, "temperature": 1.0, "seed": seed, "ignore_eos": True}
        # Another first token each time: the prefix is to be read, not found in the cache.
        answer = self.server.post("/v1/completions", body | {"prompt": [seed + 1000, *prompt[1:]]}, timeout=1200)
        assert answer.status_code == 200, answer.text[:500]
        return answer.json()["usage"]["completion_tokens"]

    def close(self) -> None:
        self.server.stop()


class Transformers:
    def __init__(self, folder: Path):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()

    def __call__(self, prompt: list[int], seed: int) -> int:
        torch.manual_seed(seed)
        with torch.inference_mode():
            return draw(self.model, torch.tensor([prompt]), SAMPLES, TOKENS)

    def close(self) -> None:
        del self.model


class LlamaCpp:
    """llama.cpp through its C interface: the prefix once, copied to 64 sequences, and one batch a step."""

    def __init__(self, model: Path, threads: int, unified: bool = False):
        import llama_cpp

        self.api = api = llama_cpp
        self.silence = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self.silence, ctypes.c_void_p())
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(str(model).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        # Apart, each sequence has the same part of the context.
        params.n_ctx = PREFIX + SAMPLES * (TOKENS + 1) if unified else SAMPLES * 512
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = SAMPLES
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = unified
        params.flash_attn_type = 0 if unified else 1
        self.context = api.llama_init_from_model(self.model, params)
        assert self.context, "llama.cpp refuses the context"
        self.batch = api.llama_batch_init(512, 0, 1)

    def decode(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Rows of token, position, sequence, and whether its logits are wanted."""
        self.batch.n_tokens = len(rows)
        for at, (token, position, sequence, logits) in enumerate(rows):
            self.batch.token[at] = token
            self.batch.pos[at] = position
            self.batch.n_seq_id[at] = 1
            self.batch.seq_id[at][0] = sequence
            self.batch.logits[at] = logits
        assert self.api.llama_decode(self.context, self.batch) == 0

    def __call__(self, prompt: list[int], seed: int) -> int:
        api = self.api
        memory = api.llama_get_memory(self.context)
        api.llama_memory_clear(memory, True)
        sampler = api.llama_sampler_init_dist(seed)
        last = len(prompt) - 1
        self.decode([(token, at, 0, at == last) for at, token in enumerate(prompt)])
        for sequence in range(1, SAMPLES):
            api.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        drawn = [api.llama_sampler_sample(sampler, self.context, last) for _ in range(SAMPLES)]
        for step in range(TOKENS - 1):
            self.decode([(token, len(prompt) + step, sequence, True) for sequence, token in enumerate(drawn)])
            drawn = [api.llama_sampler_sample(sampler, self.context, row) for row in range(SAMPLES)]
        api.llama_sampler_free(sampler)
        return SAMPLES * TOKENS

    def close(self) -> None:
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)


def widened(gguf: Path) -> Path:
    """The GGUF file with its weights as f32, made by llama.cpp itself."""

    def make(folder: Path) -> None:
        import llama_cpp

        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = llama_cpp.LLAMA_FTYPE_ALL_F32
        params.allow_requantize = True
        target = folder / "model.f32.gguf"
        assert llama_cpp.llama_model_quantize(str(gguf).encode(), str(target).encode(), ctypes.byref(params)) == 0

    return once("fidelity", f"{gguf.stem}-f32-llama-cpp", make) / "model.f32.gguf"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--curve", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    folder, gguf = smollm2()
    prompt, _ = solved_problems(PreTrainedTokenizerFast.from_pretrained(folder), 2 * PREFIX)
    if options.curve:
        return curve(folder, options, prompt)
    engines = {
        "linchpin, f32": lambda: Linchpin(folder, options.threads),
        "linchpin, as stored": lambda: Linchpin(fetched_model("smollm2-135m"), options.threads),
        "transformers, f32": lambda: Transformers(folder),
    }
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        print("llama-cpp-python is not installed: llama.cpp takes no part", file=sys.stderr)
    else:
        engines["llama.cpp, as stored"] = lambda: LlamaCpp(gguf, options.threads)
        engines["llama.cpp, f32"] = lambda: LlamaCpp(widened(gguf), options.threads)
        engines["llama.cpp, unified, f32"] = lambda: LlamaCpp(widened(gguf), options.threads, unified=True)
    running = {name: start() for name, start in engines.items()}
    rates = {name: [] for name in running}
    for round_ in range(options.rounds):
        for name, draw in running.items():
            began = time.perf_counter()
            drawn = draw(prompt, round_)
            rates[name].append(drawn / (time.perf_counter() - began))
            assert drawn == SAMPLES * TOKENS, (name, drawn)
            print(f"round {round_}: {name}: {rates[name][-1]:.0f} tokens/s", file=sys.stderr)
    ours = median(rates["linchpin, f32"])
    print("| engine | tokens/s, median | least to most | linchpin, f32, is |\n| --- | --- | --- | --- |")
    for name, values in rates.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"| {name} | {median(values):.0f} | {spread} | {ours / median(values):.2f}x |")
    for draw in running.values():
        draw.close()


def curve(folder: Path, options, prompt: list[int]) -> None:
    draw = Linchpin(folder, options.threads, "--batch", "256", "--cache-mb", "8192")
    print("| samples | tokens/s | ms a step |\n| --- | --- | --- |")
    for samples in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        rates = []
        for round_ in range(options.rounds):
            began = time.perf_counter()
            rates.append(draw(prompt, round_, samples, 64) / (time.perf_counter() - began))
        print(f"| {samples} | {median(rates):.0f} | {1e3 * samples / median(rates):.0f} |", flush=True)
    draw.close()


if __name__ == "__main__":
    main()
