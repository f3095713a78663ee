"""Trains the positive and the negative adapter with peft: one on right solutions, one on wrong ones.

The published settings (LoRA r = 8, alpha = 16 on the gate, up and down projections; loss on the response only; AdamW with
a cosine schedule), but for a higher learning rate and few short problems, so that two CPU cores need minutes.
"""

import math
import random
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from problems import Problem, problems
from transformers import AutoModelForCausalLM, AutoTokenizer

EXAMPLES = 96
BATCH = 4
LEARNING_RATE = 1e-3
WARMUP_STEPS = 4
SEED = 20240607


def train(base: Path, side: str, folder: Path) -> float:
    """Trains on the "right" or "wrong" solutions and saves the PEFT folder. Returns the last steps' mean loss."""
    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=["gate_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    batches = make_batches(tokenizer, problems("train", EXAMPLES), side)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, len(batches)))
    losses, began = [], time.monotonic()
    for ids, mask, targets in batches:
        loss = response_loss(model, ids, mask, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    print(f"{side}: loss {losses[0]:.3f} -> {losses[-1]:.3f}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    model.save_pretrained(folder)
    return sum(losses[-5:]) / 5


def rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < WARMUP_STEPS:
        return (step + 1) / (WARMUP_STEPS + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)))


def make_batches(tokenizer, examples: list[Problem], side: str):
    """Right-padded (ids, attention mask, targets) of similar lengths, shuffled; a target of -100 is not learnt."""
    rows = []
    for problem in examples:
        solution = getattr(problem, side)
        encoded = tokenizer(problem.prompt + solution.text, return_offsets_mapping=True)
        in_response = [end > len(problem.prompt) for _, end in encoded["offset_mapping"]]
        rows.append((encoded["input_ids"], in_response))
    rows.sort(key=lambda row: len(row[0]))
    batches = []
    for group in (rows[i : i + BATCH] for i in range(0, len(rows), BATCH)):
        shape = (len(group), max(len(ids) for ids, _ in group))
        ids, mask, targets = torch.zeros(shape, dtype=torch.long), torch.zeros(shape), torch.full(shape, -100)
        for row, (tokens, in_response) in enumerate(group):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            learnt = torch.where(torch.tensor(in_response), torch.tensor(tokens), -100)
            targets[row, : len(tokens)] = learnt
        batches.append((ids, mask, targets))
    random.Random(SEED).shuffle(batches)
    return batches


def response_loss(model, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean negative log likelihood of the response's tokens, with the LM head only where they are predicted."""
    causal_lm = model.get_base_model()
    hidden = causal_lm.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    targets = targets[:, 1:]
    learnt = targets != -100
    return torch.nn.functional.cross_entropy(causal_lm.lm_head(hidden[learnt]), targets[learnt])


def train_both(base: Path, folder: Path) -> None:
    """Writes `folder/positive` and `folder/negative`."""
    train(base, "right", folder / "positive")
    train(base, "wrong", folder / "negative")
