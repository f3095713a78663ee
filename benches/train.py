"""A step of preference training with LoRA: Linchpin against TRL, and against a careful loop over peft, side by side.

    LINCHPIN_BIN=target/release/linchpin python benches/train.py --data trajectories.jsonl [--rounds 2] [--steps 6] [--threads 2]

Run it with the Python that tests/run sets up, and nothing else on the machine. The file has solutions of problems, as GSM8K's
are: {"question", "response", "correct"} a line. A right and a wrong solution of the same problem make a pair.

Everyone trains SmolLM2-135M in f32 with the same new adapter (r = 16 on all linear projections) and the same batch of pairs, the
same in every step: forward, backward, clipping, AdamW. The reference policy's log probabilities are known before the first
step. DPO's loss, which all have; cDPO's costs the same, for its weights multiply numbers that are there already.

  linchpin  `linchpin gradients --steps N`; the seconds are those that it reports for each step
  trl       DPOTrainer with the reference's log probabilities in the data set, from the beginning of a step to its end
  peft      what a careful script does: one padded batch, the head only where a response's token is predicted

They take turns (A B C, A B C, ...), each in a process of its own, whose first step warms up and is not counted. tokens/s is the
batch's tokens, prompts counted with each response and padding not at all, over the median seconds of a step. The peak is the
kernel's, of the whole process. The run fails if the losses of the sides part.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from workload import median

import gradients
import torch
from make_smollm2 import smollm2
from peft import LoraConfig, PeftModel, get_peft_model
from server import binary
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from transformers.utils import logging

logging.disable_progress_bar()

SIDES = ("linchpin", "trl", "peft")
BETA = 0.1
ARGUMENTS = {
    "learning_rate": 4e-5,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
}
APART = 2e-3
"""How far the sides' losses may part; they begin at log 2 and move by some hundredths."""


def read_pairs(path: Path, tokenizer, count: int) -> list[dict]:
    """A right and a wrong solution of each of so many problems, of about the middle length."""
    solutions: dict[str, dict[bool, str]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        solutions[row["question"]].setdefault(row["correct"], row["response"])
    ids = lambda text: tokenizer(text)["input_ids"]
    pairs = [
        {
            "prompt_token_ids": ids(f"Question: {question}\nAnswer:"),
            "chosen_token_ids": ids(f" {both[True]}\n"),
            "rejected_token_ids": ids(f" {both[False]}\n"),
        }
        for question, both in solutions.items()
        if len(both) == 2
    ]
    pairs.sort(key=tokens_of)
    begin = (len(pairs) - count) // 2
    assert begin >= 0, f"{len(pairs)} pairs in {path}, {count} wanted"
    return pairs[begin : begin + count]


def tokens_of(pair: dict) -> int:
    return 2 * len(pair["prompt_token_ids"]) + len(pair["chosen_token_ids"]) + len(pair["rejected_token_ids"])


def new_adapter(base: Path, folder: Path) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, lora).save_pretrained(folder)
    return folder


def load(base: Path, adapter: Path) -> PeftModel:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
    return PeftModel.from_pretrained(model, adapter, is_trainable=True)


def train_with_trl(base: Path, adapter: Path, rows: list[dict], steps: int) -> list[tuple[float, float]]:
    """Seconds and loss of each step."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    seconds = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.began = time.perf_counter()

        def on_step_end(self, *_, **__):
            seconds.append(time.perf_counter() - self.began)

    parts = ("prompt", "chosen", "rejected")
    with tempfile.TemporaryDirectory() as folder:
        plain = {"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "report_to": [], "save_strategy": "no"}
        batches = {"max_steps": steps, "per_device_train_batch_size": len(rows), "logging_steps": 1, "disable_tqdm": True}
        trainer = DPOTrainer(
            load(base, adapter),
            args=DPOConfig(output_dir=folder, beta=BETA, max_length=None, **ARGUMENTS, **plain, **batches),
            train_dataset=Dataset.from_list([dict.fromkeys(parts, "-")]),
            processing_class=PreTrainedTokenizerFast.from_pretrained(base),
            callbacks=[Clock()],
        )
        examples = [{f"{part}_ids": row[f"{part}_token_ids"] for part in parts} for row in rows]
        reference = trainer.compute_ref_log_probs(trainer.model, trainer.data_collator(examples))
        for chosen, rejected, example in zip(*(logps.tolist() for logps in reference), examples):
            example |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        trainer.train_dataset, trainer.precompute_ref_logps = Dataset.from_list(examples), True
        trainer.train()
    return list(zip(seconds, (line["loss"] for line in trainer.state.log_history if "loss" in line), strict=True))


def train_with_peft(base: Path, adapter: Path, rows: list[dict], steps: int) -> list[tuple[float, float]]:
    """Seconds and loss of each step."""
    model = load(base, adapter).train()
    sequences = [(row["prompt_token_ids"], row[f"{side}_token_ids"]) for side in ("chosen", "rejected") for row in rows]
    shape = (len(sequences), max(len(prompt) + len(response) for prompt, response in sequences))
    ids, attention, targets = (torch.full(shape, fill, dtype=torch.long) for fill in (0, 0, -100))
    for at, (prompt, response) in enumerate(sequences):
        end = len(prompt) + len(response)
        ids[at, :end], attention[at, :end] = torch.tensor(prompt + response), 1
        targets[at, len(prompt) : end] = torch.tensor(response)
    targets = targets[:, 1:]
    learnt = targets != -100
    owner = torch.nonzero(learnt)[:, 0]
    causal_lm = model.get_base_model()

    def logps() -> torch.Tensor:
        hidden = causal_lm.model(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state[:, :-1]
        losses = torch.nn.functional.cross_entropy(causal_lm.lm_head(hidden[learnt]), targets[learnt], reduction="none")
        return torch.zeros(len(sequences)).index_add(0, owner, -losses)

    with torch.no_grad(), model.disable_adapter():
        reference = logps()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=ARGUMENTS["learning_rate"], weight_decay=ARGUMENTS["weight_decay"])
    taken = []
    for _ in range(steps):
        began = time.perf_counter()
        chosen, rejected = (logps() - reference).chunk(2)
        loss = -torch.nn.functional.logsigmoid(BETA * (chosen - rejected)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, ARGUMENTS["max_grad_norm"])
        optimizer.step()
        optimizer.zero_grad()
        taken.append((time.perf_counter() - began, loss.item()))
    return taken


def command_of(side: str, folder: Path, base: Path, adapter: Path, rows: list[dict], options) -> list[str]:
    if side == "linchpin":
        config = ARGUMENTS | {"loss": "dpo", "beta": BETA} | gradients.method(adapter)
        flags = ("--adapter", adapter, "--steps", options.steps, "--threads", options.threads, *gradients.CPU)
        return gradients.command_line(folder, base, "preference", config, rows, *flags)
    (folder / "rows.json").write_text(json.dumps(rows))
    numbers = ("--steps", options.steps, "--threads", options.threads, "--data", options.data)
    worker = ("--worker", side, "--base", base, "--adapter", adapter, "--rows", folder / "rows.json")
    return [str(part) for part in (sys.executable, Path(__file__).resolve(), *numbers, *worker)]


def work(options) -> None:
    """One side of Python's, in a process of its own: a line for each step."""
    torch.set_num_threads(options.threads)
    train = {"trl": train_with_trl, "peft": train_with_peft}[options.worker]
    for seconds, loss in train(options.base, options.adapter, json.loads(options.rows.read_text()), options.steps):
        print(json.dumps({"seconds": seconds, "loss": loss}))


def measure(command: list[str]) -> tuple[list[dict], float]:
    """The lines that a process prints, and its peak memory in MiB."""
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, stdout=printed, stderr=told, env=gradients.environment())
        _, status, usage = os.wait4(process.pid, 0)
        for file in (printed, told):
            file.seek(0)
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(f"{' '.join(command)} failed: {told.read()[-3000:]}")
        lines = [json.loads(line) for line in printed if line.startswith("{\"")]
        return [line for line in lines if "seconds" in line], usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="solutions: {question, response, correct} a line")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="of each turn, the first of which is not counted")
    parser.add_argument("--pairs", type=int, default=4, help="in the batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    for internal in ("--worker", "--base", "--adapter", "--rows"):
        parser.add_argument(internal, type=str if internal == "--worker" else Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options)

    base = smollm2()[0]
    rows = read_pairs(options.data, PreTrainedTokenizerFast.from_pretrained(base), options.pairs)
    tokens = sum(map(tokens_of, rows))
    lengths = [len(row[f"{part}_token_ids"]) for row in rows for part in ("prompt", "chosen", "rejected")]
    print(f"{binary()}; torch {torch.__version__}, {options.threads} threads, {options.rounds} x {options.steps} steps")
    print(f"{len(rows)} pairs, {tokens} tokens; prompt, chosen and rejected of each: {lengths}")
    steps: dict[str, list[dict]] = {side: [] for side in options.sides}
    peaks: dict[str, float] = dict.fromkeys(options.sides, 0.0)
    with tempfile.TemporaryDirectory(prefix="linchpin-") as scratch:
        folder = Path(scratch)
        adapter = new_adapter(base, folder / "adapter")
        for _ in range(options.rounds):
            for side in options.sides:
                lines, peak = measure(command_of(side, folder, base, adapter, rows, options))
                assert len(lines) == options.steps, lines
                steps[side] += lines[1:]
                peaks[side] = max(peaks[side], peak)
    report(steps, peaks, tokens)


def report(steps: dict[str, list[dict]], peaks: dict[str, float], tokens: int) -> None:
    middle = {side: median([line["seconds"] for line in lines]) for side, lines in steps.items()}
    first = next(iter(steps))
    print(f"{'side':10} {'seconds':>8} {'min':>7} {'max':>7} {'tokens/s':>9} {'peak MiB':>9}")
    for side, lines in steps.items():
        seconds = [line["seconds"] for line in lines]
        ratio = "" if side == first else f"  {first} is {middle[side] / middle[first]:.2f}x as fast"
        print(
            f"{side:10} {middle[side]:8.3f} {min(seconds):7.3f} {max(seconds):7.3f} {tokens / middle[side]:9.0f}"
            f" {peaks[side]:9.0f}{ratio}"
        )
    apart = max(abs(a["loss"] - b["loss"]) for lines in steps.values() for a, b in zip(steps[first], lines))
    ends = [f"{steps[first][at]['loss']:.4f}" for at in (0, -1)]
    print(f"loss {ends[0]} to {ends[1]}; largest difference of a step's loss: {apart:.1e}")
    if apart > APART:
        sys.exit("the sides' losses part: the timings would compare different work")


if __name__ == "__main__":
    main()
